"""What ``sinfo -N`` prints of nodes. Pure: text in, nodes out; nothing raises.

A node stands there once for each of its partitions. GRES are ``gpu:4``, ``gpu:a100:4(S:0-1)``,
several with commas between, or ``(null)`` (sinfo(1), %G; recordings: slurm/10).
"""

from __future__ import annotations

import re

from exa_cli.schedulers.queues import LiveNode, whole

FORMAT = "%N|%R|%c|%X|%Y|%Z|%G"
"""Name, partition, CPUs, sockets, cores of a socket, threads of a core, GRES."""

_PLACES = re.compile(r"\([^()]*\)")


def nodes(text: str) -> tuple[LiveNode, ...]:
    """Each node once, with all of its partitions, in the order in which they stand there."""
    found: dict[str, LiveNode] = {}
    for line in text.splitlines():
        words = [word.strip() for word in line.split("|")]
        if len(words) == 7 and words[0]:
            found[words[0]] = _node(words, found.get(words[0]))
    return tuple(found.values())


def _node(words: list[str], before: LiveNode | None) -> LiveNode:
    name, partition, *numbers, gres = words
    cpus, sockets, cores, threads = (whole(number) or None for number in numbers)
    return LiveNode(
        name=name,
        cpus=cpus,
        cores=sockets * cores if sockets and cores else None,
        threads=threads,
        gpus=gpus(gres),
        words=gres,
        queues=(*(before.queues if before else ()), *filter(None, [partition])),
    )


def gpus(gres: str) -> int | None:
    """``gpu:a100:2,gpu:v100:2`` → 4; 0 for GRES without a GPU; None where it is not a count."""
    if not gres:
        return None
    found = (one.split(":") for one in _PLACES.sub("", gres).split(","))
    counts = [whole(words[-1]) for words in found if words[0] == "gpu"]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
