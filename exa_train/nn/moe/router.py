"""Which experts each token goes to, and with which weight: in fp32 whatever is around it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exa_train.nn.precision import no_autocast


class Routing(NamedTuple):
    """The router's answer for N tokens, E experts, k choices.

    Attributes:
        logits: (N, E) fp32, for the z-loss.
        probs: (N, E) fp32, softmax of the logits, for the balancing loss.
        weights: (N, k) fp32, what each chosen expert's output is multiplied with.
        experts: (N, k) indices of the chosen experts, best first.
    """

    logits: Tensor
    probs: Tensor
    weights: Tensor
    experts: Tensor


class Router(nn.Module):
    """Softmax over all experts, then the k largest (Shazeer et al., arXiv 1701.06538).

    For k ≥ 2 the chosen probabilities are divided by their sum, so that the layer's output
    keeps its scale (GShard, arXiv 2006.16668; Mixtral, arXiv 2401.04088). For k = 1 that would
    make the weight the constant 1 and leave the router without a gradient from the loss, so
    the probability itself is used (Switch, arXiv 2101.03961 §2.1).
    """

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x_ND: Tensor) -> Routing:
        """(N, D) → `Routing`."""
        wide = torch.promote_types(x_ND.dtype, torch.float32)
        with no_autocast(x_ND):
            logits = F.linear(x_ND.to(wide), self.weight.to(wide))
            probs = logits.softmax(-1)
            top, experts = probs.topk(self.top_k, dim=-1)
            weights = top / top.sum(-1, keepdim=True) if self.top_k > 1 else top
        return Routing(logits, probs, weights, experts)
