"""A program of the user's own in place of the trainer: what it is told, and what it tells.

| what | how |
|---|---|
| who it is | RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK (the node's number) |
| where to meet | MASTER_ADDR, MASTER_PORT: the first node, and a port that was free there |
| how far it is | one of its ranks appends lines of JSON with a ``step`` to the file $EXA_METRICS |
| save and stop | the file $EXA_STOP appears |
| how it ended | status 0 = finished; after $EXA_STOP, 0 or 75 = saved and stopped |

The names are those of torchrun (torch.distributed.run, Environment Variables), so what runs
under that runs here.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exa_cli.job.allocation import Allocation
from exa_cli.runs import metrics
from exa_cli.runs.journal import Journal

STOPPED = (0, 75)
"""Exit statuses of a program that saved and stopped as it was asked to."""


@dataclass(frozen=True)
class Progress:
    """What its metrics show: how many bytes there are, and the newest step, if any."""

    size: int
    step: int | None


def progress(here: Allocation) -> Progress:
    path = here.run.metrics / "metrics.jsonl"
    newest = metrics.last(path)
    return Progress(path.stat().st_size if path.exists() else 0, newest["step"] if newest else None)


def record(here: Allocation) -> dict[str, Any]:
    """What launch.json says of it."""
    here.run.metrics.mkdir(exist_ok=True)
    return {
        **here.plan["program"],
        "address": "127.0.0.1" if here.site.node.virtual else here.nodes[0],
        "port": _free_port(),
        "metrics": str(here.run.metrics / "metrics.jsonl"),
        "stop": str(here.folder / "stop.json"),
    }


def _free_port() -> int:
    """A port that is free on this machine, which is the first node's."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(launch: Mapping[str, Any], rank: int) -> dict[str, str]:
    """What a rank of it is told. Pure."""
    told, ranks = launch["program"], launch["ranks"]
    node = ranks[rank]["node"]
    nodes = list(dict.fromkeys(each["node"] for each in ranks))
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(len(ranks)),
        "LOCAL_RANK": str(ranks[rank]["local_rank"]),
        "LOCAL_WORLD_SIZE": str(sum(each["node"] == node for each in ranks)),
        "GROUP_RANK": str(nodes.index(node)),
        "MASTER_ADDR": told["address"],
        "MASTER_PORT": str(told["port"]),
        "EXA_METRICS": told["metrics"],
        "EXA_STOP": told["stop"],
    }


def settle(
    here: Allocation, journal: Journal, status: int, stop: str | None, before: Progress
) -> None:
    """Put into the journal what the trainer would have said itself."""
    now = progress(here)
    if now.size > before.size:
        journal.append("training")
    if stop and status in STOPPED:
        journal.append("stopped", step=now.step, reason=stop)
    elif status == 0:
        journal.append("done", step=now.step)
