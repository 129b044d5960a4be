"""Read what the probe saw: a pure verdict on whether a launch can work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exa_cli.base.requires import RANKS
from exa_cli.policy.cause import Health
from exa_cli.schedulers import inside


def verdict(
    seen: dict[str, Any] | None,
    world: int,
    words: str,
    scratch_bytes: int,
    places: Sequence[str] | None = None,
) -> Health | None:
    """What stands against launching, or None.

    Args:
        seen: the probe's record; None when it wrote none.
        world: ranks the plan wants.
        words: what the launcher said, for the case that the probe wrote nothing.
        scratch_bytes: bytes each node's local folder must have free.
        places: the node of each rank by the plan; None where nodes share one machine.
    """
    if seen is None:
        return Health("ranks can talk", f"the probe under the launcher failed: {words}")
    ranks = seen["ranks"]
    if len(ranks) != world or seen["sum"] != world * (world + 1) // 2:
        return Health("ranks can talk", f"{len(ranks)} of {world} ranks answered")
    faults = [_misplaced(rank, places) or _fault(rank, scratch_bytes) for rank in ranks]
    return next((fault for fault in faults if fault), None)


def _misplaced(rank: dict[str, Any], places: Sequence[str] | None) -> Health | None:
    """Data and logs are where the plan puts a rank: elsewhere it would find nothing."""
    if places is None:
        return None
    wanted = places[rank["rank"]]
    if inside.which(list(dict.fromkeys(places)), rank["host"], rank["told_node"]) == wanted:
        return None
    text = f"the launcher started rank {rank['rank']} on {rank['host']}, the plan says {wanted}"
    return Health("placement", text)


def _fault(rank: dict[str, Any], scratch_bytes: int) -> Health | None:
    place = f"rank {rank['rank']} on {rank['host']}"
    if rank["seat_error"]:
        return Health("binding", f"{place} {rank['seat_error']}")
    if rank["missing"]:
        return Health("packages", f"{place} cannot import {', '.join(rank['missing'])}")
    if rank["torch"] and not RANKS["torch"].takes(rank["torch"]):
        return Health("torch", f"{place} has torch {rank['torch']}; exa needs {RANKS['torch']}")
    if error := rank["scratch_error"] or rank["run_dir_error"]:
        full = "No space left" in error or "quota" in error.lower()
        return Health("write access", f"{place}: {error}", "disk-full" if full else "launch-failed")
    if rank["scratch_free"] is not None and rank["scratch_free"] < scratch_bytes:
        free, need = rank["scratch_free"] / 1e9, scratch_bytes / 1e9
        return Health("space", f"{place}: {free:.3f} GB free, {need:.3f} GB needed", "disk-full")
    return None
