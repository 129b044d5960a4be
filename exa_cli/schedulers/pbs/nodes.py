"""What ``pbsnodes -av`` prints. Pure: text in, nodes out; nothing raises.

A vnode is its name at the left and lines ``     name = value``; a value that goes on begins its
next line with a tab (recordings: openpbs/00). A host may be cut into several vnodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from exa_cli.schedulers.queues import LiveNode, whole

_ATTRIBUTE = re.compile(r" +([A-Za-z_.]+) = (.*)")


def nodes(text: str) -> tuple[LiveNode, ...]:
    """Each host once, with what its vnodes have together, in the order of their first."""
    hosts: dict[str, list[dict[str, str]]] = {}
    for name, said in _vnodes(text.replace("\n\t", "")):
        hosts.setdefault(said.get("resources_available.host", name), []).append(said)
    return tuple(_node(host, parts) for host, parts in hosts.items())


def _vnodes(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    name, said = "", dict[str, str]()
    for line in text.splitlines():
        if found := _ATTRIBUTE.fullmatch(line):
            said[found[1]] = found[2].strip()
        elif line and line[0].isprintable() and not line[0].isspace():
            if name and said:
                yield name, said
            name, said = line.strip(), {}
    if name and said:
        yield name, said


def _node(host: str, parts: list[dict[str, str]]) -> LiveNode:
    queues = dict.fromkeys(part["queue"] for part in parts if part.get("queue"))
    return LiveNode(
        name=host,
        cpus=_sum(part.get("resources_available.ncpus") for part in parts),
        gpus=_sum(part.get("resources_available.ngpus") for part in parts),
        queues=tuple(queues),
    )


def _sum(values: Iterable[str | None]) -> int | None:
    """Of what is said; None where no vnode says any."""
    known = [number for value in values if (number := whole(value)) is not None]
    return sum(known) if known else None
