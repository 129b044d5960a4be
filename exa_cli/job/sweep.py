"""Remove what a dead life left on this node: processes and shared memory, by tag only.

A process belongs to a run if its environment says so; a shared-memory segment, if such a
process was seen to map it. Nothing is ever removed because of its name or its age.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from exa_cli.base import clock, marks, proc
from exa_cli.base.files import read_json, write_json

SHM = "/dev/shm/"


def run_processes(
    run_dir: Path, spare: proc.Process | None = None, tag: str | None = None
) -> list[proc.Process]:
    """Live processes of a run on this node, never the caller's ancestors.

    Args:
        spare: one process that is left out with its ancestors and all its descendants.
        tag: of this attempt only; None = of all attempts.
    """
    spared = spare.pid if spare and proc.alive(spare) else None
    mine = ancestors(os.getpid()) | (ancestors(spared) if spared else set())
    own = str(run_dir)
    found = []
    for pid in proc.pids():
        process = proc.identify(pid) if pid not in mine else None
        env = proc.environment(pid) if process else {}
        ours = env.get(marks.RUN_DIR) == own and tag in (None, env.get(marks.TAG))
        if process and ours and proc.alive(process):
            found.append(process)
    return [process for process in found if spared not in ancestors(process.pid)]


def ancestors(pid: int) -> set[int]:
    """A process and all its parents."""
    line = set()
    while pid > 0 and pid not in line:
        line.add(pid)
        found = proc.stat(pid)
        pid = found.parent if found else 0
    return line


def segments_of(pid: int) -> set[str]:
    """Shared-memory files a process maps, by name."""
    try:
        lines = (proc.PROC / str(pid) / "maps").read_text().splitlines()
    except OSError:
        return set()
    names = (line.split(maxsplit=5)[-1] for line in lines if SHM in line)
    return {name for name in names if name.startswith(SHM) and not name.endswith("(deleted)")}


def note_segments(record: Path, pids: Iterable[int]) -> set[str]:
    """Add the segments these processes map to a record that outlives them."""
    known = recorded(record)
    now = known.union(*(segments_of(pid) for pid in pids))
    if now != known:
        write_json(record, sorted(now))
    return now


def recorded(record: Path) -> set[str]:
    try:
        return {str(name) for name in read_json(record) if str(name).startswith(SHM)}
    except (FileNotFoundError, ValueError):
        return set()


def kill(processes: Iterable[proc.Process]) -> int:
    """SIGKILL these processes; the number that were still there."""
    return sum(proc.send(process, signal.SIGKILL) for process in processes)


def wait_for_end(processes: list[proc.Process], seconds: float = 5.0) -> None:
    """Wait until killed processes are gone: only then are their segments free."""
    give_up = clock.monotonic() + seconds
    while any(proc.alive(process) for process in processes) and clock.monotonic() < give_up:
        time.sleep(0.01)


def remove_segments(names: Iterable[str]) -> list[str]:
    """Unlink segments that no live process maps; the names that went."""
    wanted = {name for name in names if os.path.exists(name)}
    if not wanted:
        return []
    free = wanted.difference(*(segments_of(pid) for pid in proc.pids()))
    for name in free:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    return sorted(free)
