from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from exa_cli.base.errors import Invalid
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.manifest import Stats
from exa_cli.checkpoint.verify import verify
from exa_train.checkpoint import Keeper, load, save
from exa_train.checkpoint.tensors import DTYPES, Measure, dtype_name, flat, merge, raw

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def measured(values: torch.Tensor, *cuts: int) -> Stats | None:
    measure = Measure(values)
    edges = [0, *cuts, values.numel()]
    for low, high in itertools.pairwise(edges):
        measure.see(low * values.element_size(), high * values.element_size())
    return measure.stats()


@pytest.mark.parametrize("dtype", FLOATS)
def test_statistics_are_those_of_the_values_however_they_are_cut(dtype: torch.dtype) -> None:
    values = (torch.randn(700_001, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    stats = measured(values, 1, 300_000, 300_000)
    assert stats is not None
    exact = values.double()
    assert (stats.count, stats.finite) == (700_001, 700_001)
    assert (stats.low, stats.high) == (float(exact.min()), float(exact.max()))
    assert stats.mean_abs == pytest.approx(float(exact.abs().mean()), rel=1e-5)


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_not_finite_is_counted_and_left_out(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, math.nan, -3.0, math.inf, -math.inf]).to(dtype)
    assert measured(values, 2) == Stats(5, 2, -3.0, 1.0, 2.0)
    assert measured(values[1:2]) == Stats(1, 0, None, None, None)


def test_a_sum_too_large_for_the_type_is_not_mistaken_for_infinity() -> None:
    stats = measured(torch.full((1000,), 3e38))
    assert stats is not None
    assert stats.finite == 1000
    assert stats.mean_abs == pytest.approx(3e38, rel=1e-6)


def test_integers_have_no_statistics() -> None:
    assert measured(torch.arange(5)) is None
    assert measured(torch.ones(5, dtype=torch.bool)) is None


def test_merged_statistics_are_those_of_the_whole() -> None:
    values = torch.tensor([4.0, -8.0, math.nan, 1.0])
    parts = [measured(values[:2]), measured(values[2:3]), measured(values[3:])]
    assert merge([part for part in parts if part]) == measured(values)


def test_every_stored_type_has_the_size_the_format_says() -> None:
    assert {name: torch.empty(0, dtype=t).element_size() for name, t in DTYPES.items()} == (
        ITEM_BYTES
    )
    with pytest.raises(Invalid, match=r"torch\.complex64"):
        dtype_name(torch.complex64)


def test_every_type_survives_save_and_load_bit_for_bit(tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (24,), dtype=torch.uint8)
    state = {f"model.{name}": noise.clone().view(dtype) for name, dtype in DTYPES.items()}
    state["model.BOOL"] = noise > 127
    made = save(state, root=tmp_path, step=1, epoch=1, meta={}, allow_nonfinite=True)
    fresh = {fqn: torch.zeros_like(value) for fqn, value in state.items()}
    load(fresh, root=tmp_path, candidates=[made.name], allow_nonfinite=True)
    assert {fqn: bytes(raw(flat(value))) for fqn, value in fresh.items()} == {
        fqn: bytes(raw(flat(value))) for fqn, value in state.items()
    }
    assert verify(tmp_path / made.name).verdict == "good"


def test_views_and_parameters_are_saved_as_seen_and_loaded_in_place(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    weight = torch.nn.Parameter(torch.arange(6.0))
    state = {"model.t": base.t()[1:3], "model.p": weight}
    made = save(state, root=tmp_path, step=1, epoch=1, meta={})
    other = torch.zeros(4, 6)
    target = {"model.t": other.t()[1:3], "model.p": torch.nn.Parameter(torch.zeros(6))}
    load(target, root=tmp_path, candidates=[made.name])
    assert torch.equal(target["model.p"], weight)
    assert torch.equal(other[:, 1:3], base[:, 1:3])
    assert not other[:, 0].any()
    assert not other[:, 3:].any()


def test_meta_comes_back_as_it_was_given(tmp_path: Path) -> None:
    meta = {"step": 7, "rng": [1, 2], "promise": {"torch": "2", "lr": 2e-3, "none": None}}
    made = save({"a": torch.ones(2)}, root=tmp_path, step=7, epoch=3, meta=meta)
    found = load({"a": torch.ones(2)}, root=tmp_path, candidates=[made.name])
    assert found is not None
    assert (found.step, found.epoch, found.meta) == (7, 3, meta)
    assert found.versions["torch"] == str(torch.__version__)


def test_the_one_that_was_loaded_counts_as_verified_and_may_push_older_ones_out(
    tmp_path: Path,
) -> None:
    state = {"a": torch.ones(2)}
    names = [save(state, root=tmp_path, step=s, epoch=1, meta={}).name for s in (1, 2)]
    newest = save(state, root=tmp_path, step=3, epoch=2, meta={})
    fresh = Keeper(tmp_path, keep=2, accepts=lambda name, epoch: True)
    assert fresh.after_save(newest).removed == ()
    resumed = Keeper(tmp_path, keep=2, accepts=lambda name, epoch: True, verified=[names[1]])
    assert resumed.after_save(newest).removed == (names[0],)
