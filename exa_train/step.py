"""One optimizer step: forward and backward, one all-reduce, a verdict, the update.

Everything ranks must know of each other in a step is summed in one small all-reduce between
backward and update: losses, the gradient norm, router load, and whether to stop.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from exa_train import optim, soundness
from exa_train.device import Device
from exa_train.feed import Microbatch
from exa_train.parallel import Engine


@dataclass(frozen=True)
class Wishes:
    """What one rank was told from outside when a step ended."""

    stop: bool = False
    superseded: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a step came to, the same on every rank. Losses are means over all microbatches.

    Attributes:
        grad_norm: global gradient norm before clipping.
        router_load: share of assignments by sparse layer and expert.
        stop: some rank was asked to save and stop.
        superseded: a newer life has claimed the run.
    """

    loss: float
    ce: float
    aux: float
    z: float
    grad_norm: float
    tokens: int
    stop: bool
    superseded: bool
    router_load: tuple[tuple[float, ...], ...]

    def bad(self, clip: float) -> str | None:
        """The first quantity that is not finite, or whose square is not, in words.

        AdamW squares gradients, ``clip`` being the longest that it gets (0 = any length).
        """
        if not math.isfinite(self.loss):
            return f"the loss ({self.loss})"
        if not math.isfinite(self.grad_norm):
            return f"the gradient norm ({self.grad_norm})"
        if min(self.grad_norm, clip or math.inf) > _LARGEST:
            return f"the square of the gradient norm ({self.grad_norm:.3g})"
        return None


_LARGEST = 2.0**63
"""Its square, 2^126, is within fp32 and bf16."""

_SCALARS = 8


def tally(losses: Tensor, load: Tensor, square: Tensor, tokens: int, wishes: Wishes) -> Tensor:
    """One rank's terms of the step's all-reduce: fp64, (8 + layers·experts)."""
    rest = torch.tensor([tokens, wishes.stop, wishes.superseded], dtype=torch.float64)
    return torch.cat((losses, square.reshape(1), rest, load.reshape(-1)))


def outcome(total: Sequence[float], microbatches: int, experts: int) -> Outcome:
    """The sum of all ranks' tallies → what it says. Pure."""
    loss, ce, aux, z, square, tokens, stop, superseded = total[:_SCALARS]
    load = [value / microbatches for value in total[_SCALARS:]]
    layers = [tuple(load[at : at + experts]) for at in range(0, len(load), experts or 1)]
    return Outcome(
        loss=loss / microbatches,
        ce=ce / microbatches,
        aux=aux / microbatches,
        z=z / microbatches,
        grad_norm=math.sqrt(square) if square >= 0 else math.nan,
        tokens=int(tokens),
        stop=stop > 0,
        superseded=superseded > 0,
        router_load=tuple(layers),
    )


def seed_of(seed: int, step: int, rank: int) -> int:
    """The 63-bit seed a rank draws from in one step. Pure: a hash, so that neighbouring steps
    and ranks share nothing."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def reseed(seed: int, step: int, rank: int, device: Device) -> None:
    """Set every generator of this process, so that a resumed step draws what it drew before.

    On the CPU only torch's CPU generator is touched: `torch.manual_seed` asks all devices.
    """
    value = seed_of(seed, step, rank)
    (torch.default_generator if device.kind == "cpu" else torch).manual_seed(value)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)


def backward(
    engine: Engine, batches: Sequence[Microbatch], device: Device, precision: str
) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss, left in the engine's parameters.

    Returns:
        Sums over this rank's microbatches: (loss, ce, aux, z) as fp64 (4), and router load
        (layers, experts) as fp64.
    """
    engine.module.train()
    outputs: list[Any] = []
    for index, batch in enumerate(batches):
        with engine.round(last=index == len(batches) - 1):
            with autocast(device, precision):
                output = engine.module(batch.tokens, batch.targets)
            (output.loss / len(batches)).backward()
        outputs.append(output)
    return _sums(outputs)


def autocast(device: Device, precision: str) -> torch.autocast:
    """bf16 = products in bf16 over fp32 parameters, which autocast casts once a forward pass."""
    return torch.autocast(device.kind, dtype=torch.bfloat16, enabled=precision == "bf16")


def _sums(outputs: Sequence[Any]) -> tuple[Tensor, Tensor]:
    losses = torch.stack(
        [
            torch.stack([o.loss.detach(), o.ce.detach(), o.aux.detach(), o.z.detach()])
            for o in outputs
        ]
    )
    load = torch.stack([o.router_load for o in outputs])
    return losses.double().sum(0), load.double().sum(0)


def reduced(mine: Tensor, world: int) -> list[float]:
    """The tally summed over ranks, on the host; ``mine`` stays what it was."""
    total = mine.clone()
    if world > 1:
        dist.all_reduce(total)
    values: list[float] = total.tolist()
    return values


def seen_here(engine: Engine, mine: Tensor) -> tuple[bool, list[str]]:
    """Whether this rank's own losses are not finite, and parameters whose gradient is not."""
    held = {name: p.grad for name, p in engine.params.items() if p.grad is not None}
    return not bool(torch.isfinite(mine[:4]).all()), soundness.nonfinite(held)


def update(engine: Engine, optimizer: torch.optim.Optimizer, norm: float, largest: float) -> None:
    """Clip, step, and let go of the gradients."""
    optim.clip(engine, norm, largest)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
