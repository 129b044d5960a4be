"""What every batch system promises (`Scheduler`), on each there is: the same tests for all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from scheduler_kit import Jobs

from exa_cli.base.errors import NotFound, Refused
from exa_cli.schedulers.local import spool
from exa_cli.schedulers.registry import make
from exa_cli.schedulers.types import JobState, Request, Scheduler, Settings

WAIT_SECONDS = 90


class Site:
    """A batch system, how a script names its job there, and an id that it has never given."""

    def __init__(self, batch: Scheduler, work: Path, directive: str, unknown: str) -> None:
        self.batch = batch
        self.work = work
        self.directive = directive
        self.unknown = unknown
        self.name = f"exa-{work.parent.name}-{time.time_ns()}-001"
        self.submitted: list[str] = []
        self.prelude = ""

    def request(self, body: str, name: str | None = None) -> Request:
        name = name or self.name
        script = f"#!/bin/bash\n{self.directive}{name}\n{self.prelude}{body}\n"
        return Request(name=name, script=script, workdir=self.work, environment=(("ASKED", "a b"),))

    def submit(self, body: str, name: str | None = None) -> str:
        job = self.batch.submit(self.request(body, name)).job_id
        self.submitted.append(job)
        return job

    def state(self, job: str) -> JobState:
        return self.batch.query([job])[job]

    def wait(self, job: str, wanted: str = "ended") -> JobState:
        """Ask until a job is in a state; batch systems have nothing that could be awaited."""
        give_up = time.monotonic() + WAIT_SECONDS
        while (state := self.state(job)).state != wanted:
            assert state.state != "ended", state
            assert time.monotonic() < give_up, state
            time.sleep(0.05)
        return state

    def pipe(self, name: str) -> Path:
        path = self.work / name
        os.mkfifo(path)
        return path


@pytest.fixture(params=["local", "fake-slurm", "slurm", "fake-pbs"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    work = tmp_path / "work"
    made = None
    if request.param == "local":
        jobs: Jobs = request.getfixturevalue("jobs")
        yield Site(jobs.local, work, "#EXA name=", f"999.{spool.host()}")
        return
    work.mkdir()
    if request.param == "fake-pbs":
        pbs = request.getfixturevalue("fake_pbs")
        made = Site(make("pbs", Settings({"retry_s": 0.0}, pbs.env)), work, "#PBS -N ", "9999999")
        # PBS starts a job in the home directory, and tells where it was submitted.
        made.prelude = 'cd "$PBS_O_WORKDIR" || exit\n'
        yield made
        for job in made.submitted:
            made.batch.cancel(job)
        return
    if request.param == "fake-slurm":
        fake: FakeSlurm = request.getfixturevalue("fake")
        settings = Settings({"retry_s": 0.0}, fake.env)
    else:
        cluster = request.getfixturevalue("_slurm")
        cluster.calm()
        settings = Settings({}, {**os.environ, **cluster.env})
    made = Site(make("slurm", settings), work, "#SBATCH --output=out --job-name=", "9999999")
    yield made
    for job in made.submitted:
        made.batch.cancel(job)


def test_it_can_be_used_here(site: Site) -> None:
    assert site.batch.usable() is None


def test_a_job_is_found_by_its_name_and_no_other(site: Site) -> None:
    assert site.batch.find(site.name) == []
    job, other = site.submit("true"), site.submit("true", site.name + "0")
    assert site.batch.find(site.name) == [job]
    site.wait(job)
    assert site.batch.find(site.name, time.time() - 60) == [job]
    assert site.batch.find(site.name + "0") == [other]


def test_an_ended_job_from_before_the_name_was_in_use_is_not_found(site: Site) -> None:
    """A run may be removed, and another made of the same name."""
    old, live = site.submit("true"), site.submit("exec sleep 300")
    site.wait(old)
    site.wait(live, "running")
    assert site.batch.find(site.name, time.time() + 3600) == [live]


def test_two_jobs_of_one_name_are_both_found(site: Site) -> None:
    jobs = [site.submit("true"), site.submit("true")]
    assert sorted(site.batch.find(site.name)) == sorted(jobs)


def test_a_script_runs_where_it_should_with_what_was_asked(site: Site) -> None:
    job = site.submit('pwd > where; echo "$ASKED" > asked')
    assert site.wait(job).exit_code == 0
    assert (site.work / "where").read_text() == f"{site.work}\n"
    assert (site.work / "asked").read_text() == "a b\n"


def test_a_job_that_runs_is_running(site: Site) -> None:
    go, before = site.pipe("go"), time.time()
    job = site.submit(f"read -r _ < {go}")
    state = site.wait(job, "running")
    assert (state.answer, state.reason, state.exit_code, state.ended) == ("known",) + (None,) * 3
    assert state.started is not None
    assert before - 2 < state.started < time.time() + 2
    go.write_text("on\n")
    assert site.wait(job).reason == "exited"


@pytest.mark.parametrize("status", [0, 3, 79, 137])
def test_an_exit_status_is_kept(site: Site, status: int) -> None:
    state = site.wait(site.submit(f"exit {status}"))
    assert (state.reason, state.exit_code, state.signal) == ("exited", status, None)
    assert state.ended is not None


def test_a_signal_that_ended_a_script_is_kept(site: Site) -> None:
    state = site.wait(site.submit("kill -9 $$"))
    # PBS keeps what the login shell above the script made of it.
    kept = (137, None) if site.batch.kind == "pbs" else (None, signal.SIGKILL)
    assert (state.reason, state.exit_code, state.signal) == ("exited", *kept)


def test_a_cancelled_job_is_cancelled(site: Site) -> None:
    job = site.submit("exec sleep 300")
    site.wait(job, "running")
    site.batch.cancel(job)
    assert site.wait(job).reason == "cancelled"
    site.batch.cancel(job)
    assert site.state(job).reason == "cancelled"


def test_a_job_nobody_knows_cannot_be_cancelled(site: Site) -> None:
    for job in (site.unknown, "nonsense"):
        with pytest.raises(NotFound):
            site.batch.cancel(job)


def test_a_job_nobody_knows_is_unknown_and_not_ended(site: Site) -> None:
    known = site.submit("true")
    states = site.batch.query([site.unknown, known, "nonsense"])
    for job in (site.unknown, "nonsense"):
        assert (states[job].state, states[job].answer) == ("unknown", "not-found")
        assert states[job].reason is None
    assert states[known].answer == "known"
    assert site.batch.query([]) == {}


def test_a_signal_reaches_the_script(site: Site) -> None:
    if site.batch.kind == "pbs":
        with pytest.raises(Refused, match="not reach its script"):
            site.batch.signal(site.unknown, signal.SIGUSR1)
        return
    ready = site.pipe("ready")
    job = site.submit(f"trap 'exit 7' USR1; echo > {ready}; while :; do sleep 0.1; done")
    ready.read_text()
    site.wait(job, "running")
    site.batch.signal(job, signal.SIGUSR1)
    assert site.wait(job).exit_code == 7


def test_what_does_not_run_cannot_be_signalled(site: Site) -> None:
    job = site.submit("true")
    site.wait(job)
    with pytest.raises(Refused):
        site.batch.signal(job, signal.SIGUSR1)


def test_a_refused_script_leaves_nothing(site: Site) -> None:
    for text in ("#!/bin/bash\ntrue\n", f"#!/bin/bash\n{site.directive}exa-other-001\n"):
        with pytest.raises(Refused):
            site.batch.submit(Request(name=site.name, script=text, workdir=site.work))
    assert site.batch.find(site.name) == []


def test_recovering_a_healthy_job_changes_nothing(site: Site) -> None:
    job = site.submit("exit 4")
    site.batch.recover(job)
    site.wait(job)
    site.batch.recover(job)
    assert site.state(job).exit_code == 4
    assert site.batch.find(site.name) == [job]
