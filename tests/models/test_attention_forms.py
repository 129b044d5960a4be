"""Both forms of attention against a plain fp64 reference; the choice is a pure look-up."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from exa_train.nn.attention import FORMS, MEASURED, TILE, Form, choose_form

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

SHAPES = [
    (2, 1, 1, 4, 8),
    (2, 5, 2, 1, 4),
    (1, TILE, 1, 4, 32),
    (1, TILE + 1, 2, 2, 16),
    (2, 2 * TILE + 37, 1, 3, 32),
]
"""(B, T, K, G, C): one position, less than a tile, one tile, a tile and one, an odd rest."""


def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q·kᵀ/√C + mask)·v, in the dtype of its inputs, keys repeated for each query."""
    length, width = q.shape[1], q.shape[-1]
    scores = torch.einsum("btkgc,bskc->bkgts", q, k) / math.sqrt(width)
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
    return torch.einsum("bkgts,bskc->btkgc", weights, v)


def outputs(attend: Attend, tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The result and the three gradients, computed in ``dtype``, widened to fp64."""
    q, k, v = (t.to(dtype, copy=True).requires_grad_() for t in tensors[:3])
    out = attend(q, k, v)
    out.backward(tensors[3].to(dtype))
    return [t.double() for t in (out.detach(), q.grad, k.grad, v.grad)]


def random_inputs(shape: tuple[int, ...]) -> list[Tensor]:
    """Queries, keys, values, output gradient: bf16-exact values in fp64."""
    B, T, K, G, C = shape
    made = torch.Generator().manual_seed(T * C)
    sizes = [(B, T, K, G, C), (B, T, K, C), (B, T, K, C), (B, T, K, G, C)]
    return [torch.randn(size, generator=made).bfloat16().double() for size in sizes]


def rms(error: Tensor) -> float:
    return float(error.square().mean().sqrt())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_error_is_at_most_twice_that_of_eager_in_the_same_precision(
    form: Form, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    tensors = random_inputs(shape)
    exact = outputs(eager, tensors, torch.float64)
    plain = outputs(eager, tensors, dtype)
    found = outputs(FORMS[form], tensors, dtype)
    floor = torch.finfo(dtype).eps / 8
    for truth, reference, result in zip(exact, plain, found, strict=True):
        allowed = 2 * rms(reference - truth) + floor * rms(truth)
        assert rms(result - truth) <= allowed


@pytest.mark.parametrize("form", FORMS)
def test_a_later_token_never_changes_an_earlier_result(form: Form) -> None:
    q, k, v, _ = (t.float() for t in random_inputs((1, TILE + 9, 2, 2, 16)))
    before = FORMS[form](q, k, v)
    for changed in (TILE - 1, TILE, TILE + 8):
        other_k, other_v = k.clone(), v.clone()
        other_k[:, changed], other_v[:, changed] = 7.0, -7.0
        after = FORMS[form](q, other_k, other_v)
        assert torch.equal(before[:, :changed], after[:, :changed])
        assert not torch.equal(before[:, changed], after[:, changed])


@pytest.mark.parametrize(
    ("seq", "width", "dtype", "device", "form"),
    [
        (256, 32, torch.bfloat16, "cpu", "tiled"),
        (256, 32, torch.float32, "cpu", "tiled"),
        (4097, 32, torch.bfloat16, "cpu", "sdpa"),
        (256, 192, torch.bfloat16, "cpu", "sdpa"),
        (256, 32, torch.float16, "cpu", "sdpa"),
        (256, 32, torch.float64, "cpu", "sdpa"),
        (256, 128, torch.bfloat16, "cuda", "sdpa"),
        (256, 128, torch.bfloat16, "xpu", "sdpa"),
        (256, 128, torch.bfloat16, "meta", "sdpa"),
    ],
)
def test_what_was_not_measured_takes_the_fused_kernel(
    seq: int, width: int, dtype: torch.dtype, device: str, form: Form
) -> None:
    choice = choose_form(seq, width, dtype, device)
    assert choice.form == form
    assert choice.reason


def test_the_reason_quotes_the_row_it_rests_on() -> None:
    reason = choose_form(1000, 64, torch.bfloat16, "cpu").reason
    row = next(r for r in MEASURED if r.dtype == torch.bfloat16 and r.longest >= 1000)
    assert f"{row.faster[0]}-{row.faster[1]} times" in reason
    assert str(row.longest) in reason


def test_every_row_of_the_table_says_tiled_was_faster() -> None:
    assert all(1 < row.faster[0] <= row.faster[1] for row in MEASURED)
