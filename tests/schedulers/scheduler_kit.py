"""What tests of batch systems share: jobs on the local one, and fakes with little patience."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from fake_pbs import FakePbs
from fake_slurm import FakeSlurm

from exa_cli.base import proc
from exa_cli.base.errors import ExaError
from exa_cli.schedulers.local.backend import Local
from exa_cli.schedulers.local.spool import Entry, Spool
from exa_cli.schedulers.pbs.backend import Pbs
from exa_cli.schedulers.slurm.backend import Slurm
from exa_cli.schedulers.types import JobState, Request, Settings

WAIT_SECONDS = 60


class Jobs:
    """A local batch system and what tests do with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.env = {**os.environ, "EXA_LOCAL_SPOOL": str(folder / "spool")}
        self.local = Local(Settings(env=self.env))
        self.spool = Spool(folder / "spool")
        self.tag = f"exa-{folder.name}-001"

    def script(self, body: str, name: str | None = None, **directives: str) -> str:
        name = name or self.tag
        lines = [f"#EXA {key}={value}" for key, value in directives.items()]
        head = ["#!/bin/bash", f"#EXA name={name}", *lines, f"export EXA_TAG={name}"]
        return "\n".join([*head, body]) + "\n"

    def request(self, body: str, name: str | None = None, **directives: str) -> Request:
        text = self.script(body, name, **directives)
        return Request(name=name or self.tag, script=text, workdir=self.work)

    def submit(self, body: str, name: str | None = None, **directives: str) -> str:
        answer = self.local.submit(self.request(body, name, **directives))
        assert answer.message == ""
        return answer.job_id

    def entry(self, job_id: str) -> Entry:
        return self.spool.entry(job_id)

    def state(self, job_id: str) -> JobState:
        return self.local.query([job_id])[job_id]

    def runner(self, job_id: str) -> int:
        claim = self.entry(job_id).claim()
        assert claim is not None
        assert claim.runner is not None
        return claim.runner.pid

    def pipe(self, name: str) -> Path:
        """A named pipe: a script that writes into it meets the test that reads it."""
        path = self.work / name
        os.mkfifo(path)
        return path

    def ended(self, job_id: str) -> JobState:
        """Wait for the end of the job's runner, and give the state then."""
        claim = self.entry(job_id).claim()
        if claim and claim.runner and proc.alive(claim.runner):
            wait_end(claim.runner.pid)
        return self.state(job_id)

    def end_all(self) -> None:
        names = os.listdir(self.spool.jobs) if self.spool.jobs.is_dir() else []
        for job_id in names:
            # A test may have damaged it on purpose, or given it to another machine.
            with contextlib.suppress(ExaError):
                self.local.cancel(job_id)
                self.ended(job_id)


def wait_end(pid: int) -> None:
    """Wait for the end of a process that need not be our child. A zombie has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], WAIT_SECONDS)[0], f"process {pid} did not end"
    os.close(fd)


def wait_for(path: Path) -> None:
    """Wait for a file of the runner's."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.002)


def slurm_on(fake: FakeSlurm, retry_s: float = 0.0, timeout_s: float = 20.0) -> Slurm:
    options = {"timeout_s": timeout_s, "retry_s": retry_s}
    return Slurm(Settings(options, fake.env))


def pbs_on(fake: FakePbs, retry_s: float = 0.0, timeout_s: float = 20.0) -> Pbs:
    return Pbs(Settings({"timeout_s": timeout_s, "retry_s": retry_s}, fake.env))
