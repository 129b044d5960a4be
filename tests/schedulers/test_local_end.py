"""How jobs of the local batch system end, and what is left of them: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scheduler_kit import Jobs, wait_end, wait_for

from exa_cli.base import proc
from exa_cli.base.errors import NotFound, Refused

ROOT = Path(__file__).parents[2]

DETACHED = "setsid bash -c 'echo $$ > {pipe}; exec sleep 600' &"
STUBBORN = "trap '' TERM; echo $$ > {pipe}; while :; do sleep 600 & wait; done"


def pid_from(pipe: Path) -> int:
    return int(pipe.read_text())


def test_walltime_terminates_every_process_and_then_kills(jobs: Jobs) -> None:
    top, other = jobs.pipe("top"), jobs.pipe("other")
    body = DETACHED.format(pipe=other) + "\n" + STUBBORN.format(pipe=top)
    job = jobs.submit(body, walltime="00:00:01", kill_delay="0.3")
    pids = [pid_from(other), pid_from(top)]
    state = jobs.ended(job)
    assert (state.state, state.reason) == ("ended", "walltime")
    assert (state.exit_code, state.signal) == (None, signal.SIGKILL)
    for pid in pids:
        wait_end(pid)


def test_walltime_leaves_time_to_save(jobs: Jobs) -> None:
    body = "trap 'echo saved > saved; exit 75' TERM; while :; do sleep 0.01; done"
    job = jobs.submit(body, walltime="00:00:01", kill_delay="30")
    state = jobs.ended(job)
    assert (state.reason, state.exit_code) == ("walltime", 75)
    assert (jobs.work / "saved").read_text() == "saved\n"


def test_a_cancelled_job_is_told_before_it_is_killed(jobs: Jobs) -> None:
    ready = jobs.pipe("ready")
    body = f"trap 'exit 7' TERM; echo $$ > {ready}; while :; do sleep 0.01; done"
    job = jobs.submit(body, kill_delay="30")
    pid_from(ready)
    jobs.local.cancel(job)
    state = jobs.ended(job)
    assert (state.reason, state.exit_code) == ("cancelled", 7)


def test_a_job_cancelled_before_it_started_never_starts(jobs: Jobs) -> None:
    entry = jobs.spool.add(*_spooled(jobs, "touch ran"))
    assert jobs.state(entry.job_id).state == "queued"
    jobs.local.cancel(entry.job_id)
    jobs.local.recover(entry.job_id)
    state = jobs.state(entry.job_id)
    assert (state.state, state.reason, state.started) == ("ended", "cancelled", None)
    assert not (jobs.work / "ran").exists()


def test_cancelling_an_ended_job_changes_nothing(jobs: Jobs) -> None:
    job = jobs.submit("exit 3")
    before = jobs.ended(job)
    jobs.local.cancel(job)
    assert jobs.state(job) == before
    assert before.reason == "exited"


@pytest.mark.parametrize("job", ["1.nowhere", "7", "", "../jobs", "x.y"])
def test_an_unknown_job_is_unknown_and_never_ended(jobs: Jobs, job: str) -> None:
    assert jobs.state(job).state == "unknown"
    with pytest.raises(NotFound):
        jobs.local.cancel(job)


@pytest.fixture
def bystanders(jobs: Jobs) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that no sweep of the job may end."""
    environments: list[dict[str, str]] = [
        {},
        {"EXA_TAG": jobs.tag + "1"},
        {"EXA_RUN_DIR": str(jobs.work)},
        # A twin: the same name submitted twice, which a killed submission can cause.
        {"EXA_TAG": jobs.tag, "EXA_JOB_ID": "999.elsewhere"},
        # A run of the same name in another folder has the same tag, and perhaps the same id.
        {"EXA_TAG": jobs.tag, "EXA_RUN_DIR": "/elsewhere/runs/demo-0000"},
    ]
    children = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, **env}, start_new_session=True)
        for env in environments
    ]
    yield children
    for child in children:
        child.kill()
        child.wait()


def test_leftovers_are_swept_by_tag_and_nothing_else_is(
    jobs: Jobs, bystanders: list[subprocess.Popen[bytes]]
) -> None:
    own, pipe, go = jobs.pipe("own"), jobs.pipe("untagged"), jobs.pipe("go")
    untagged = f"env -i bash -c 'echo $$ > {pipe}; exec sleep 600' &"
    job = jobs.submit(f"{DETACHED.format(pipe=own)}\n{untagged}\nread -r _ < {go}")
    left = [pid_from(own), pid_from(pipe)]
    go.write_text("on\n")
    state = jobs.ended(job)
    assert (state.reason, state.exit_code) == ("exited", 0)
    for pid in left:
        wait_end(pid)
    assert [child.poll() for child in bystanders] == [None] * len(bystanders)


def test_a_job_whose_runner_was_killed_runs_on_and_says_so(jobs: Jobs) -> None:
    ready = jobs.pipe("ready")
    job = jobs.submit(f"echo $$ > {ready}; exec sleep 600")
    pid = pid_from(ready)
    os.kill(jobs.runner(job), signal.SIGKILL)
    wait_end(jobs.runner(job))
    state = jobs.state(job)
    assert (state.state, state.source) == ("running", "processes")
    jobs.local.recover(job)
    assert jobs.state(job).state == "running", "recovery must not end a running supervisor"
    os.kill(pid, signal.SIGKILL)
    wait_end(pid)
    state = jobs.state(job)
    assert (state.state, state.reason, state.exit_code) == ("ended", "lost", None)


def test_recovery_ends_what_a_killed_runner_and_script_left(jobs: Jobs) -> None:
    ready, other = jobs.pipe("ready"), jobs.pipe("other")
    job = jobs.submit(f"{DETACHED.format(pipe=other)}\necho $$ > {ready}; exec sleep 600")
    rank, script = pid_from(other), pid_from(ready)
    for pid in (jobs.runner(job), script):
        os.kill(pid, signal.SIGKILL)
        wait_end(pid)
    assert jobs.state(job).state == "running", "a rank is still there"
    jobs.local.recover(job)
    wait_end(rank)
    state = jobs.state(job)
    assert (state.state, state.reason, state.source) == ("ended", "lost", "spool")


def test_a_job_without_a_runner_can_be_cancelled(jobs: Jobs) -> None:
    ready = jobs.pipe("ready")
    job = jobs.submit(STUBBORN.format(pipe=ready), kill_delay="0.2")
    pid = pid_from(ready)
    os.kill(jobs.runner(job), signal.SIGKILL)
    wait_end(jobs.runner(job))
    jobs.local.cancel(job)
    wait_end(pid)
    assert jobs.state(job).reason == "cancelled"


def test_a_stopped_runner_ends_its_job_and_records_it(jobs: Jobs) -> None:
    ready = jobs.pipe("ready")
    job = jobs.submit(f"echo $$ > {ready}; exec sleep 600")
    pid_from(ready)
    os.kill(jobs.runner(job), signal.SIGTERM)
    state = jobs.ended(job)
    assert (state.reason, state.signal) == ("stopped", signal.SIGTERM)


def test_a_signal_reaches_the_script_and_not_its_children(jobs: Jobs) -> None:
    ready = jobs.pipe("ready")
    body = f"trap 'echo usr1 >> got; exit 0' USR1\nsleep 600 &\necho $$ > {ready}; wait"
    job = jobs.submit(body)
    pid_from(ready)
    jobs.local.signal(job, signal.SIGUSR1)
    assert jobs.ended(job).exit_code == 0
    assert (jobs.work / "got").read_text() == "usr1\n"
    with pytest.raises(Refused, match="does not run"):
        jobs.local.signal(job, signal.SIGUSR1)


@pytest.mark.parametrize(
    ("interpreter", "workdir", "words"),
    [("/no/such/shell", "", "cannot start the script"), ("/bin/bash", "gone", "gone")],
)
def test_a_script_that_cannot_start_says_why(
    jobs: Jobs, interpreter: str, workdir: str, words: str
) -> None:
    request = jobs.request("true")
    text = request.script.replace("/bin/bash", interpreter)
    odd = type(request)(name=request.name, script=text, workdir=jobs.work / workdir)
    state = jobs.ended(jobs.local.submit(odd).job_id)
    assert (state.state, state.reason, state.started) == ("ended", "launch-failed", None)
    assert state.words is not None
    assert words in state.words


def test_a_start_that_cannot_be_recorded_does_not_happen(jobs: Jobs) -> None:
    entry = jobs.spool.add(*_spooled(jobs, "touch ran"))
    (entry.path / "started.json").mkdir()
    jobs.local.recover(entry.job_id)
    assert jobs.ended(entry.job_id).state == "unknown", "a record cannot be read"
    (entry.path / "started.json").rmdir()
    state = jobs.state(entry.job_id)
    assert (state.state, state.reason) == ("ended", "launch-failed")
    assert not (jobs.work / "ran").exists()


def test_a_runner_that_fails_ends_its_job_and_leaves_a_trace(jobs: Jobs) -> None:
    entry = jobs.spool.add(*_spooled(jobs, "exec sleep 600"))
    code = """
import sys
from exa_cli.schedulers.local import runner, watch
def broken(limits, seen):
    raise RuntimeError("a bug")
watch.next_action = broken
sys.exit(runner.main(["runner", sys.argv[1]]))
"""
    finished = proc.run([sys.executable, "-c", code, str(entry.path)], timeout=60, cwd=ROOT)
    assert finished.code == 0, finished.err
    state = jobs.ended(entry.job_id)
    assert (state.state, state.reason, state.exit_code) == ("ended", "lost", None)
    assert str(entry.log) in str(state.words)
    assert "RuntimeError: a bug" in entry.log.read_text()
    started = entry.started()
    assert started is not None
    assert started[1] is not None
    assert not proc.alive(started[1]), "nobody would hold it to its walltime"


def test_the_exit_status_and_the_signal_are_the_scripts(jobs: Jobs) -> None:
    state = jobs.ended(jobs.submit("exit 3"))
    assert (state.exit_code, state.signal, state.reason) == (3, None, "exited")
    assert state.started is not None
    assert state.ended is not None
    assert state.started <= state.ended
    killed = jobs.ended(jobs.submit("kill -SEGV $$", name=jobs.tag + "b"))
    assert (killed.exit_code, killed.signal, killed.reason) == (None, signal.SIGSEGV, "exited")


def test_orphans_of_the_script_leave_no_zombies(jobs: Jobs) -> None:
    ready, go = jobs.pipe("ready"), jobs.pipe("go")
    body = f"(bash -c 'exit 0' & echo $! > orphan)\necho $$ > {ready}; read -r _ < {go}"
    job = jobs.submit(body)
    pid_from(ready)
    orphan = int((jobs.work / "orphan").read_text())
    wait_end(orphan)
    go.write_text("on\n")
    assert jobs.ended(job).exit_code == 0
    assert proc.stat(orphan) is None


def _spooled(jobs: Jobs, body: str) -> tuple[str, object]:
    """Arguments of ``Spool.add`` for a job without a runner."""
    from exa_cli.schedulers.local import directives, environment
    from exa_cli.schedulers.local.spool import Job

    script = jobs.script(body)
    kept = environment.kept(jobs.env)
    return script, Job(directives.read(script), str(jobs.work), kept, submitted=0.0)


def test_files_of_a_job_are_for_its_owner_only(jobs: Jobs) -> None:
    job = jobs.submit("true")
    wait_for(jobs.entry(job).path / "ended.json")
    assert jobs.entry(job).path.stat().st_mode & 0o777 == 0o700
    assert jobs.spool.jobs.stat().st_mode & 0o777 == 0o700
