"""Read what rank 0 measured: metrics.jsonl, the last record of each step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_TAIL = 16 << 10


def _records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a line torn by a kill: its step is recorded again by the next life
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            yield record


def read(path: Path) -> list[dict[str, Any]]:
    """All records, ordered by step; of a step that was repeated, the last life's. [] if none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    steps: dict[int, dict[str, Any]] = {}
    for record in _records(lines):
        steps[record["step"]] = {**steps.get(record["step"], {}), **record}
    return [steps[step] for step in sorted(steps)]


def last(path: Path) -> dict[str, Any] | None:
    """The newest record of a step, read from the end of the file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return None
    return next(_records(reversed(lines)), None)
