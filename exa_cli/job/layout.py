"""Which rank runs where: from the plan and the allocation's nodes to launch.json. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exa_cli.runs.rundir import RunDir
from exa_cli.sites.binding import listed
from exa_cli.sites.machine import Seat


def node_folder(base: Path, node: str) -> Path:
    """A node's own folder; nodes that share one machine get one each."""
    return base / node


def scratch(base: Path, node: str, run: RunDir, attempt: str, life: int) -> Path:
    """Where one life keeps what belongs to a node: logs, heartbeats, segment records."""
    return node_folder(base, node) / "runs" / run.run_id / f"{attempt}-{life}"


def log(scratch: Path, rank: int) -> Path:
    """Where a rank's output goes."""
    return scratch / "ranks" / f"{rank:06d}.log"


def data_folder(base: Path, node: str, data_id: str) -> Path:
    """Where staged data lies: by content, so that the runs of a user share it."""
    return node_folder(base, node) / "data" / data_id


def place_ranks(
    plan: dict[str, Any], nodes: list[str], base: Path, run: RunDir, attempt: str, life: int
) -> list[dict[str, Any]]:
    """The rank table: ranks fill node after node."""
    each, data = plan["parallel"]["ranks_per_node"], plan.get("data")
    table = []
    for rank in range(plan["parallel"]["world"]):
        node = nodes[rank // each]
        folder = scratch(base, node, run, attempt, life)
        table.append(
            {
                "rank": rank,
                "node": node,
                "local_rank": rank % each,
                "scratch": str(folder),
                "data_dir": data and str(data_folder(base, node, data["data_id"])),
                "log": str(log(folder, rank)),
                "cpus": None,
                "device": None,
                "env": {},
            }
        )
    return table


def bound(table: list[dict[str, Any]], seats: Sequence[Seat], select: str) -> list[dict[str, Any]]:
    """The rank table with each rank's seat: ``cpus`` to run on, ``device`` as torch counts them,
    and ``env`` that shows it that device only, where ``select`` names a variable for that."""
    return [{**row, **_seat(seats[row["local_rank"]], select)} for row in table] if seats else table


def _seat(seat: Seat, select: str) -> dict[str, Any]:
    cpus = list(listed(seat.cpus)) or None
    if not isinstance(seat.device, int):
        return {"cpus": cpus}
    if select == "none":
        return {"cpus": cpus, "device": seat.device}
    return {"cpus": cpus, "device": 0, "env": {select: str(seat.device)}}
