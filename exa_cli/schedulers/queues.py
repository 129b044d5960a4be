"""Queues and nodes as the running batch system describes them."""

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
        routes: the queues that a routing queue sends its jobs to.
        qos, refused_qos: the QOS it takes, where it takes some only; those it does not take.
    """

    name: str
    closed: str = ""
    min_nodes: int | None = None
    max_nodes: int | None = None
    walltime_s: int | None = None
    nodes: int | None = None
    routes: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    refused_qos: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LiveNode:
    """One node, whatever its state. None = it does not say.

    Attributes:
        cpus: as the batch system counts them: cores, or hardware threads.
        cores: real cores. threads: hardware threads of each.
        gpus: that it can give to jobs.
        words: what it says of GPUs and the like, for people.
        queues: those it belongs to; empty = any, or it does not say.
    """

    name: str
    cpus: int | None = None
    cores: int | None = None
    threads: int | None = None
    gpus: int | None = None
    words: str = ""
    queues: tuple[str, ...] = ()


def whole(text: str | None) -> int | None:
    """A number of the batch system's; None for none, ``UNLIMITED`` or anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None
