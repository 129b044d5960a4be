"""What nodes a batch system has: how many of which make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from exa_cli.schedulers.queues import LiveNode


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One node, as the batch system counts. None = it does not say.

    Attributes:
        cores: real cores; threads: hardware threads of each.
        ncpus: what a job can ask for, which may be cores or hardware threads.
        gpus: how many it can give.
        words: what it says of GPUs and the like, for people.
    """

    cores: int | None = None
    threads: int | None = None
    ncpus: int | None = None
    gpus: int | None = None
    words: str = ""


Nodes = tuple[tuple[Shape, int], ...]
"""Each shape with the number of its nodes, the commonest first."""


def counted(shapes: Iterable[Shape]) -> Nodes:
    """How many nodes have each shape."""
    return tuple(Counter(shapes).most_common())


def of_nodes(nodes: Iterable[LiveNode]) -> Nodes:
    """The shapes of nodes of which no more is known than what a job can ask for."""
    return counted(Shape(ncpus=node.cpus, gpus=node.gpus) for node in nodes)
