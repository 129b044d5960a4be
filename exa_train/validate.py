"""Loss on the held-out split: the same windows every time, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist

from exa_train.device import Device
from exa_train.feed import Windows, held_out_shares, stacked
from exa_train.parallel import Engine
from exa_train.plan import Plan
from exa_train.step import autocast


@torch.no_grad()
def held_out_loss(
    engine: Engine, split: Windows, plan: Plan, device: Device, rank: int, beat: Callable[[], None]
) -> float:
    """Mean cross-entropy in nats per token over the first ``validate_windows`` windows.

    Auxiliary losses are no part of it. Collective; ``beat`` is called once a batch.
    """
    train, world = plan.train, plan.parallel.world
    count = min(train.validate_windows, len(split))
    total = torch.zeros((), dtype=torch.float64)
    engine.module.eval()
    for share in held_out_shares(count, train.microbatch, rank, world):
        batch = stacked(split, share.windows, device.torch)
        with autocast(device, train.precision):
            output = engine.module(batch.tokens, batch.targets)
        total += output.ce.double().cpu() * share.weight
        beat()
    engine.module.train()
    if world > 1:
        dist.all_reduce(total)
    return float(total) / count
