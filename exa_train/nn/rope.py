"""Rotary position embedding (Su et al., RoFormer, arXiv 2104.09864 §3.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class RopeTables(NamedTuple):
    """Cosines and signed sines of every position, fp32, each (T, C): see `rope_tables`."""

    cos: Tensor
    sin: Tensor

    def first(self, length: int) -> RopeTables:
        """The tables of the first ``length`` positions."""
        return RopeTables(self.cos[:length], self.sin[:length])


def rope_tables(length: int, width: int, theta: float, device: torch.device | None) -> RopeTables:
    """Tables for ``length`` positions and heads of ``width`` channels.

    Channel i and channel i + width/2 form a pair, turned at position t by the angle
    t · theta^(−2i/width). Angles are made in fp64: at position 10^5 an fp32 product is off by
    up to 0.004 radian. The sine of a pair's first channel carries the minus sign, so that a
    turn is ``x·cos + swap(x)·sin``.
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float64, device=device) / width
    positions = torch.arange(length, dtype=torch.float64, device=device)
    angles = torch.outer(positions, theta**-exponents)
    cos, sin = angles.cos().float(), angles.sin().float()
    return RopeTables(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))


def _swap(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((second, first), dim=-1)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, cos.dtype))
    return (wide * cos).addcmul_(_swap(wide), sin).to(x.dtype)


class _Rotate(torch.autograd.Function):
    """A turn; its gradient is the turn by the opposite angle. Nothing but the tables is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def rotate(x_BTKGC: Tensor, tables: RopeTables) -> Tensor:
    """Turn every head of (B, T, K, G, C) by its position's angles, in fp32; dtype as given.

    Raises ValueError when the tables are not fp32 or wider (a cast of module inputs to bf16
    would destroy positions beyond 256 in silence) or cover fewer or more positions than T.
    """
    cos, sin = tables
    if cos.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"RoPE tables must be fp32, not {cos.dtype}")
    if cos.shape[0] != x_BTKGC.shape[1]:
        raise ValueError(f"RoPE tables of {cos.shape[0]} positions for {x_BTKGC.shape[1]}")
    turned: Tensor = _Rotate.apply(x_BTKGC, cos[:, None, None], sin[:, None, None])  # type: ignore[no-untyped-call]
    return turned
