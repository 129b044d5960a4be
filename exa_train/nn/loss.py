"""Next-token cross-entropy over the real vocabulary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def real_logits(logits: Tensor, vocab: int) -> Tensor:
    """(…, padded rows) → (…, vocab): the padding's logits are cut off, so they never win."""
    return logits[..., :vocab]


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Mean over tokens of −log softmax(logits)[target], in nats, computed in fp32."""
    wide = torch.promote_types(logits_NV.dtype, torch.float32)
    return F.cross_entropy(logits_NV.to(wide), targets_N)
