"""What this process asked of batch systems, and answers shared by all exa processes of a user.

Batch systems suffer from clients that ask often. So every command is counted, and within the
time that a profile sets (``scheduler.poll_s``) no question about a job is asked twice by any exa
on this host: the earlier answer is given, with its age. Losing the file loses nothing.

What decides about a submission is never taken from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from exa_cli.base import cache, clock, files, proc
from exa_cli.base.proc import Finished
from exa_cli.schedulers.types import JobState

_KEEP_S = 3600.0
_seconds: dict[str, list[float]] = {}

Ask = Callable[[Sequence[str]], dict[str, JobState]]


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str = "",
) -> Finished:
    """`proc.run`, counted whatever becomes of it."""
    begin = clock.monotonic()
    try:
        return proc.run(argv, timeout=timeout, cwd=cwd, env=env, stdin=stdin)
    finally:
        _seconds.setdefault(argv[0], []).append(clock.monotonic() - begin)


@dataclass(frozen=True)
class Spent:
    """Commands of a batch system that this process ran, and how long they took."""

    commands: dict[str, int]
    seconds: float

    @property
    def words(self) -> str:
        """``3 scheduler commands in 0.05 s: squeue 1, sacct 2``."""
        total = sum(self.commands.values())
        each = ", ".join(f"{name} {count}" for name, count in self.commands.items())
        plural = "" if total == 1 else "s"
        return f"{total} scheduler command{plural} in {self.seconds:.2f} s" + (each and f": {each}")


def spent() -> Spent:
    """What was spent so far."""
    counts = {name: len(each) for name, each in _seconds.items()}
    return Spent(counts, round(sum(map(sum, _seconds.values())), 3))


@dataclass(frozen=True)
class Shared:
    """The answers of one batch system, for the processes of one user on one host."""

    path: Path

    def query(self, jobs: Sequence[str], floor: float, ask: Ask) -> dict[str, JobState]:
        """The state of each job, asked for unless all answers are younger than ``floor`` seconds.

        Raises what ``ask`` raises.
        """
        now = clock.now()
        kept = self._read()
        young = {job: _aged(*kept[job], now) for job in jobs if job in kept}
        if len(young) == len(set(jobs)) and all(0 <= s.age_s < floor for s in young.values()):
            return young
        given = ask(jobs)
        self._write({**kept, **{job: (now, s) for job, s in given.items()}}, now)
        return given

    def _read(self) -> dict[str, tuple[float, JobState]]:
        """What is kept. A file that cannot be read is as good as none."""
        try:
            jobs = files.read_json(self.path)["jobs"]
            return {j: (float(raw["at"]), JobState(**raw["state"])) for j, raw in jobs.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _write(self, kept: dict[str, tuple[float, JobState]], now: float) -> None:
        """Keep answers. A cache that cannot be written is slower, not wrong."""
        jobs = {
            job: {"at": at, "state": asdict(state)}
            for job, (at, state) in kept.items()
            if 0 <= now - at < _KEEP_S and state.answer != "not-answered"
        }
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_private(self.path, files.to_json({"schema": 1, "jobs": jobs}, indent=None))


def _aged(at: float, state: JobState, now: float) -> JobState:
    """With its true age; below zero when the clock was set back."""
    return replace(state, age_s=state.age_s + now - at)


def shared(kind: str, name: str, env: Mapping[str, str]) -> Shared:
    """The shared answers of a batch system: under ``$EXA_CACHE``, by host, kind and ``name``."""
    which = hashlib.sha256(f"{os.uname().nodename}\0{name}".encode()).hexdigest()[:16]
    return Shared(cache.root(env) / "asked" / f"{kind}-{which}.json")
