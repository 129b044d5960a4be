"""What ``pbsnodes -av`` prints. Pure: text in, nodes out; nothing raises.

A host may be cut into several vnodes.
"""

from __future__ import annotations

from collections.abc import Iterable

from exa_cli.schedulers.pbs.blocks import blocks
from exa_cli.schedulers.queues import LiveNode, whole


def nodes(text: str) -> tuple[LiveNode, ...]:
    """Each host once, with what its vnodes have together, in the order of their first."""
    hosts: dict[str, list[dict[str, str]]] = {}
    for name, said in blocks(text):
        hosts.setdefault(said.get("resources_available.host", name), []).append(said)
    return tuple(_node(host, parts) for host, parts in hosts.items())


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
