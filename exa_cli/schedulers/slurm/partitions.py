"""What ``scontrol -o show partition`` prints. Pure: text in, queues out; nothing raises.

One line a partition, of ``Name=value`` words (scontrol(1), SHOW). Times are ``D-HH:MM:SS``,
``HH:MM:SS`` or ``UNLIMITED``.
"""

from __future__ import annotations

import re

from exa_cli.schedulers.queues import LiveQueue, whole
from exa_cli.spec import times

_WORD = re.compile(r"(?:^|(?<=\s))([A-Za-z][A-Za-z/]*)=(\S*)")
_NO_NAMES = ("ALL", "N/A", "NONE", "(null)")


def partitions(text: str) -> tuple[LiveQueue, ...]:
    """The partitions in the order in which they stand there."""
    found = (dict(_WORD.findall(line)) for line in text.splitlines())
    return tuple(_partition(said) for said in found if said.get("PartitionName"))


def _partition(said: dict[str, str]) -> LiveQueue:
    state = said.get("State", "UP")
    return LiveQueue(
        name=said["PartitionName"],
        closed="" if state == "UP" else f"State={state}",
        min_nodes=whole(said.get("MinNodes")) or None,
        max_nodes=whole(said.get("MaxNodes")),
        walltime_s=times.read(said.get("MaxTime", "")),
        nodes=whole(said.get("TotalNodes")),
        qos=_names(said.get("AllowQos", "")),
        refused_qos=_names(said.get("DenyQos", "")),
    )


def _names(text: str) -> tuple[str, ...]:
    """A list; none for ALL, N/A and the like, by which nothing is singled out."""
    return () if text in _NO_NAMES else tuple(filter(None, text.split(",")))
