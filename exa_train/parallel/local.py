"""Between a tensor and the part of it that this rank holds."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """This rank's part, sharing memory; the tensor itself when it is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
