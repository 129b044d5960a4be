"""Moving tokens to their experts and back, each way a permutation, so each gradient is one too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """Where each assignment goes. Assignment a = n·k + j is the j-th choice of token n.

    Attributes:
        token: (A,) the token in each row once rows are sorted by expert.
        source: (A,) the assignment in each sorted row: a permutation.
        row: (A,) the sorted row of each assignment: its inverse.
        counts: rows of each expert, in order; zero is fine.
        load: (E,) the same as fractions of all rows, fp32.
        top_k: k.
    """

    token: Tensor
    source: Tensor
    row: Tensor
    counts: list[int]
    load: Tensor
    top_k: int


def plan(experts_NK: Tensor, experts: int) -> Plan:
    """Sort assignments by expert; ties keep the order of tokens, so the result is unique."""
    top_k = experts_NK.shape[1]
    flat = experts_NK.flatten()
    source = flat.argsort(stable=True)
    rows = torch.bincount(flat, minlength=experts)
    load = rows.float() / flat.numel()
    return Plan(source // top_k, source, source.argsort(), rows.tolist(), load, top_k)


class _Dispatch(torch.autograd.Function):
    """Row a of the output is row token_A[a] of the input.

    A token's gradient is the sum over its k rows, gathered by the inverse permutation and
    added in the order of its choices: a fixed order, where index_add on CUDA has none.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, token_A: Tensor, row_A: Tensor, top_k: int) -> Tensor:
        ctx.save_for_backward(row_A)
        ctx.top_k = top_k
        return x_ND.index_select(0, token_A)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (row_A,) = ctx.saved_tensors
        grad_AD = grads[0].index_select(0, row_A)
        return grad_AD.view(-1, ctx.top_k, grad_AD.shape[1]).sum(1), None, None, None


class _Permute(torch.autograd.Function):
    """Rows permuted; the gradient goes through the inverse permutation."""

    @staticmethod
    def forward(ctx: Any, x_AD: Tensor, order_A: Tensor, inverse_A: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_A)
        return x_AD.index_select(0, order_A)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (inverse_A,) = ctx.saved_tensors
        return grads[0].index_select(0, inverse_A), None, None


def dispatch(x_ND: Tensor, to: Plan) -> Tensor:
    """(N, D) → (A, D): each token's row once for every expert it goes to, sorted by expert."""
    rows: Tensor = _Dispatch.apply(x_ND, to.token, to.row, to.top_k)  # type: ignore[no-untyped-call]
    return rows


def combine(y_AD: Tensor, weights_NK: Tensor, to: Plan) -> Tensor:
    """(A, D) sorted by expert → (N, D): Σ_j weight_j · y_j, added in fp32 in order of choice."""
    back: Tensor = _Permute.apply(y_AD, to.row, to.source)  # type: ignore[no-untyped-call]
    rows_NKD = back.view(-1, to.top_k, y_AD.shape[1])
    return (rows_NKD * weights_NK[..., None]).sum(1)
