"""Watch the ranks of one life until the launcher ends, and ask them to stop in time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.files import write_json
from exa_cli.job.notice import Notice

TICK_S = 0.2

EARLY_S = 60.0
"""How long before its time Slurm may send the signal of ``--signal`` (sbatch(1))."""


@dataclass(frozen=True)
class Limits:
    """Seconds since the epoch: when the job is killed, and when ranks are asked to stop."""

    end: float
    stop_at: float


def needed_s(saves_s: Sequence[float], steps_s: Sequence[float]) -> float:
    """Seconds that saving and stopping may take, by what saves and steps have taken. Pure.

    Twice the slowest of the last saves, since a filesystem is slowest when many jobs end, and two
    steps, one to hear of the stop and one that is being computed, as long as 99 of 100 are at most.
    """
    step = sorted(steps_s)[int(0.99 * (len(steps_s) - 1))] if steps_s else 0.0
    return 2 * max(saves_s[-5:], default=0.0) + 2 * step


def stop_reason(limits: Limits, notice: str | None, cancelled: bool, now: float) -> str | None:
    """Why the ranks should save and stop now, or None. Pure.

    A signal near the walltime's end is that end: batch systems send the same one for both. The
    one that exa's own script asks Slurm for comes a little before it is due.
    """
    if notice is None:
        return "walltime" if now >= limits.stop_at else None
    if cancelled:
        return "cancelled"
    early = EARLY_S if notice == "SIGUSR1" else 0.0
    return "walltime" if now >= limits.stop_at - early else notice


class Watch:
    """One life's watch. ``reason`` is why the ranks were asked to stop, if they were; ``hang`` is
    set by who finds that they hang, and ends their launcher."""

    def __init__(self, folder: Path, limits: Limits, notice: Notice, was_cancelled: Any) -> None:
        self.folder = folder
        self.limits = limits
        self.notice = notice
        self.was_cancelled = was_cancelled
        self.reason: str | None = None
        self.hang: str | None = None

    def tick(self) -> None:
        """Pass a notice on to the ranks, once."""
        if self.reason is not None:
            return
        notice = self.notice.signal
        cancelled = notice is not None and self.was_cancelled()
        self.reason = stop_reason(self.limits, notice, cancelled, clock.now())
        if self.reason is not None:
            record = {"reason": self.reason, "deadline": clock.iso(self.limits.end)}
            write_json(self.folder / "stop.json", record)

    def until_end(self, launcher: subprocess.Popen[bytes], each_tick: Any) -> int:
        """Wait for the launcher; its exit status."""
        while (status := launcher.poll()) is None:
            self.tick()
            each_tick()
            if self.hang:
                launcher.kill()
            time.sleep(TICK_S)
        return status
