"""A job's name is its run's and attempt's: what is there under it decides what is submitted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from run_maker import RunMaker

from exa_cli.base.errors import Invalid, Unreachable
from exa_cli.base.files import write_json
from exa_cli.login import submit
from exa_cli.runs import journal
from exa_cli.runs.journal import Journal
from exa_cli.runs.rundir import RunDir


@pytest.fixture
def run(fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run whose first attempt is laid down and was never submitted; jobs wait."""
    monkeypatch.setenv("PATH", fake.env["PATH"])
    fake.hold()
    made = RunMaker(tmp_path / "runs").run("demo", "0", done=False)
    for path in (made.path / "journal").iterdir():
        path.unlink()
    tag = made.tag("001")
    script = f"#!/bin/bash\n#SBATCH --job-name={tag}\ntrue\n"
    (made.attempt("001") / "script.sh").write_text(script)
    request = {
        "attempt": "001", "tag": tag, "nodes": 1, "scheduler": "slurm", "walltime_s": 60,
    }  # fmt: skip
    write_json(made.attempt("001") / "request.json", request)
    return made


def intend(run: RunDir) -> None:
    """What a submit leaves that is killed after it has recorded its intent."""
    with Journal(run.path, "login-00000000") as log:
        log.append("intent", attempt="001", tag=run.tag("001"), nodes=1)


def kinds(run: RunDir) -> list[str]:
    return [event.kind for event in journal.read(run.path)]


def test_a_first_submit_is_one_look_and_one_sbatch(fake: FakeSlurm, run: RunDir) -> None:
    done = submit.hand_in(run, "001")
    assert [argv[0] for argv in fake.calls()] == ["squeue", "sbatch"]
    assert [job["id"] for job in fake.all()] == [done.job_id]
    assert kinds(run) == ["intent", "accepted"]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING"])
def test_beside_a_live_job_of_a_removed_run_nothing_is_submitted(
    fake: FakeSlurm, run: RunDir, state: str
) -> None:
    job = fake.plant(state, run.tag("001"), submit=time.time() - 86400)
    with pytest.raises(Invalid, match=f"job {job} of an earlier run named demo has not ended"):
        submit.hand_in(run, "001")
    assert (fake.count("sbatch"), kinds(run)) == (0, [])


def test_an_ended_job_of_a_removed_run_is_not_taken_for_this_ones(
    fake: FakeSlurm, run: RunDir
) -> None:
    old = [fake.plant(s, run.tag("001")) for s in ("CANCELLED", "COMPLETED")]
    assert submit.hand_in(run, "001").job_id not in old
    assert fake.count("sbatch") == 1


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETED"])
def test_the_job_of_a_cut_off_submit_is_taken(fake: FakeSlurm, run: RunDir, state: str) -> None:
    intend(run)
    job = fake.plant(state, run.tag("001"))
    assert submit.hand_in(run, "001").job_id == job
    assert fake.count("sbatch") == 0
    assert kinds(run) == ["intent", "intent", "accepted"]


def test_of_several_the_newest_is_taken(fake: FakeSlurm, run: RunDir) -> None:
    """One of a removed run of this name may have ended a moment before."""
    intend(run)
    jobs = [fake.plant(state, run.tag("001")) for state in ("CANCELLED", "PENDING")]
    assert submit.hand_in(run, "001").job_id == jobs[-1]


def test_a_cut_off_submit_without_a_job_is_finished(fake: FakeSlurm, run: RunDir) -> None:
    intend(run)
    old = fake.plant("COMPLETED", run.tag("001"), submit=time.time() - 86400)
    assert submit.hand_in(run, "001").job_id != old
    assert fake.count("sbatch") == 1


def test_while_nobody_can_tell_nothing_is_submitted(fake: FakeSlurm, run: RunDir) -> None:
    intend(run)
    fake.fault("squeue", "down")
    with pytest.raises(Unreachable):
        submit.hand_in(run, "001")
    assert (fake.count("sbatch"), kinds(run)) == (0, ["intent", "intent"])
