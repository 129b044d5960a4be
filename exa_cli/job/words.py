"""What a launcher's output tells of an end: MPICH's and Open MPI's mpiexec, and srun. Pure."""

from __future__ import annotations

import re
import signal
from pathlib import Path

_BY_WORDS = {signal.strsignal(number): int(number) for number in signal.Signals}
"""strsignal(3), which srun prints (recordings: slurm/11-srun)."""

_MPIEXEC = re.compile(r"\(signal (\d+)\)|exited on signal (\d+)")
_SRUN = re.compile(
    r"^srun: error: \S+: tasks? (?P<task>\d+)[\d,\-]*: (?P<how>.+?)(?: \(core dumped\))?$",
    re.MULTILINE,
)

_TELLING = ("EXIT STRING", "EXIT CODE", "signal", "exa:", "error", "Error", "not found")


def read(path: Path) -> str:
    """A log's text; empty when there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def launcher_words(text: str) -> str:
    """The telling lines of what the launcher printed: how it says a rank ended."""
    telling = [line.strip(" =") for line in text.splitlines() if _tells(line)]
    return "; ".join(dict.fromkeys(line for line in telling if line))[:400]


def _tells(line: str) -> bool:
    return any(word in line for word in _TELLING) and "IGNORE" not in line


def rank_signal(text: str) -> int | None:
    """The signal that ended a rank, None if none did.

    srun names every task's end: only the first counts, what follows it ended of its own
    --kill-on-bad-exit.
    """
    if found := _MPIEXEC.search(text):
        return int(found[1] or found[2])
    first = _SRUN.search(text)
    return _BY_WORDS.get(first["how"]) if first else None


def failed_task(text: str) -> int | None:
    """The rank that srun saw end badly first; None where the launcher does not tell ranks."""
    first = _SRUN.search(text)
    return int(first["task"]) if first else None


def killed_for_memory(text: str) -> bool:
    """Whether Slurm says that a task went over its memory (cgroup)."""
    return any(found["how"] == "Out Of Memory" for found in _SRUN.finditer(text))
