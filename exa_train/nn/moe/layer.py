"""Router, dispatch, experts and combine put together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from exa_train.nn.moe.dispatch import combine, dispatch, plan
from exa_train.nn.moe.experts import Experts
from exa_train.nn.moe.losses import load_balancing, z_loss
from exa_train.nn.moe.router import Router
from exa_train.nn.precision import compute_dtype


class RouterStats(NamedTuple):
    """What one sparse layer says about one microbatch.

    Attributes:
        aux: load-balancing loss, scalar; 1 at perfect balance.
        z: z-loss, scalar.
        load: (E,) fraction of assignments to each expert, no gradient.
    """

    aux: Tensor
    z: Tensor
    load: Tensor


class MoE(nn.Module):
    """A sparse mixture of experts in place of one dense FFN."""

    def __init__(self, width: int, experts: int, inner: int, top_k: int) -> None:
        super().__init__()
        self.router = Router(width, experts, top_k)
        self.experts = Experts(experts, width, inner)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, RouterStats]:
        """(B, T, D) → (B, T, D) in fp32, and the router's losses over these B·T tokens."""
        x_ND = x_BTD.flatten(0, 1)
        routing = self.router(x_ND)
        to = plan(routing.experts, routing.probs.shape[1])
        y_AD = self.experts(dispatch(x_ND.to(compute_dtype(x_ND)), to), to.counts)
        y_ND = combine(y_AD, routing.weights, to)
        aux = load_balancing(routing.probs, to.load)
        stats = RouterStats(aux, z_loss(routing.logits), to.load)
        return y_ND.view_as(x_BTD), stats
