"""Data parallelism: how a model is spread over ranks. Model files know nothing of it.

An `Engine` owns the module that is called and the parameters that are optimised, and says
when gradients cross ranks. The loop is the same for all of them, and for a world of one.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from exa_train.faults import LaunchFailed
from exa_train.parallel.engine import Engine, Whole


def spread(
    model: nn.Module,
    engine: str,
    mesh: DeviceMesh,
    *,
    rounds: int,
    device: torch.device,
    seed: int,
) -> Engine:
    """``model`` under the engine of that name, with its initial weights; one rank runs it whole.

    Args:
        model: on the meta device. An engine that shards does so before any memory is taken, so
            no rank ever holds the whole model.
        engine: ``fsdp2`` or ``ddp``.
        mesh: one dimension over all ranks.
        rounds: microbatches a rank takes in a step.
        device: where the weights go.
        seed: of the initial weights; equal seeds give equal weights on any mesh.
    """

    def fill() -> None:
        model.to_empty(device=device)
        cast("Fillable", model).init_weights(seed)

    if mesh.size() == 1:
        return Whole(model, fill)
    if engine == "fsdp2":
        from exa_train.parallel.fsdp2 import Fsdp2

        return Fsdp2(model, fill, mesh, rounds)
    if engine == "ddp":
        from exa_train.parallel.ddp import Ddp

        return Ddp(model, fill, mesh)
    raise LaunchFailed(f"no engine {engine!r}", where="plan.json, parallel.engine")


class Fillable(Protocol):
    """A model that can draw its own initial weights."""

    def init_weights(self, seed: int) -> None: ...


__all__ = ["Engine", "Whole", "spread"]
