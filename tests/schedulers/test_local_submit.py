"""Submitting to the local batch system: whole or not at all, and apart from the submitter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scheduler_kit import Jobs, wait_end

from exa_cli.base import proc
from exa_cli.base.errors import Refused, Unreachable
from exa_cli.schedulers.local import directives, environment, spool
from exa_cli.schedulers.local.backend import Local
from exa_cli.schedulers.local.spool import Entry, Job
from exa_cli.schedulers.types import NotSubmitted, Request, Settings

ROOT = Path(__file__).parents[2]

SUBMITTER = """
import json, os, sys
from pathlib import Path
from exa_cli.schedulers.local.backend import Local
from exa_cli.schedulers.types import Request, Settings

def submit():
    name, script, workdir = json.loads(sys.argv[1])
    local = Local(Settings(env=dict(os.environ)))
    return local.submit(Request(name=name, script=script, workdir=Path(workdir))).job_id
"""

KILLED_AT = """
import signal
left = int(sys.argv[2])

def effect(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def audited(event, _):
    if event == "open" or event.startswith(("os.", "subprocess.")):
        effect()

fsync = os.fsync
os.fsync = lambda fd: (effect(), fsync(fd))
sys.addaudithook(audited)
"""


def run_python(code: str, *args: str, jobs: Jobs) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", code, *args]
    return subprocess.run(argv, cwd=ROOT, env=jobs.env, capture_output=True, text=True)


def spooled(jobs: Jobs, body: str, name: str | None = None) -> Entry:
    """A job as a submitter leaves it that is killed before it starts the runner."""
    script = jobs.script(body, name)
    kept = environment.kept(jobs.env)
    return jobs.spool.add(script, Job(directives.read(script), str(jobs.work), kept, 0.0))


@pytest.mark.parametrize(
    "script",
    ["#!/bin/bash\ntrue\n", "#!/bin/bash\n#EXA name=another\n", "#!/bin/bash\n#EXA color=red\n"],
)
def test_a_refused_submission_leaves_nothing(jobs: Jobs, script: str) -> None:
    with pytest.raises(Refused):
        jobs.local.submit(Request(name=jobs.tag, script=script, workdir=jobs.work))
    assert jobs.local.find(jobs.tag) == []
    assert not jobs.spool.jobs.exists()


def test_a_spool_that_cannot_be_written_has_no_job(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = {**jobs.env, "EXA_LOCAL_SPOOL": str(tmp_path / "file" / "spool")}
    with pytest.raises(NotSubmitted, match="cannot write the local spool"):
        Local(Settings(env=env)).submit(jobs.request("true"))


def test_a_spool_that_cannot_be_listed_is_not_an_empty_one(jobs: Jobs) -> None:
    jobs.spool.path.mkdir()
    jobs.spool.jobs.write_text("not a directory")
    with pytest.raises(Unreachable):
        jobs.local.find(jobs.tag)


def test_a_damaged_job_makes_the_search_for_a_name_uncertain(jobs: Jobs) -> None:
    job = jobs.submit("true")
    jobs.ended(job)
    (jobs.entry(job).path / "job.json").write_text("{")
    with pytest.raises(Unreachable, match="cannot tell"):
        jobs.local.find(jobs.tag)


def test_a_damaged_record_makes_a_state_unknown(jobs: Jobs) -> None:
    job = jobs.submit("true")
    jobs.ended(job)
    (jobs.entry(job).path / "ended.json").write_text("")
    assert jobs.state(job).state == "unknown"


@pytest.mark.slow
def test_a_submission_killed_at_any_step_leaves_one_job_or_none(tmp_path: Path) -> None:
    """SIGKILL before each effect in turn: afterwards recovery brings it to exactly one run."""
    seen: list[int] = []
    for step in range(1, 500):
        folder = tmp_path / f"at{step}"
        folder.mkdir()
        jobs = Jobs(folder)
        request = json.dumps([jobs.tag, jobs.script("echo ran >> ran"), str(jobs.work)])
        code = SUBMITTER + KILLED_AT + "submit()"
        killed = run_python(code, request, str(step), jobs=jobs).returncode
        found = jobs.local.find(jobs.tag)
        assert len(found) <= 1
        for job in found:
            jobs.local.recover(job)
            assert jobs.ended(job).exit_code == 0
        ran = jobs.work / "ran"
        assert (ran.read_text() if ran.exists() else "") == "ran\n" * len(found)
        seen.append(len(found))
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
    assert len(seen) > 20, "the sweep missed most effects"
    assert seen == sorted(seen), "a job that was there cannot vanish by one step more"
    assert seen[0] == 0
    assert seen[-1] == 1


def test_two_starters_give_one_run(jobs: Jobs) -> None:
    entry = spooled(jobs, "echo ran >> ran")
    assert jobs.state(entry.job_id).state == "queued"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(jobs.local.recover, [entry.job_id] * 4))
    assert jobs.ended(entry.job_id).exit_code == 0
    assert (jobs.work / "ran").read_text() == "ran\n"


def test_ids_are_never_given_twice(jobs: Jobs) -> None:
    with ThreadPoolExecutor(4) as pool:
        entries = list(pool.map(lambda n: spooled(jobs, "true", f"exa-{n}-001"), range(12)))
    assert len({entry.job_id for entry in entries}) == 12
    for number, entry in enumerate(entries):
        assert jobs.local.find(f"exa-{number}-001") == [entry.job_id]


def test_a_job_outlives_its_submitter_and_the_terminal(jobs: Jobs) -> None:
    ready, go = jobs.pipe("ready"), jobs.pipe("go")
    body = f"echo up > {ready}; read -r _ < {go}; echo ran > ran"
    request = json.dumps([jobs.tag, jobs.script(body), str(jobs.work)])
    code = SUBMITTER + "print(submit(), flush=True); import signal; signal.pause()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, request],
        cwd=ROOT,
        env=jobs.env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    with child.stdout as out:
        job = out.readline().strip()
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
        os.killpg(child.pid, signum)
    child.wait()
    ready.read_text()
    assert jobs.state(job).state == "running"
    go.write_text("on\n")
    assert jobs.ended(job).exit_code == 0
    assert (jobs.work / "ran").exists()


def test_a_runner_ignores_what_a_terminal_sends(jobs: Jobs) -> None:
    go = jobs.pipe("go")
    job = jobs.submit(f"read -r _ < {go}")
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        os.kill(jobs.runner(job), signum)
    go.write_text("on\n")
    state = jobs.ended(job)
    assert (state.reason, state.exit_code) == ("exited", 0)


def test_a_runner_holds_nothing_of_its_submitter(jobs: Jobs) -> None:
    go = jobs.pipe("go")
    request = json.dumps([jobs.tag, jobs.script(f"read -r _ < {go}"), str(jobs.work)])
    code = SUBMITTER + "print(submit())"
    # capture_output waits for the end of the pipe: it never comes if a runner keeps it open.
    answer = run_python(code, request, jobs=jobs)
    job = answer.stdout.strip()
    runner = jobs.runner(job)
    kept = {os.readlink(f"/proc/{runner}/fd/{fd}") for fd in (0, 1, 2)}
    assert kept == {"/dev/null", str(jobs.entry(job).log)}
    go.write_text("on\n")
    assert jobs.ended(job).exit_code == 0


def test_a_script_leads_a_session_and_holds_nothing_of_its_runner(jobs: Jobs) -> None:
    body = (
        "cat /proc/$$/stat > stat; for fd in /proc/$$/fd/[0-9]*; do readlink $fd; done > fds; true"
    )
    job = jobs.submit(body)
    assert jobs.ended(job).exit_code == 0
    fields = (jobs.work / "stat").read_text().rpartition(") ")[2].split()
    pid = (jobs.work / "stat").read_text().split()[0]
    group, session, terminal = fields[2:5]
    assert (group, session, terminal) == (pid, pid, "0")
    held = set((jobs.work / "fds").read_text().split())
    entry = jobs.entry(job)
    assert held <= {"/dev/null", str(entry.output), str(entry.script), str(jobs.work / "fds")}


def test_a_job_submitted_from_a_job_is_not_part_of_it(jobs: Jobs) -> None:
    """Else the sweep at the end of the first would end the second."""
    marks = {"EXA_TAG": jobs.tag, "EXA_RUN_DIR": "/run", "EXA_JOB_ID": "1.x"}
    inside = Local(Settings(env={**jobs.env, **marks}))
    go = jobs.pipe("go")
    name = jobs.tag + "-next"
    request = jobs.request(f"env > env; unset EXA_TAG; read -r _ < {go}", name)
    job = inside.submit(request).job_id
    runner = proc.environment(jobs.runner(job))
    assert not set(marks) & set(runner)
    assert proc.tagged(jobs.tag) == []
    go.write_text("on\n")
    jobs.ended(job)
    env = dict(line.split("=", 1) for line in (jobs.work / "env").read_text().splitlines())
    assert env["EXA_JOB_ID"] == job
    assert env["EXA_TAG"] == name
    assert "EXA_RUN_DIR" not in env


def test_the_submitters_environment_decides_nothing(jobs: Jobs) -> None:
    odd = {"LD_PRELOAD": "x", "PYTHONPATH": "y", "OMP_NUM_THREADS": "9", "EXA_RUNS": "/runs"}
    local = Local(Settings(env={**jobs.env, **odd}))
    request = jobs.request("env > env")
    asked = Request(
        name=request.name,
        script=request.script,
        workdir=request.workdir,
        environment=(("ASKED", "a b"),),
    )
    job = local.submit(asked).job_id
    assert jobs.ended(job).exit_code == 0
    env = dict(line.split("=", 1) for line in (jobs.work / "env").read_text().splitlines())
    assert not {"LD_PRELOAD", "PYTHONPATH", "OMP_NUM_THREADS"} & set(env)
    assert (env["EXA_RUNS"], env["ASKED"], env["HOME"]) == ("/runs", "a b", jobs.env["HOME"])


def test_a_later_edit_of_the_script_changes_nothing(jobs: Jobs, tmp_path: Path) -> None:
    source = tmp_path / "script.sh"
    source.write_text(jobs.script("echo first > which"))
    text = source.read_text()
    entry = jobs.spool.add(text, Job(directives.read(text), str(jobs.work), {}, 0.0))
    source.write_text(jobs.script("echo second > which"))
    jobs.local.recover(entry.job_id)
    jobs.ended(entry.job_id)
    assert (jobs.work / "which").read_text() == "first\n"


def test_what_the_script_prints_is_kept(jobs: Jobs) -> None:
    job = jobs.submit("echo out; echo err >&2; pwd")
    jobs.ended(job)
    assert jobs.entry(job).output.read_text() == f"out\nerr\n{jobs.work}\n"


def test_a_name_finds_every_job_that_has_it_and_no_other(jobs: Jobs) -> None:
    first, second = jobs.submit("true"), jobs.submit("true")
    other = jobs.submit("true", name=jobs.tag + "0")
    assert jobs.local.find(jobs.tag) == [first, second]
    assert jobs.local.find(jobs.tag + "0") == [other]
    assert jobs.local.find(jobs.tag[:-1]) == []


def test_a_job_of_another_machine_is_found_but_not_judged(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = jobs.pipe("go")
    job = jobs.submit(f"read -r _ < {go}")
    monkeypatch.setattr(spool, "host", lambda: "login02")
    assert jobs.local.find(jobs.tag) == [job]
    assert jobs.state(job).state == "unknown"
    with pytest.raises(Unreachable, match="another machine"):
        jobs.local.cancel(job)
    assert spooled(jobs, "true", "exa-b-001").job_id == "1.login02"
    monkeypatch.undo()
    go.write_text("on\n")
    assert jobs.ended(job).exit_code == 0


def test_a_restart_of_the_machine_ends_its_jobs(jobs: Jobs) -> None:
    entry = spooled(jobs, "true")
    assert entry.take(proc.Process(pid=1, start=1, boot="the boot before"))
    state = jobs.state(entry.job_id)
    assert (state.state, state.reason) == ("ended", "lost")
    assert state.words == "the machine was restarted"


def test_a_runner_that_cannot_start_leaves_the_job_queued_and_says_so(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        answer = jobs.local.submit(jobs.request("exit 4"))
    assert "accepted, but not started" in answer.message
    assert jobs.state(answer.job_id).state == "queued"
    jobs.local.recover(answer.job_id)
    assert jobs.ended(answer.job_id).exit_code == 4


def test_old_ended_jobs_go_and_nothing_else(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    old, running, young = jobs.submit("true"), spooled(jobs, "true").job_id, jobs.submit("true")
    jobs.ended(old)
    jobs.ended(young)
    ends = {old: 0.0, running: None, young: 1e12}
    jobs.spool.prune(lambda entry: ends[entry.job_id])
    assert [entry.job_id for entry in jobs.spool.entries()] == [running, young]
    ends[young] = 0.0
    jobs.spool.prune(lambda entry: ends[entry.job_id])
    # The newest stays, or its number would be given again.
    assert [entry.job_id for entry in jobs.spool.entries()] == [running, young]


def test_no_more_than_so_many_ended_jobs_are_kept(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "KEEP_JOBS", 2)
    ids = [spooled(jobs, "true").job_id for _ in range(5)]
    jobs.spool.prune(lambda entry: None if entry.job_id == ids[1] else 1e12)
    assert [entry.job_id for entry in jobs.spool.entries()] == [ids[1], *ids[3:]]


def test_what_killed_submissions_left_goes_when_it_is_old(jobs: Jobs) -> None:
    jobs.submit("true")
    stale, fresh = jobs.spool.jobs / ".new-stale", jobs.spool.jobs / ".new-fresh"
    stale.mkdir()
    fresh.mkdir()
    os.utime(stale, (0, 0))
    jobs.spool.prune(lambda entry: None)
    assert not stale.exists()
    assert fresh.exists()


def test_a_waiting_runner_is_one_process_and_ends_with_its_job(jobs: Jobs) -> None:
    go = jobs.pipe("go")
    job = jobs.submit(f"read -r _ < {go}")
    runner = jobs.runner(job)
    assert proc.stat(runner) is not None
    go.write_text("on\n")
    jobs.ended(job)
    wait_end(runner)


def test_it_says_why_it_cannot_be_used_here(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert jobs.local.usable() is None
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert "no bash" in str(jobs.local.usable())
    monkeypatch.setattr(proc, "PROC", tmp_path)
    assert "/proc" in str(jobs.local.usable())


def test_where_the_spool_is() -> None:
    home = {"HOME": "/home/u"}
    assert spool.root(home) == Path("/home/u/.local/state/exa/local")
    assert spool.root({**home, "XDG_STATE_HOME": "/s"}) == Path("/s/exa/local")
    assert spool.root({**home, "EXA_LOCAL_SPOOL": "/x"}) == Path("/x")
