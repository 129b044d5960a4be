"""The [node] table of a profile to begin with, from what a batch system said of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exa_cli.schedulers.shapes import Nodes, Shape
from exa_cli.spec.document import toml_value

MOST = 8
"""So many shapes are shown; a site with more of them is one that a person has to look at."""


@dataclass(frozen=True)
class Looked:
    """What came of asking for the nodes. ``fault`` is why there are none, if there are none;
    ``source`` is the command."""

    nodes: Nodes = ()
    source: str = ""
    fault: str = "not asked"


CPUS = {
    "slurm": "cores of a node that a job may use: `scontrol show node`, CPUEfctv",
    "pbs": "cores of a node that a job may use; ncpus may count hardware threads",
}


def node_lines(kind: str, day: str, looked: Looked, gpus: int | None) -> Iterator[str]:
    """The lines of [node]. ``gpus`` is what the queues say of them, if they do.

    What all nodes have alike is written. What differs, and CPUs where the batch system may
    count threads, is a person's to say.
    """
    shapes = [shape for shape, _ in looked.nodes]
    yield from _told(looked)
    yield _line("ranks_per_node", None, "one for each GPU, or for each socket of a node without")
    cores = _alike([shape.cores for shape in shapes])
    yield _line(
        "cpus",
        cores,
        CPUS[kind] if cores is None else "cores; take off CoreSpecCount of `scontrol show node`",
    )
    if (threads := _alike([shape.threads for shape in shapes])) is not None:
        yield _line("threads_per_core", threads, "")
    found = _alike([shape.gpus for shape in shapes])
    yield _gpus(found, gpus if {shape.gpus for shape in shapes} <= {None} else None)
    if shapes:
        yield _line("total", sum(count for _, count in looked.nodes), "nodes, in whatever state")
        yield from (f"as_of = {toml_value(day)}", f"source = {toml_value(looked.source)}")


def plain(text: str) -> str:
    """Text that stays within one comment."""
    return "".join(c if c.isprintable() else " " for c in text)


def _told(looked: Looked) -> Iterator[str]:
    """The nodes as they were seen, for the reader."""
    if not looked.nodes:
        there = f"; {looked.source} shows them" if looked.source else ""
        yield plain(f"# Nodes: not known ({looked.fault}){there}.")
    yield from (f"# {count} nodes: {plain(_words(shape))}" for shape, count in looked.nodes[:MOST])
    if (rest := len(looked.nodes) - MOST) > 0:
        yield f"# and {rest} other shapes"


def _words(shape: Shape) -> str:
    parts = {
        "cores": shape.cores,
        "threads of a core": shape.threads,
        "ncpus": shape.ncpus,
        "GPUs": shape.gpus,
    }
    said = [f"{what}: {number}" for what, number in parts.items() if number is not None]
    return ", ".join([*said, *([shape.words] if shape.words else [])])


def _alike(numbers: list[int | None]) -> int | None:
    """The number that all have; None when they differ or one does not say."""
    return numbers[0] if len(set(numbers)) == 1 else None


def _gpus(of_nodes: int | None, of_queues: int | None) -> str:
    if of_nodes is not None:
        return _line("gpus", of_nodes, "of a node")
    if of_queues is not None:
        return _line("gpus", of_queues, "of a node: as all partitions' TRES say")
    return _line("gpus", None, "GPUs of a node; 0 where there are none")


def _line(key: str, value: int | None, why: str) -> str:
    said = f"{key} = {toml_value('fill in' if value is None else value)}"
    return f"{said:<27} # {why}" if why else said
