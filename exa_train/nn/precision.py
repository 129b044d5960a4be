"""Which dtype a product is computed in: asked of autocast, where autocast does not ask itself."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype autocast would give a matrix product of ``x``; its own outside autocast.

    Autocast casts `linear`, `mm` and `bmm`, but neither `_grouped_mm` nor anything inside a
    custom autograd function; those ask here and cast themselves.
    """
    device = x.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which products keep the dtype they are given."""
    device = "cpu" if x.device.type == "meta" else x.device.type
    return torch.autocast(device, enabled=False)
