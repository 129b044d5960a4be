"""What a launcher's output tells of an end: MPICH's and Open MPI's mpiexec, and srun. Pure."""

from __future__ import annotations

import re
import signal
from pathlib import Path

_BY_WORDS = {signal.strsignal(number): int(number) for number in signal.Signals}
"""strsignal(3), which srun prints (recordings: slurm/11-srun)."""

_MPICH = re.compile(r"\(signal (\d+)\)")
# Open MPI 5 breaks its sentences into lines, 4 does not (tests/job/test_launcher_words.py).
_NOTICED = re.compile(
    r"process rank (?P<task>\d+) with PID \d+ on node \S+\s+"
    r"exited\s+on\s+signal\s+(?P<signal>\d+)"
)
_DETECTED = re.compile(r"Process name: \[\S+,(?P<task>\d+)\]\s+Exit code: +\d+")
_SRUN = re.compile(
    r"^srun: error: \S+: tasks? (?P<task>\d+)[\d,\-]*: (?P<how>.+?)(?: \(core dumped\))?$",
    re.MULTILINE,
)

_TELLING = (
    "EXIT STRING",
    "EXIT CODE",
    "Exit code",
    "signal",
    "exa:",
    "error",
    "Error",
    "not found",
)


def read(path: Path) -> str:
    """A log's text; empty when there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def launcher_words(text: str) -> str:
    """The telling lines of what the launcher printed: how it says a rank ended."""
    text = _DETECTED.sub(_on_one_line, _NOTICED.sub(_on_one_line, text))
    telling = [line.strip(" =") for line in text.splitlines() if _tells(line)]
    return "; ".join(dict.fromkeys(line for line in telling if line))[:400]


def _on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split())


def _tells(line: str) -> bool:
    return any(word in line for word in _TELLING) and "IGNORE" not in line


def rank_signal(text: str) -> int | None:
    """The signal that ended a rank, None if none did.

    srun names every task's end: only the first counts, what follows it ended of its own
    --kill-on-bad-exit.
    """
    if noticed := _NOTICED.search(text):
        return int(noticed["signal"])
    if found := _MPICH.search(text):
        return int(found[1])
    first = _SRUN.search(text)
    return _BY_WORDS.get(first["how"]) if first else None


def failed_task(text: str) -> int | None:
    """The rank that srun or Open MPI saw end badly first; None where the launcher tells none."""
    first = _SRUN.search(text) or _NOTICED.search(text) or _DETECTED.search(text)
    return int(first["task"]) if first else None


def killed_for_memory(text: str) -> bool:
    """Whether Slurm says that a task went over its memory (cgroup)."""
    return any(found["how"] == "Out Of Memory" for found in _SRUN.finditer(text))
