"""What differs between torch 2.8 and 2.13; every such question is answered here."""

from __future__ import annotations

from typing import Any

from torch import nn

try:
    from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
except ImportError:  # torch 2.8 has no pluggable collectives in FSDP2

    class ReduceScatter:  # type: ignore[no-redef]
        """Stands in for the base class; nothing calls its children on such a torch."""


def set_reduce_scatter(module: nn.Module, comm: Any) -> bool:
    """Let an FSDP2 module reduce its gradients by ``comm``; False where torch cannot."""
    setter = getattr(module, "set_custom_reduce_scatter", None)
    if setter is None:
        return False
    setter(comm)
    return True


__all__ = ["ReduceScatter", "set_reduce_scatter"]
