"""What ``scontrol -o show partition`` prints. Pure: text in, queues out; nothing raises.

One line a partition, of ``Name=value`` words (scontrol(1), SHOW). Times are ``D-HH:MM:SS``,
``HH:MM:SS`` or ``UNLIMITED``.
"""

from __future__ import annotations

import re

from exa_cli.schedulers.queues import LiveQueue, whole

_WORD = re.compile(r"(?:^|(?<=\s))([A-Za-z][A-Za-z/]*)=(\S*)")
_TIME = re.compile(r"(?:(\d{1,5})-)?(\d{1,4}):(\d\d):(\d\d)", re.ASCII)
_NO_NAMES = ("ALL", "N/A", "NONE", "(null)")
_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d{1,9})(?:,|$)", re.ASCII)


def partitions(text: str) -> tuple[LiveQueue, ...]:
    """The partitions in the order in which they stand there."""
    found = (dict(_WORD.findall(line)) for line in text.splitlines())
    return tuple(_partition(said) for said in found if said.get("PartitionName"))


def _partition(said: dict[str, str]) -> LiveQueue:
    state, nodes = said.get("State", "UP"), whole(said.get("TotalNodes"))
    return LiveQueue(
        name=said["PartitionName"],
        closed="" if state == "UP" else f"State={state}",
        min_nodes=whole(said.get("MinNodes")) or None,
        max_nodes=whole(said.get("MaxNodes")),
        walltime_s=seconds(said.get("MaxTime", "")),
        nodes=nodes,
        gpus=_gpus(said.get("TRES", ""), nodes),
        qos=_names(said.get("AllowQos", "")),
        refused_qos=_names(said.get("DenyQos", "")),
    )


def seconds(text: str) -> int | None:
    """``1-00:00:00`` → 86400; None for UNLIMITED and what is no time."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + rest


def _names(text: str) -> tuple[str, ...]:
    """A list; none for ALL, N/A and the like, by which nothing is singled out."""
    return () if text in _NO_NAMES else tuple(filter(None, text.split(",")))


def _gpus(tres: str, nodes: int | None) -> int | None:
    """GPUs of a node, where the partition's divide by its nodes. Without TRES nobody said."""
    if not nodes or "cpu=" not in tres:
        return None
    found = _GPUS.search(tres)
    each, rest = divmod(int(found[1]) if found else 0, nodes)
    return None if rest else each
