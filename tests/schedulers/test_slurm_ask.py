"""Asking Slurm about jobs: silence, absence and an end are three things."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from scheduler_kit import slurm_on

from exa_cli.base.errors import NotFound, Refused, Unreachable
from exa_cli.schedulers.slurm.backend import Slurm
from exa_cli.schedulers.types import JobState, Request, Settings

NAME = "exa-planted-001"


def one(slurm: Slurm, job: str) -> JobState:
    return slurm.query([job])[job]


def test_a_thousand_jobs_are_one_squeue(fake: FakeSlurm, slurm: Slurm) -> None:
    jobs = [fake.plant("RUNNING") for _ in range(20)]
    wanted = jobs * 50
    assert {state.state for state in slurm.query(wanted).values()} == {"running"}
    assert [argv[0] for argv in fake.calls()] == ["squeue"]


def test_what_squeue_does_not_tell_is_one_sacct_more(fake: FakeSlurm, slurm: Slurm) -> None:
    jobs = [fake.plant("COMPLETED", known=False) for _ in range(20)]
    assert {s.reason for s in slurm.query([*jobs, fake.plant("PENDING")]).values()} == {
        "exited", None,
    }  # fmt: skip
    assert [argv[0] for argv in fake.calls()] == ["squeue", "sacct"]


def test_very_many_ids_fit_on_the_command_line(fake: FakeSlurm, slurm: Slurm) -> None:
    gone = [str(n) for n in range(10_000_000, 10_002_500)]
    states = slurm.query(gone)
    assert {s.answer for s in states.values()} == {"not-found"}
    assert [fake.count(c) for c in ("squeue", "sacct", "scontrol")] == [1, 3, 1]


def test_no_ids_are_no_question(fake: FakeSlurm, slurm: Slurm) -> None:
    assert slurm.query([]) == {}
    assert slurm.query(["abc", "1 -u root"])["abc"].answer == "not-found"
    assert fake.calls() == []


def test_the_exact_exit_status_is_taken_while_it_can_be_had(fake: FakeSlurm, slurm: Slurm) -> None:
    known, forgotten = (fake.plant("FAILED", code=[137, 0], known=k) for k in (True, False))
    states = slurm.query([known, forgotten])
    assert (states[known].exit_code, states[known].source) == (137, "scontrol")
    assert (states[forgotten].exit_code, states[forgotten].source) == (9, "sacct")
    assert "exit 9, or 137" in str(states[forgotten].words)


@pytest.mark.parametrize("fault", ["down", "mute", "nouser", "hang"])
@pytest.mark.parametrize("accounting", ["none", "down", "disabled"])
def test_a_controller_that_says_nothing_leaves_a_running_job_unknown(
    fake: FakeSlurm, fault: str, accounting: str
) -> None:
    job = fake.plant("RUNNING")
    fake.fault("squeue", fault)
    fake.fault("sacct", accounting)
    with pytest.raises(Unreachable):
        slurm_on(fake, timeout_s=1).query([job])


def test_without_the_controller_accounting_proves_an_end(fake: FakeSlurm, slurm: Slurm) -> None:
    fake.fault("squeue", "down")
    done, lost, live = (fake.plant(s) for s in ("COMPLETED", "NODE_FAIL", "RUNNING"))
    states = slurm.query([done, lost, live])
    assert (states[done].state, states[done].source) == ("ended", "sacct")
    for job in (lost, live):
        assert (states[job].state, states[job].answer) == ("unknown", "not-answered")
    assert "last said NODE_FAIL" in str(states[lost].words)


def test_a_node_failure_followed_by_a_requeue_is_no_end(fake: FakeSlurm, slurm: Slurm) -> None:
    job = fake.plant("PENDING", kept="NODE_FAIL", reason="BeginTime")
    assert one(slurm, job).state == "queued"
    fake.change(job, state="RUNNING")
    assert one(slurm, job).state == "running"
    fake.change(job, state="NODE_FAIL")
    assert (one(slurm, job).state, one(slurm, job).reason) == ("ended", "node-failure")


def test_a_complaint_about_the_clients_configuration_spoils_no_answer(
    fake: FakeSlurm, slurm: Slurm
) -> None:
    job = fake.plant("RUNNING")
    program = fake.bin / "squeue"
    grumble = "echo 'squeue: error: Parsing error at unrecognized key: X' >&2\n"
    program.write_text(program.read_text().replace("exec", grumble + "exec", 1))
    assert one(slurm, job).state == "running"
    assert slurm.find("exa-none-001", time.time()) == []


@pytest.mark.parametrize("accounting", ["disabled", "down"])
def test_a_forgotten_job_is_never_taken_for_ended(
    fake: FakeSlurm, slurm: Slurm, accounting: str
) -> None:
    fake.fault("sacct", accounting)
    job, other = fake.plant("COMPLETED", known=False), fake.plant("RUNNING")
    states = slurm.query([job, other])
    assert states[other].state == "running"
    expected = {"disabled": "not-found", "down": "not-answered"}[accounting]
    assert (states[job].state, states[job].answer) == ("unknown", expected)


def test_without_accounting_a_known_end_is_an_end_with_its_status(
    fake: FakeSlurm, slurm: Slurm
) -> None:
    fake.fault("sacct", "disabled")
    job = fake.plant("FAILED", code=[3, 0])
    state = one(slurm, job)
    assert (state.reason, state.exit_code, state.source) == ("exited", 3, "scontrol")


def test_a_machine_without_sacct_has_no_accounting(fake: FakeSlurm) -> None:
    (fake.bin / "sacct").unlink()
    slurm = Slurm(Settings(env={**fake.env, "PATH": str(fake.bin)}))
    assert slurm.usable() is None
    assert one(slurm, fake.plant("PENDING")).state == "queued"
    assert one(slurm, "77").answer == "not-found"
    assert slurm.find(NAME) == ["1"]


def test_a_name_finds_jobs_that_wait_run_ended_and_are_forgotten(
    fake: FakeSlurm, slurm: Slurm
) -> None:
    jobs = [fake.plant(s) for s in ("PENDING", "RUNNING", "COMPLETED")]
    jobs.append(fake.plant("COMPLETED", known=False))
    fake.plant("RUNNING", name=NAME + "2")
    assert slurm.find(NAME) == jobs
    assert slurm.find("exa-none-001") == []


@pytest.mark.parametrize("fault", ["down", "mute", "nouser", "hang"])
def test_a_name_cannot_be_said_to_be_absent_by_a_silent_controller(
    fake: FakeSlurm, fault: str
) -> None:
    fake.fault("squeue", fault)
    with pytest.raises(Unreachable):
        slurm_on(fake, timeout_s=1).find(NAME, time.time())


def test_without_accounting_the_controllers_word_is_enough(fake: FakeSlurm, slurm: Slurm) -> None:
    fake.fault("sacct", "disabled")
    assert slurm.find(NAME) == []
    job = fake.plant("RUNNING")
    assert slurm.find(NAME) == [job]


def test_while_accounting_is_down_an_old_name_cannot_be_ruled_out(
    fake: FakeSlurm, slurm: Slurm
) -> None:
    """A job that ended longer than MinJobAge ago would be known to accounting alone."""
    fake.fault("sacct", "down")
    now = time.time()
    assert slurm.find(NAME, since=now - 30) == []
    for since in (now - 3600, None):
        with pytest.raises(Unreachable, match="cannot tell whether there was a job"):
            slurm.find(NAME, since)
    job = fake.plant("PENDING")
    assert slurm.find(NAME, now - 3600) == [job]


def test_a_new_name_costs_accounting_nothing(fake: FakeSlurm, slurm: Slurm) -> None:
    assert slurm.find(NAME, since=time.time()) == []
    assert [argv[0] for argv in fake.calls()] == ["squeue"]


def test_cancelling_what_nobody_knows_is_noticed(fake: FakeSlurm, slurm: Slurm) -> None:
    """scancel itself says nothing and exits 0 (recorded)."""
    for job in ("77", "abc", "-u root", "7 8"):
        with pytest.raises(NotFound):
            slurm.cancel(job)
    assert fake.count("scancel") == 1


@pytest.mark.parametrize("known", [True, False])
def test_cancelling_what_has_ended_does_nothing(fake: FakeSlurm, slurm: Slurm, known: bool) -> None:
    job = fake.plant("COMPLETED", known=known)
    slurm.cancel(job)
    assert one(slurm, job).reason == "exited"


def test_a_cancel_that_was_not_heard_is_no_cancel(fake: FakeSlurm, slurm: Slurm) -> None:
    job = fake.plant("RUNNING")
    fake.fault("scancel", "down")
    with pytest.raises(Unreachable, match="Unable to contact slurm controller"):
        slurm.cancel(job)
    fake.fault("scancel", "denied")
    with pytest.raises(Refused, match="Access/permission denied"):
        slurm.cancel(job)


@pytest.mark.parametrize("command", ["scontrol", "sacct"])
def test_a_cancel_that_cannot_be_looked_at_is_not_reported_as_done(
    fake: FakeSlurm, slurm: Slurm, command: str
) -> None:
    job = fake.plant("COMPLETED", known=command == "scontrol")
    fake.fault(command, "down")
    with pytest.raises(Unreachable, match="what it did is not known"):
        slurm.cancel(job)


@pytest.mark.parametrize("state", ["PENDING", "COMPLETED", "CANCELLED"])
def test_what_does_not_run_is_not_signalled(fake: FakeSlurm, slurm: Slurm, state: str) -> None:
    with pytest.raises(Refused, match=state):
        slurm.signal(fake.plant(state), signal.SIGUSR1)
    with pytest.raises(Refused, match="not known"):
        slurm.signal("77", signal.SIGUSR1)
    assert fake.count("scancel") == 0


def test_a_signal_goes_to_the_batch_shell_only(
    fake: FakeSlurm, slurm: Slurm, tmp_path: Path
) -> None:
    script = f"#!/bin/bash\n#SBATCH --job-name={NAME}\nexec sleep 100\n"
    job = slurm.submit(Request(name=NAME, script=script, workdir=tmp_path)).job_id
    while one(slurm, job).state != "running":
        time.sleep(0.02)
    slurm.signal(job, signal.SIGUSR1)
    assert ["scancel", "--batch", "--signal", "USR1", job] in fake.calls()
    while one(slurm, job).state != "ended":
        time.sleep(0.02)
    assert one(slurm, job).signal == signal.SIGUSR1


def test_every_command_has_a_time_limit(fake: FakeSlurm) -> None:
    slurm = slurm_on(fake, timeout_s=1)
    job = fake.plant("RUNNING")
    for command in ("squeue", "sacct", "scontrol", "scancel"):
        fake.fault(command, "hang")
    began = time.monotonic()
    asks = (
        lambda: slurm.find(NAME),
        lambda: slurm.query([job]),
        lambda: slurm.cancel(job),
        lambda: slurm.signal(job, 10),
    )
    for ask in asks:
        with pytest.raises(Unreachable):
            ask()
    assert time.monotonic() - began < 20
