"""The supervisor's decisions, and the sweep on real processes."""

import os
import socket
import subprocess
import sys

import pytest

from exa_cli.base import proc
from exa_cli.base.errors import Invalid, Unreachable
from exa_cli.base.files import write_json
from exa_cli.job import health, launch, layout, sweep
from exa_cli.job.allocation import open_allocation
from exa_cli.job.end import worth_keeping
from exa_cli.job.rank import check_place, my_rank
from exa_cli.job.watch import Limits, stop_reason
from exa_cli.policy.cause import RankError, Seen
from exa_cli.runs.rundir import RunDir

LIMITS = Limits(end=100.0, stop_at=90.0)


@pytest.mark.parametrize(
    ("notice", "cancelled", "now", "reason"),
    [
        (None, False, 10.0, None),
        (None, False, 90.0, "walltime"),
        ("SIGTERM", False, 10.0, "SIGTERM"),
        ("SIGTERM", False, 95.0, "walltime"),
        ("SIGTERM", True, 10.0, "cancelled"),
        ("SIGTERM", True, 95.0, "cancelled"),
        ("SIGUSR1", False, 29.0, "SIGUSR1"),
        ("SIGUSR1", False, 31.0, "walltime"),
    ],
)
def test_when_and_why_ranks_are_asked_to_stop(notice, cancelled, now, reason):
    assert stop_reason(LIMITS, notice, cancelled, now) == reason


def rank(number, **changes):
    seen = {
        "rank": number,
        "host": "h",
        "told_node": None,
        "missing": [],
        "torch": "2.13.0+cpu",
        "scratch_error": None,
        "run_dir_error": None,
        "scratch_free": 10**9,
        "seat_error": None,
    }
    return {**seen, **changes}


def probe(*ranks, total=None):
    wanted = sum(range(1, len(ranks) + 1))
    return {"ranks": list(ranks), "sum": wanted if total is None else total}


@pytest.mark.parametrize(
    ("seen", "check", "cause"),
    [
        (None, "ranks can talk", "launch-failed"),
        (probe(rank(0)), "ranks can talk", "launch-failed"),
        (probe(rank(0), rank(1), total=2), "ranks can talk", "launch-failed"),
        (probe(rank(0), rank(1, missing=["torch"])), "packages", "launch-failed"),
        (probe(rank(0), rank(1, torch="2.7.1")), "torch", "launch-failed"),
        (probe(rank(0), rank(1, torch="2.14.0")), "torch", "launch-failed"),
        (probe(rank(0), rank(1, scratch_error="/x: Permission denied")), "write access",
         "launch-failed"),
        (probe(rank(0), rank(1, run_dir_error="/x: No space left on device")), "write access",
         "disk-full"),
        (probe(rank(0), rank(1, scratch_free=5)), "space", "disk-full"),
    ],
)  # fmt: skip
def test_a_sick_node_is_named_before_ranks_are_started(seen, check, cause):
    found = health.verdict(seen, 2, "words", 1000)
    assert (found.check, found.cause) == (check, cause)


def test_healthy_nodes_pass():
    assert health.verdict(probe(rank(0), rank(1)), 2, "", 1000) is None


def test_ranks_must_be_where_the_plan_puts_them():
    seen = probe(rank(0, host="n1.site"), rank(1, host="n2"))
    assert health.verdict(seen, 2, "", 1000, ["n1", "n2"]) is None
    found = health.verdict(seen, 2, "", 1000, ["n2", "n1"])
    assert (found.check, found.cause) == ("placement", "launch-failed")
    assert "rank 0 on n1.site, the plan says n2" in found.what


def test_a_rank_on_another_node_refuses_to_start(monkeypatch):
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    launch = {"virtual": False, "ranks": [{"node": socket.gethostname()}, {"node": "other"}]}
    check_place(launch, 0)
    with pytest.raises(ValueError, match=r"rank 1 was started on .*, not on other"):
        check_place(launch, 1)
    check_place({**launch, "virtual": True}, 1)


ECHO = RankError(1, "rank-failure", "another rank went away", echo=True)
FAULT = RankError(2, "rank-failure", "ValueError")


@pytest.mark.parametrize(
    ("seen", "named", "kept"),
    [
        (Seen(done=True), None, (0,)),
        (Seen(done=True), 3, (0,)),
        (Seen(stopped_for="walltime"), None, (0,)),
        (Seen(rank_errors=(FAULT, ECHO)), None, (0, 1, 2)),
        (Seen(rank_errors=(ECHO,)), 3, (0, 1, 3)),
        (Seen(rank_errors=(ECHO,)), None, (0, 1, 2, 3)),
        (Seen(), None, (0, 1, 2, 3)),
        (Seen(), 9, (0,)),
    ],
)
def test_logs_that_may_explain_an_end_are_kept(seen, named, kept):
    assert worth_keeping(seen, 4, named) == kept


SLURM_SITE = """
[site]
name = "cluster"
[scheduler]
kind = "slurm"
[launcher]
kind = "other"
command = ["run", "-n", "{ranks}"]
"""
AGENTS = 'agents = ["run", "-n", "{ranks}"]\n'


def frozen_run(tmp_path, site):
    """As much of a run directory as an allocation reads."""
    run = RunDir(tmp_path / "r-0000")
    plan = {
        "scheduler": "slurm",
        "model": {},
        "parallel": {"nodes": 2, "ranks_per_node": 1, "world": 2},
        "policy": {"stop_before_s": 60},
        "data": {"dir": str(run.path), "data_id": "d"},
        "train": {"threads": 1, "steps": 9, "seq_len": 64, "global_batch": 2},
        "env": {},
    }
    run.attempt("001").mkdir(parents=True)
    storage = f'[local_storage]\npath = "{tmp_path}/local"\n'
    (run.path / "site.toml").write_text(site + storage)
    write_json(run.path / "plan.json", plan)
    request = {"attempt": "001", "tag": run.tag("001"), "scheduler": "slurm", "nodes": 2}
    write_json(run.attempt("001") / "request.json", {**request, "walltime_s": 3600})
    return run


@pytest.mark.parametrize("told", [100, 10**9])
def test_of_two_ends_of_the_job_the_earlier_counts(tmp_path, monkeypatch, told):
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    run = frozen_run(tmp_path, SLURM_SITE + AGENTS)
    before = open_allocation(run, "001", 1).began
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(before) + told))
    here = open_allocation(run, "001", 1)
    assert here.nodes == ("n1", "n2")
    assert here.end == (int(before) + 100 if told == 100 else here.began + 3600)
    assert here.limits().stop_at == here.end - 60


def test_agents_are_started_by_their_own_line_without_the_options_of_the_ranks(
    tmp_path, monkeypatch
):
    program = tmp_path / "bin" / "run"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1")
    run = frozen_run(tmp_path, SLURM_SITE + AGENTS + 'options = ["--gpus=4"]\n')
    (run.path / "manifest.json").write_text('{"splits": {}}')
    here = open_allocation(run, "001", 1)
    with pytest.raises(Unreachable, match="no sign of the agent on n1, n2"):
        launch.nodes_of(here).sweep()
    told = (tmp_path / "told").read_text().split()
    assert told[:2] == ["-n", "2"] and told[3:5] == ["-m", "exa_cli.job.agent"]
    assert launch.rank_argv(here)[1:4] == ["-n", "2", "--gpus=4"]
    assert (here.folder / "hosts").read_text() == "n1\nn2\n"


def test_several_machines_without_agents_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(Invalid, match="nothing starts an agent on each of 2 nodes"):
        open_allocation(frozen_run(tmp_path, SLURM_SITE.replace("slurm", "pbs")), "001", 1)


def test_a_wrong_mpiexec_is_named_by_the_variable_it_did_not_set():
    launch = {"rank_variable": "PMI_RANK", "ranks": [{}, {}]}
    for environ in ({}, {"PMI_RANK": "2"}, {"PMI_RANK": "x"}):
        with pytest.raises(ValueError, match="PMI_RANK"):
            my_rank(launch, environ)
    assert my_rank(launch, {"PMI_RANK": "1"}) == 1


def test_ranks_fill_node_after_node(tmp_path):
    plan = {"parallel": {"world": 4, "ranks_per_node": 2}, "data": {"data_id": "d"}}
    table = layout.place_ranks(plan, ["n0", "n1"], tmp_path, RunDir(tmp_path / "r-0000"), "001", 2)
    assert [(r["node"], r["local_rank"]) for r in table] == [
        ("n0", 0), ("n0", 1), ("n1", 0), ("n1", 1),
    ]  # fmt: skip
    assert len({r["scratch"] for r in table}) == 2
    assert len({r["log"] for r in table}) == 4


SLEEPER = "import sys, time; print('up', flush=True); time.sleep(600)"


def sleeper(**env):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], env={**os.environ, **env}, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def test_a_sweep_ends_what_carries_the_runs_directory_and_nothing_else(tmp_path):
    ours = sleeper(EXA_RUN_DIR=str(tmp_path / "mine"), EXA_TAG="exa-mine-001")
    other = sleeper(EXA_RUN_DIR=str(tmp_path / "other"), EXA_TAG="exa-other-001")
    try:
        found = sweep.run_processes(tmp_path / "mine")
        assert [p.pid for p in found] == [ours.pid]
        assert sweep.kill(found) == 1
        assert ours.wait(10) == -9
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_an_end_of_one_attempt_leaves_the_next_one_alone(tmp_path):
    """A job that saves may outlast its cancel, and the next attempt begin beside it."""
    marked = [{"EXA_RUN_DIR": str(tmp_path), "EXA_TAG": f"exa-x-00{n}"} for n in (1, 2)]
    old, new = (sleeper(**each) for each in marked)
    try:
        assert [p.pid for p in sweep.run_processes(tmp_path, tag="exa-x-001")] == [old.pid]
        assert {p.pid for p in sweep.run_processes(tmp_path)} == {old.pid, new.pid}
    finally:
        for process in (old, new):
            process.kill()
            process.wait()


def test_a_sweep_never_ends_the_caller_or_its_parents(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom exa_cli.job import sweep\n"
        "print(len(sweep.run_processes(Path(sys.argv[1]))))"
    )
    env = {**os.environ, "EXA_RUN_DIR": str(tmp_path)}
    command = ["sh", "-c", '"$0" -c "$1" "$2"; true', sys.executable, code, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


@pytest.fixture
def segment(tmp_path):
    path = f"/dev/shm/exa-test-{os.getpid()}"
    with open(path, "wb") as file:
        file.write(b"\0" * 4096)
    yield path
    if os.path.exists(path):
        os.unlink(path)


def test_a_mapped_segment_is_recorded_and_removed_only_once_nobody_maps_it(tmp_path, segment):
    code = (
        "import mmap, sys, time\n"
        "f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 4096)\n"
        "print('up', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, segment], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        record = tmp_path / "segments.json"
        assert segment in sweep.note_segments(record, [holder.pid])
        assert sweep.remove_segments(sweep.recorded(record)) == []
        process = proc.identify(holder.pid)
    finally:
        holder.kill()
        holder.wait()
    sweep.wait_for_end([process])
    assert sweep.remove_segments(sweep.recorded(record)) == [segment]
    assert not os.path.exists(segment)


def test_a_segment_outside_shared_memory_is_never_removed(tmp_path):
    victim = tmp_path / "precious"
    victim.write_text("x")
    record = tmp_path / "segments.json"
    record.write_text(f'["{victim}"]')
    assert sweep.recorded(record) == set()
