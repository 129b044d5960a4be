"""A queue as the running batch system describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LiveQueue:
    """One queue or partition. None = it does not say, or has no limit of its own.

    Attributes:
        closed: why no job of it starts now, in the batch system's words; "" = it is open.
        min_nodes, max_nodes: of one job.
        walltime_s: the longest job, in seconds.
        nodes: how many it has.
        gpus: of one of its nodes, where all have as many.
        routes: the queues that a routing queue sends its jobs to.
    """

    name: str
    closed: str = ""
    min_nodes: int | None = None
    max_nodes: int | None = None
    walltime_s: int | None = None
    nodes: int | None = None
    gpus: int | None = None
    routes: tuple[str, ...] = ()


def whole(text: str | None) -> int | None:
    """A number of the batch system's; None for none, ``UNLIMITED`` or anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None
