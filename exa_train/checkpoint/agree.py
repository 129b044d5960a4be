"""Agreement: every rank learns what happened on every other, and draws the same conclusion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch.distributed as dist

from exa_cli.base.errors import ExaError
from exa_train.checkpoint.errors import CheckpointFailed, Fault

T = TypeVar("T")


class Group:
    """A process group, or this process alone when torch.distributed is not initialised.

    The group must be a private one on the CPU (gloo): collectives of the trainer must not mix
    with these, and its timeout is what ends the wait for a rank that died.
    """

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.process_group = group
        self.alone = not (dist.is_available() and dist.is_initialized())
        self.rank = 0 if self.alone else dist.get_rank(group)
        self.world = 1 if self.alone else dist.get_world_size(group)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """``value`` of every rank, by rank, on every rank."""
        if self.alone:
            return [value]
        found: list[T | None] = [None] * self.world
        with answered():
            dist.all_gather_object(found, value, group=self.process_group)
        return cast("list[T]", found)

    def share(self, value: T | None) -> T:
        """Rank 0's ``value`` on every rank."""
        if self.alone:
            return cast("T", value)
        box = [value]
        source = 0 if self.process_group is None else dist.get_global_rank(self.process_group, 0)
        with answered():
            dist.broadcast_object_list(box, src=source, group=self.process_group)
        return cast("T", box[0])

    def all_or_none(self, fault: Fault | None) -> None:
        """Return if no rank has a fault; else raise one and the same CheckpointFailed on all.

        The first rank's fault speaks, except that a cause which can be acted on comes before
        an unknown one: on a full disk some ranks fail with other words.
        """
        faults = [(rank, f) for rank, f in enumerate(self.gather(fault)) if f is not None]
        if faults:
            rank, first = min(faults, key=lambda item: (item[1].cause == "unknown", item[0]))
            raise _told(first, rank, len(faults), self.world)

    def leader_does(self, action: Callable[[], T]) -> T:
        """Run ``action`` on rank 0; its result, or the same CheckpointFailed, on every rank."""
        outcome: tuple[T | None, Fault | None] | None = None
        if self.leads:
            outcome = attempt(action)
        value, fault = self.share(outcome)
        if fault is not None:
            raise _told(fault, 0, 1, self.world)
        return cast("T", value)


def attempt(action: Callable[[], T]) -> tuple[T | None, Fault | None]:
    """The result of ``action``, or its failure as a value."""
    try:
        return action(), None
    except (OSError, ExaError, ValueError) as error:
        return None, Fault.of(error)


def _told(fault: Fault, rank: int, failed: int, world: int) -> CheckpointFailed:
    error = CheckpointFailed.because(fault)
    if world > 1:
        where = f"rank {rank}" + (f" and {failed - 1} more of {world}" if failed > 1 else "")
        error.where = f"{fault.where} ({where})" if fault.where else where
    return error


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Turn the failure of a collective into CheckpointFailed: a peer died or timed out."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()
        raise CheckpointFailed.because(
            Fault(
                "rank-failure", f"another rank did not answer: {reason[0] if reason else error!r}"
            )
        ) from error
