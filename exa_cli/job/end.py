"""Gather what there is to know once the launcher has ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from exa_cli.base import proc
from exa_cli.base.files import read_json
from exa_cli.job.allocation import Allocation
from exa_cli.job.launch import launcher_words, rank_signal
from exa_cli.policy.cause import RankError, Seen
from exa_cli.runs import journal
from exa_cli.runs.journal import Event
from exa_cli.runs.state import place


def was_cancelled(here: Allocation) -> bool:
    """Whether the user cancelled this attempt."""
    events = journal.read(here.run.path)
    return any(e.kind == "cancelled" and e.fields.get("attempt") == here.attempt for e in events)


def memory_kills() -> int:
    """How often the kernel has killed for memory since boot (proc_vmstat, oom_kill)."""
    for line in (proc.PROC / "vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def gather(here: Allocation, status: int, reason: str | None, memory_kill: bool) -> Seen:
    """Everything the classifier looks at."""
    mine = list(_own_events(here))
    kinds = {event.kind for event in mine}
    stopped = reason if "stopped" in kinds else None
    words = launcher_words(here.folder)
    return Seen(
        done="done" in kinds,
        cancelled=reason == "cancelled" or was_cancelled(here),
        rank_errors=tuple(_rank_errors(here.folder)),
        memory_kill=memory_kill and status != 0,
        stopped_for=stopped,
        launcher_exit=status,
        signal=rank_signal(here.folder),
        trained="training" in kinds,
        notes=(words,) if words and "done" not in kinds and not stopped else (),
    )


def _own_events(here: Allocation) -> Iterator[Event]:
    for event in journal.read(here.run.path):
        if place(event) == (here.attempt, here.life):
            yield event


def _rank_errors(folder: Path) -> Iterator[RankError]:
    for path in sorted((folder / "ranks").glob("*.error.json")):
        try:
            raw = read_json(path)
            rank = int(path.name.split(".")[0])
            echo = raw.get("echo", False)
            yield RankError(rank, raw["cause"], raw["what"], raw.get("step"), echo)
        except (OSError, ValueError, KeyError) as error:
            yield RankError(-1, "rank-failure", f"{path.name} cannot be read: {error}")


def keep_logs(here: Allocation, seen: Seen) -> None:
    """Copy rank 0's log and the failed ranks' logs; all of them when nobody said why."""
    failed = {error.rank for error in seen.rank_errors}
    clean = seen.done or seen.stopped_for or failed
    for rank in here.ranks:
        if rank["rank"] == 0 or rank["rank"] in failed or not clean:
            source = Path(rank["log"])
            if source.exists():
                shutil.copyfile(source, here.folder / "ranks" / source.name)
