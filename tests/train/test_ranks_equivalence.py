"""How a model is spread over ranks changes the order of sums, and nothing else."""

from __future__ import annotations

import pytest
from train_runs import Run

TOLERANCES = {"loss": 1e-5, "ce": 1e-5, "aux": 1e-5, "z": 1e-5, "grad_norm": 1e-4}
LAYOUTS = {
    "one rank, four rounds": {"world": 1},
    "fsdp2 on two ranks, two rounds": {"world": 2},
    "fsdp2 on four ranks, one round": {"world": 4},
    "ddp on two ranks, two rounds": {"world": 2, "engine": "ddp"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: object) -> dict[str, Run]:
    """The same run in each layout."""
    folder = tmp_path_factory.mktemp("layouts")
    runs = {}
    for number, (name, layout) in enumerate(LAYOUTS.items()):
        runs[name] = Run(folder / f"layout-{number:04d}", tiny_data, every=10, **layout)  # type: ignore[arg-type]
        runs[name].finish()
    return runs


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_ten_steps_in_fp32_agree_with_a_single_rank(trained: dict[str, Run], layout: str) -> None:
    reference = trained["one rank, four rounds"].metrics()
    records = trained[layout].metrics()
    assert [r["step"] for r in records] == list(range(1, 11))
    for quantity, tolerance in TOLERANCES.items():
        found = [r[quantity] for r in records]
        assert found == pytest.approx([r[quantity] for r in reference], rel=tolerance), quantity


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_held_out_loss_does_not_depend_on_the_ranks(trained: dict[str, Run], layout: str) -> None:
    """Five windows over two or four ranks: some ranks score a filler that must not count."""
    reference = [e["loss"] for e in trained["one rank, four rounds"].events("validated")]
    found = [e["loss"] for e in trained[layout].events("validated")]
    assert len(found) == 2
    assert found == pytest.approx(reference, rel=1e-5)


def test_the_layouts_learn_something(trained: dict[str, Run]) -> None:
    """Otherwise all the agreement above would be the agreement of standing still."""
    for run in trained.values():
        assert run.losses()[-1] < run.losses()[0] - 0.2


def test_a_fast_start_and_the_router_are_on_record(trained: dict[str, Run]) -> None:
    last = trained["fsdp2 on two ranks, two rounds"].metrics()[-1]
    assert last["tokens"] == 4 * 32
    assert len(last["router_load"]) == 1
    assert 1 <= last["router_load"][0] <= 4
    assert 0 < last["mfu_measured"] < 1
    assert last["held_out"] > 0
    assert (last["attempt"], last["life"]) == ("001", 1)
