"""What keeps a router usable: balanced load and small logits."""

from __future__ import annotations

from torch import Tensor


def load_balancing(probs_NE: Tensor, fractions_E: Tensor) -> Tensor:
    """E · Σ_e f_e · P_e: f_e = (assignments to e) / (N·k), P_e = mean over tokens of prob_e.

    Fedus et al., Switch Transformers, arXiv 2101.03961 §2.2, equation 4, with f over all k
    choices. It is 1 at perfect balance, and E when every token goes to one expert with
    certainty. The gradient flows through P only. N is one microbatch: the value depends on the
    microbatch size (a mean of products is not a product of means), which therefore belongs to
    the run and not to the layout.
    """
    mean_E = probs_NE.mean(0)
    return probs_NE.shape[1] * (fractions_E.to(mean_E.dtype) * mean_E).sum()


def z_loss(logits_NE: Tensor) -> Tensor:
    """Mean over tokens of (log Σ_e exp logit_e)²: Zoph et al., ST-MoE, arXiv 2202.08906 §3.1."""
    return logits_NE.logsumexp(-1).square().mean()
