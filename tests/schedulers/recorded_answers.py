"""Extracts of recordings of Slurm 22.05.8 and OpenPBS 23.06: what commands print, and their
exit statuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Recorded:
    """One command that was run. ``name`` begins with the number of its recording."""

    name: str
    argv: list[str]
    rc: int
    stdout: str
    stderr: str


def recorded(file: str, system: str = "slurm") -> dict[str, Recorded]:
    lines = (FOLDER / system / file).read_text().splitlines()
    entries = [Recorded(**json.loads(line)) for line in lines]
    return {entry.name: entry for entry in entries}


def states(system: str = "slurm") -> dict[str, dict[str, Any]]:
    """Slurm: state → the same job as squeue, sacct and scontrol show it. PBS: job → attributes."""
    text = (FOLDER / system / "states.json").read_text()
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found
