"""FSDP2: parameters, gradients and optimizer state are sharded over all ranks.

`torch.distributed.fsdp.fully_shard` does the work; this file decides what is gathered
together, for how long, and by which collective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from exa_train.compat import set_reduce_scatter
from exa_train.parallel.engine import Engine
from exa_train.parallel.exchange import Exchange
from exa_train.parallel.units import MINIMUM_UNIT, reshards, units


class Fsdp2(Engine):
    """A sharded model. Gradients are averaged over ranks, so losses are means on each."""

    shards = True

    def __init__(
        self, model: nn.Module, fill: Callable[[], None], mesh: DeviceMesh, rounds: int
    ) -> None:
        self._reshard = reshards(_bytes(model))
        blocks = list(cast("nn.ModuleList", model.blocks))
        for unit in units([_bytes(block) for block in blocks], MINIMUM_UNIT):
            together = [blocks[index] for index in unit]
            fully_shard(together, mesh=mesh, reshard_after_forward=self._reshard)
        fully_shard(model, mesh=mesh, reshard_after_forward=False)
        if mesh.device_type == "cpu":
            _use_exchange(model)
        fill()
        # The names now lead to shards; during a pass they lead to gathered parameters.
        super().__init__(model, dict(model.named_parameters()))
        self._root = cast("FSDPModule", model)
        self._accumulates = rounds > 1

    def round(self, *, last: bool) -> AbstractContextManager[None]:
        return self._synced(last)

    @contextmanager
    def _synced(self, last: bool) -> Iterator[None]:
        """Before the last round gradients stay local, and small models stay gathered."""
        if self._accumulates:
            self._root.set_requires_gradient_sync(last)
            self._root.set_reshard_after_backward(last or self._reshard)
        yield


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _use_exchange(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, FSDPModule):
            set_reduce_scatter(module, Exchange())
