"""The [node] table of a profile to begin with, from what a batch system said of its nodes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from exa_cli.schedulers.queues import LiveNode
from exa_cli.spec.document import toml_value

MOST = 8
"""So many shapes are shown; a site with more of them is one that a person has to look at."""

WHY = {
    "cpus": "real cores; take off those that the site keeps for itself",
    "gpus": "of a node",
    "threads_per_core": "",
    "total": "nodes, in whatever state",
}


@dataclass(frozen=True)
class Looked:
    """What came of asking for the nodes. ``fault`` is why there are none, if there are none;
    ``source`` is the command."""

    nodes: tuple[LiveNode, ...] = ()
    source: str = ""
    fault: str = "not asked"


def node_lines(blank: Mapping[str, str], day: str, looked: Looked) -> Iterator[str]:
    """The lines of [node]; ``blank`` are those of the starter that are to be filled in, by key.

    What all nodes have alike is written. What differs, and CPUs where the batch system may
    count threads, is a person's to say.
    """
    yield from _told(looked)
    found = {
        "cpus": _alike([node.cores for node in looked.nodes]),
        "gpus": _alike([node.gpus for node in looked.nodes]),
        "threads_per_core": _alike([node.threads for node in looked.nodes]),
        "total": len(looked.nodes) or None,
    }
    known = {key: _line(key, value) for key, value in found.items() if value is not None}
    yield from {**blank, **known}.values()
    if looked.nodes:
        yield from (f"as_of = {toml_value(day)}", f"source = {toml_value(looked.source)}")


def plain(text: str) -> str:
    """Text that stays within one comment."""
    return "".join(c if c.isprintable() else " " for c in text)


def _told(looked: Looked) -> Iterator[str]:
    """The nodes as they were seen, for the reader: how many of which make."""
    if not looked.nodes:
        there = f"; {looked.source} shows them" if looked.source else ""
        yield plain(f"# Nodes: not known ({looked.fault}){there}.")
    shapes = Counter(replace(node, name="", queues=()) for node in looked.nodes).most_common()
    yield from (f"# {count} nodes: {plain(_words(shape))}" for shape, count in shapes[:MOST])
    if len(shapes) > MOST:
        yield f"# and {len(shapes) - MOST} other shapes"


def _words(shape: LiveNode) -> str:
    parts = {
        "CPUs": shape.cpus,
        "cores": shape.cores,
        "threads of a core": shape.threads,
        "GPUs": shape.gpus,
    }
    said = [f"{what}: {number}" for what, number in parts.items() if number is not None]
    return ", ".join([*said, *([shape.words] if shape.words else [])])


def _alike(numbers: list[int | None]) -> int | None:
    """The number that all have; None when they differ or one does not say."""
    return numbers[0] if len(set(numbers)) == 1 else None


def _line(key: str, value: int) -> str:
    said = f"{key} = {value}"
    return f"{said:<27} # {WHY[key]}" if WHY[key] else said
