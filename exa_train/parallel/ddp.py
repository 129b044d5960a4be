"""Plain replication: the reference the sharded engine is tested against."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DistributedDataParallel

from exa_train.parallel.engine import Engine


class Ddp(Engine):
    """torch's DistributedDataParallel: every rank holds everything, gradients are averaged."""

    def __init__(self, model: nn.Module, fill: Callable[[], None], mesh: DeviceMesh) -> None:
        fill()
        params = dict(model.named_parameters())
        wrapped = DistributedDataParallel(
            model, process_group=mesh.get_group(), gradient_as_bucket_view=True
        )
        super().__init__(wrapped, params)

    def round(self, *, last: bool) -> AbstractContextManager[None]:
        wrapped = cast("DistributedDataParallel", self.module)
        if last:
            return nullcontext()
        return cast("AbstractContextManager[None]", wrapped.no_sync())
