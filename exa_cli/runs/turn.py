"""Turns: one login-node command at a time may submit for a run. No flock, no clock.

Turns are numbered files made by exclusive creation; the highest is the current one. It is over
when its holder has said so or is dead, and then exactly one successor gets the next number.
A turn taken on another machine cannot be seen to be dead, so it is not taken over unasked.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exa_cli.base import proc
from exa_cli.base.errors import Unreachable
from exa_cli.base.files import create_exclusive, read_json, to_json
from exa_cli.runs.rundir import RunDir


def _folder(run: RunDir) -> Path:
    return run.path / "turns"


def _numbers(folder: Path) -> list[int]:
    return sorted(int(p.stem) for p in folder.glob("*.json") if p.stem.isdigit())


def _record() -> dict[str, Any]:
    return {"schema": 1, "host": platform.node(), "process": proc.myself().to_dict()}


def _is_over(folder: Path, number: int, force: bool) -> bool:
    if (folder / f"{number:06d}.over").exists():
        return True
    try:
        holder = read_json(folder / f"{number:06d}.json")
        process = proc.Process.from_dict(holder["process"])
        here = holder["host"] == platform.node()
    except (OSError, ValueError, KeyError, TypeError):
        return force
    if here:
        return not proc.alive(process)
    return force


@contextlib.contextmanager
def turn(run: RunDir, *, force: bool = False) -> Iterator[None]:
    """Hold the run's turn. Raises Unreachable when somebody else does.

    ``force`` takes it over from a holder on another machine, whose death cannot be seen.
    """
    folder = _folder(run)
    folder.mkdir(exist_ok=True)
    number = _take(run, folder, force)
    try:
        yield
    finally:
        (folder / f"{number:06d}.over").touch()


def _take(run: RunDir, folder: Path, force: bool) -> int:
    newest = max(_numbers(folder), default=0)
    if newest and not _is_over(folder, newest, force):
        raise _held(run, folder / f"{newest:06d}.json")
    taken = create_exclusive(folder / f"{newest + 1:06d}.json", to_json(_record()).encode())
    if not taken:
        raise _held(run, folder / f"{newest + 1:06d}.json")
    for old in _numbers(folder):
        if old < newest:
            for suffix in (".json", ".over"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(folder / f"{old:06d}{suffix}")
    return newest + 1


def _held(run: RunDir, record: Path) -> Unreachable:
    try:
        holder = read_json(record)
        who = f"process {holder['process']['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return Unreachable(
        f"{who} is submitting for {run.run_id} right now",
        where=str(record),
        hint="wait for it; if that machine is gone, exa resume --force takes over",
    )
