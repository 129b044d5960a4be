"""What each rank reads in each step: shares of the global batch, one step ahead of its use."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from exa_train.data.order import window_indices
from exa_train.plan import Plan, Train


class Windows(Protocol):
    """A split of the prepared data: windows of seq_len + 1 tokens."""

    def __len__(self) -> int: ...

    def window(self, index: int, /) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True)
class Microbatch:
    """Tokens (B, T) and the tokens that follow them (B, T), int64."""

    tokens: Tensor
    targets: Tensor


def shares(sequences: Sequence[int], microbatch: int, rank: int, world: int) -> list[list[int]]:
    """The microbatches that a rank takes, round by round. Pure.

    Microbatch j holds sequences j·microbatch … of the global batch and goes to rank j mod world
    in round j // world, so with another world the same microbatches are only dealt differently.
    """
    cut = [list(sequences[at : at + microbatch]) for at in range(0, len(sequences), microbatch)]
    return cut[rank::world]


@dataclass(frozen=True)
class Share:
    """A held-out batch of one rank; ``weight`` counts its windows in the mean, 0 for a filler."""

    windows: list[int]
    weight: int


def held_out_shares(count: int, microbatch: int, rank: int, world: int) -> list[Share]:
    """How a rank scores the first ``count`` windows. Pure.

    Every rank gets the same number of batches, because a sharded forward pass is collective:
    ranks left over score the first window again with weight 0.
    """
    cut = [list(range(at, min(at + microbatch, count))) for at in range(0, count, microbatch)]
    rounds = -(-len(cut) // world)
    mine = [Share(windows, len(windows)) for windows in cut[rank::world]]
    return mine + [Share([0], 0)] * (rounds - len(mine))


def stacked(split: Windows, indices: Sequence[int], device: torch.device) -> Microbatch:
    """Windows as one microbatch on the device."""
    rows = torch.from_numpy(np.stack([split.window(index) for index in indices]))
    moved = rows.to(device)
    return Microbatch(moved[:, :-1].contiguous(), moved[:, 1:].contiguous())


class Feed:
    """Microbatches of this rank, read by one thread while the step before is computed.

    Only the reading is ahead: which windows a step uses is `window_indices`'s answer.
    """

    def __init__(self, split: Windows, plan: Plan, *, rank: int, device: torch.device) -> None:
        self.split, self._train, self._device = split, plan.train, device
        self._rank, self._world = rank, plan.parallel.world
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._ahead: tuple[int, Future[list[Microbatch]]] | None = None

    def step(self, step: int) -> list[Microbatch]:
        """The microbatches of optimizer step ``step`` (from 1); starts reading the next."""
        due = self._reading(step)
        if step < self._train.steps:
            self._ahead = (step + 1, self._reader.submit(self._read, step + 1))
        return due.result()

    def _reading(self, step: int) -> Future[list[Microbatch]]:
        if self._ahead is not None and self._ahead[0] == step:
            return self._ahead[1]
        return self._reader.submit(self._read, step)

    def _read(self, step: int) -> list[Microbatch]:
        order = indices(self._train, step, len(self.split))
        mine = shares(order, self._train.microbatch, self._rank, self._world)
        return [stacked(self.split, windows, self._device) for windows in mine]


def indices(train: Train, step: int, n_windows: int) -> list[int]:
    """The windows of optimizer step ``step``, counted from 1 (`window_indices` counts from 0)."""
    return window_indices(train.seed, step - 1, train.global_batch, n_windows)
