"""Run exa, killed at its N-th effect; one process for a whole sweep.

    python sweeper.py KIND HOME VICTIM POINT...
    python sweeper.py KIND HOME VICTIM FIRST:STEP

Each effect on the world that a command has (opening for writing, mkdir, rename, link, unlink,
fsync, write, starting a process) is a place to be killed at, given as a list or as every STEP-th
from FIRST on. The victim is forked, killed there by SIGKILL, and exa resume is run to its end. A
line of JSON tells each outcome. Forking saves the start of an interpreter each time.

The scheduler is what is on the PATH: the fake in HOME/cluster, or the real one. Jobs must wait.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fake_cluster import FakeCluster
from fake_pbs import FakePbs
from fake_slurm import FakeSlurm

from exa_cli import main
from exa_cli.base import proc
from exa_cli.login import draft, resume, submit  # noqa: F401  (before the fork)
from exa_cli.runs.rundir import new_id
from exa_cli.schedulers.registry import make
from exa_cli.schedulers.types import Scheduler, Settings

MARK = "EXA_TEST_SWEEP"
FAKES: dict[str, type[FakeCluster]] = {"slurm": FakeSlurm, "pbs": FakePbs}
_EVENTS = (
    "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.utime",
    "os.fork", "os.posix_spawn", "subprocess.Popen",
)  # fmt: skip


_WRITING = os.O_RDWR | os.O_WRONLY


def kill_at(number: int) -> None:
    """Kill this process just before its ``number``-th effect."""
    left = number

    def effect() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(event: str, args: tuple[Any, ...]) -> None:
        writes = (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_RDWR | os.O_WRONLY)
        )
        if writes or event in _EVENTS:
            effect()

    for name in ("fsync", "write"):
        setattr(os, name, _counted(getattr(os, name), effect))
    sys.addaudithook(audited)


def _counted(call: Callable[..., Any], effect: Callable[[], None]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        effect()
        return call(*args)

    return counted


def exa(log: Path, *args: str, killed_at: int = 0) -> int:
    """Run the command in a child; its exit code, -9 when it was killed."""
    pid = os.fork()
    if pid == 0:
        _redirect(log)
        if killed_at:
            kill_at(killed_at)
        code = main.run([*args], True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _wait_for_the_left_behind()
    return code


def _wait_for_the_left_behind() -> None:
    """A submitting command whose exa was killed goes on; what it makes counts too."""
    while left := proc.marked(lambda env: env.get(MARK) == os.environ[MARK]):
        for process in left:
            try:
                fd = os.pidfd_open(process.pid)
            except ProcessLookupError:
                continue
            select.select([fd], [], [])
            os.close(fd)


def jobs_of(batch: Scheduler, name: str, *, end: bool) -> list[str]:
    """Jobs of a run's first attempts."""
    run_id = new_id(name, unique=True)
    jobs = [job for n in ("001", "002") for job in batch.find(f"exa-{run_id}-{n}")]
    for found in jobs if end else ():
        batch.cancel(found)
    return jobs


def sweep(kind: str, home: Path, victim: str, points: Iterable[int]) -> None:
    fake = FAKES[kind](home / "cluster")
    batch = make(kind, Settings({}, dict(os.environ)))
    for number in points:
        # No other sweep's: real Slurm remembers ended jobs by their names.
        name = f"{victim}{number}-{os.getpid()}"
        log = home / f"{victim}{number}.log"
        words = ["submit", str(home / "run.toml"), "--name", name, "--site", str(home / "lab.toml")]
        if victim == "resume":
            # Of a submit that was killed, with its job made or not.
            _cut_off(log, fake, words, made=number % 2 == 0)
            killed = exa(log, "resume", name, killed_at=number)
        else:
            killed = exa(log, *words, killed_at=number)
        there = list((home / "runs").glob(f"{name}-????"))
        again = exa(log, "resume", name) if there else exa(log, *words)
        jobs = len(jobs_of(batch, name, end=not fake.folder.exists()))
        record = {"at": number, "killed": killed, "run": bool(there), "again": again, "jobs": jobs}
        print(json.dumps(record), flush=True)
        if killed != -signal.SIGKILL:
            return


def _cut_off(log: Path, fake: FakeCluster, words: list[str], *, made: bool) -> None:
    """Run a submit until its submitting command hangs, and kill both."""
    submitting = fake.commands[0]
    fake.fault(submitting, "hang+job" if made else "hang")
    calls, jobs = fake.count(submitting), len(fake.all())
    pid = os.fork()
    if pid == 0:
        _redirect(log)
        os._exit(main.run(words, True))
    while fake.count(submitting) == calls or (made and len(fake.all()) == jobs):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for process in proc.marked(lambda env: env.get(MARK) == os.environ[MARK]):
        proc.send(process, signal.SIGKILL)
    _wait_for_the_left_behind()
    fake.fault(submitting, "none")


def _redirect(log: Path) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, 1)
    os.dup2(fd, 2)


def read_points(words: list[str]) -> Iterable[int]:
    first, colon, step = words[0].partition(":")
    return itertools.count(int(first), int(step)) if colon else map(int, words)


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    sweep(sys.argv[1], Path(sys.argv[2]), sys.argv[3], read_points(sys.argv[4:]))
