"""Rotary embedding: a rotation, relative, and never silently imprecise."""

from __future__ import annotations

import pytest
import torch

from exa_train.nn.rope import RopeTables, rope_tables, rotate

CPU = torch.device("cpu")


def heads(length: int, width: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    made = torch.Generator().manual_seed(length)
    return torch.randn(1, length, 1, 2, width, generator=made, dtype=torch.float64).to(dtype)


def test_tables_cast_to_bf16_are_refused() -> None:
    tables = RopeTables(*(t.bfloat16() for t in rope_tables(4, 8, 1e4, CPU)))
    with pytest.raises(ValueError, match="must be fp32"):
        rotate(heads(4, 8, torch.bfloat16), tables)


def test_tables_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 positions for 4"):
        rotate(heads(4, 8), rope_tables(3, 8, 1e4, CPU))


def test_a_pair_is_turned_by_its_angle_as_a_complex_number_is() -> None:
    length, width, theta = 50, 8, 1e4
    x = heads(length, width)
    turned = rotate(x, rope_tables(length, width, theta, CPU))
    pairs = torch.complex(x[..., : width // 2], x[..., width // 2 :])
    angle = torch.arange(length)[:, None] * theta ** -(torch.arange(0, width, 2).double() / width)
    expected = pairs * torch.polar(torch.ones_like(angle), angle)[None, :, None, None]
    found = torch.complex(turned[..., : width // 2], turned[..., width // 2 :])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_scores_depend_on_the_distance_only() -> None:
    tables = rope_tables(200, 16, 1e4, CPU)
    q = heads(1, 16).expand(1, 200, 1, 2, 16)
    turned = rotate(q.contiguous(), tables)[0, :, 0, 0]
    scores = turned @ turned.T
    for distance in (1, 7, 64):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-4)


def test_the_gradient_is_the_rotation_back() -> None:
    tables = rope_tables(6, 8, 1e4, CPU)
    wide = RopeTables(tables.cos.double(), tables.sin.double())
    x = heads(6, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: rotate(t, wide), (x,))


def test_angles_stay_exact_at_the_far_end() -> None:
    """fp32 products of position and frequency would be off by 0.004 at this length."""
    tables = rope_tables(100_001, 4, 5e6, CPU)
    angle = torch.tensor(100_000.0 * 5e6**-0.5, dtype=torch.float64)
    assert float(tables.cos[100_000, 1] - angle.cos()) == pytest.approx(0, abs=1e-7)
    assert float(tables.sin[100_000, 3] - angle.sin()) == pytest.approx(0, abs=1e-7)
