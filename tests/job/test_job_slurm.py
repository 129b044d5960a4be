"""The supervisor in a real Slurm allocation of four nodes, each with a disk of its own.

Slow: torch starts on every node, and Slurm has its own pace.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_kit import Slurm, events, make_run, wait_until

from exa_cli.job.hostlist import expand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLUSTER = "EXA_TEST_SLURM"
"""State directory of a running cluster: etc/slurm.conf, run/NODE.json with each node's pid."""

SHARED = "EXA_TEST_SLURM_SHARED"
"""A directory that all its nodes share."""


@pytest.fixture(scope="session")
def slurm():
    if CLUSTER not in os.environ:
        pytest.skip(f"needs a Slurm cluster of four nodes, named by ${CLUSTER} and ${SHARED}")
    state = Path(os.environ[CLUSTER])
    env = {**os.environ, "SLURM_CONF": str(state / "etc/slurm.conf")}
    names = Slurm(env, {}).run("sinfo", "-h", "-N", "-p", "prod", "-o", "%N").split()
    pids = {name: json.loads((state / f"run/{name}.json").read_text())["pid"] for name in names}
    return Slurm(env, pids)


@pytest.fixture(scope="session")
def shared(slurm):
    folder = Path(os.environ[SHARED]) / f"exa-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def data(shared):
    """A little real text, prepared."""
    sources = [Path(json.__file__).parent, Path(logging.__file__).parent]
    text = [str(path) for path in sources]
    argv = [sys.executable, "-m", "exa_cli", "data", "prepare", *text]
    subprocess.run([*argv, "-o", shared / "data", "--vocab", "320"], check=True)
    return shared / "data"


@pytest.fixture
def job(slurm, shared, data):
    """Make a run and submit it: (run, job id). Whatever becomes of the test, the job is ended."""
    made = []

    def submit(name, *options, minutes=10, **changes):
        run = make_run(shared, data, name, **changes)
        made.append(slurm.sbatch(run, *options, minutes=minutes))
        return run, made[-1]

    yield submit
    for job in made:
        slurm.run("scancel", job)
        slurm.wait(job)


def end(run):
    """The end that the newest life recorded."""
    return events(run, "ended", "job-")[-1]


def life(run, number=1):
    return run.life("001", number)


def training(run):
    """Wait until a run has a checkpoint."""
    wait_until(lambda: events(run, "committed"), 300)


def nothing_left(slurm, run):
    left = {node: slurm.processes(node, run) + slurm.tmp(node) for node in slurm.nodes}
    assert left == {node: [] for node in slurm.nodes}


def victim(slurm, run, rank):
    """The node and the pid there of a rank."""
    node = json.loads((life(run) / "launch.json").read_text())["ranks"][rank]["node"]
    (pid,) = slurm.processes(node, run, "-m exa_train")
    return node, pid


def supervisor(slurm, run):
    found = [(n, p) for n in slurm.nodes for p in slurm.processes(n, run, "exa_cli job")]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("text", ["x[1-2]-ib[0-1]", "n[001-003,7]", "a,b[09-11]", "n[8-010]"])
def test_a_host_list_means_what_slurm_says(slurm, text):
    assert list(expand(text)) == slurm.run("scontrol", "show", "hostnames", text).split()


def test_a_run_over_four_nodes_ends_at_its_last_step_and_leaves_nothing(slurm, job):
    for node in slurm.nodes:
        slurm.inside(node, "sh", "-c", f"rm -rf /tmp/exa-{os.getuid()}")
    run, number = job("whole", steps=8, every=4)
    assert slurm.wait(number, 400) == "COMPLETED"
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 8)
    staged = events(run, "staged")
    assert sorted((e["node"], e["copied"]) for e in staged) == [(n, True) for n in slurm.nodes]
    seen = json.loads((life(run) / "health.json").read_text())["ranks"]
    assert [r["host"] for r in seen] == list(slurm.nodes)
    assert (life(run) / "ranks/000000.log").read_text().endswith("done step=8\n")
    nothing_left(slurm, run)


def test_a_killed_rank_ends_the_life_and_its_log_arrives(slurm, job):
    run, number = job("rank", steps=100_000)
    training(run)
    node, pid = victim(slurm, run, 2)
    slurm.inside(node, "kill", "-KILL", pid)
    assert slurm.wait(number) == "FAILED"
    assert end(run)["cause"] == "rank-failure"
    assert end(run)["step"] >= 5
    assert any("task 2: Killed" in line for line in end(run)["evidence"])
    assert (life(run) / "ranks/000002.log").exists()
    nothing_left(slurm, run)


def test_ranks_and_agents_end_with_their_supervisor_and_the_next_life_goes_on(slurm, job):
    run, number = job("head", steps=30)
    training(run)
    node, pid = supervisor(slurm, run)
    slurm.inside(node, "kill", "-KILL", pid)
    slurm.wait(number)
    left = {node: slurm.processes(node, run) for node in slurm.nodes}
    assert left == {node: [] for node in slurm.nodes}
    assert not events(run, "ended", "job-")
    again = slurm.sbatch(run)
    assert slurm.wait(again, 400) == "COMPLETED"
    loaded = [e["step"] for e in events(run, "loaded", "rank-001-2")]
    assert loaded[0] >= 5
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 30)
    nothing_left(slurm, run)


def test_ranks_and_agents_end_with_their_supervisor_even_if_the_job_goes_on(slurm, job):
    """A script that goes on after exa job: the launchers alone have to end what they started."""
    run, number = job("bare", "--export=ALL,EXA_TEST_LINGER=120", steps=100_000)
    training(run)
    node, pid = supervisor(slurm, run)
    slurm.inside(node, "kill", "-KILL", pid)
    words = ("exa_train", "exa_cli")
    wait_until(
        lambda: not any(slurm.processes(n, run, word) for n in slurm.nodes for word in words), 30
    )
    assert slurm.state(number) == "RUNNING"


def test_ranks_fill_node_after_node(slurm, job):
    run, number = job("two", nodes=2, each=2, steps=4, every=4)
    assert slurm.wait(number, 400) == "COMPLETED"
    seen = json.loads((life(run) / "health.json").read_text())["ranks"]
    first = seen[0]["host"]
    assert [r["host"] == first for r in seen] == [True, True, False, False]
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 4)


def test_a_requeued_job_goes_on_as_its_next_life(slurm, job):
    run, number = job("again", steps=30, every=100)
    wait_until(lambda: events(run, "validated"), 300)
    slurm.run("scontrol", "requeue", number)
    wait_until(lambda: events(run, "ended", "job-001-2"), 500)
    lives = [e.get("restarts") for e in events(run, "life")]
    assert lives == [None, 1]
    (loaded,) = events(run, "loaded", "rank-001-2")
    assert loaded["step"] == events(run, "committed", "rank-001-1")[-1]["step"] > 0
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 30)
    assert slurm.wait(number) == "COMPLETED"
    nothing_left(slurm, run)


def test_after_scancel_a_run_has_saved_and_left_nothing(slurm, job):
    run, number = job("cancel", steps=100_000, every=100_000, minutes=10)
    wait_until(lambda: events(run, "validated"), 300)
    slurm.run("scancel", number)
    assert slurm.wait(number) == "CANCELLED"
    (saved,) = events(run, "committed")
    assert (end(run)["cause"], end(run)["step"]) == ("preempted", saved["step"])
    nothing_left(slurm, run)


def test_a_notice_that_only_steps_get_reaches_the_supervisor(slurm, job):
    """Slurm's preemption with GraceTime tells steps alone; so does scancel --signal."""
    run, number = job("notice", steps=100_000, every=100_000)
    wait_until(lambda: events(run, "validated"), 300)
    slurm.run("scancel", "--signal=TERM", number)
    assert slurm.wait(number) == "FAILED"
    assert json.loads((life(run) / "stop.json").read_text())["reason"] == "SIGTERM"
    assert end(run)["cause"] == "preempted"
    nothing_left(slurm, run)


def test_a_run_stops_in_time_when_the_scheduler_gives_less_than_was_planned(slurm, job):
    run, number = job(
        "short", minutes=3, walltime="01:00:00", stop_before="00:01:00",
        steps=100_000, every=100_000,
    )  # fmt: skip
    assert slurm.wait(number, 300) == "FAILED"
    assert end(run)["cause"] == "walltime"
    assert events(run, "committed")
    nothing_left(slurm, run)


def test_a_dead_agent_ends_no_rank_and_is_named(slurm, job):
    run, number = job("agent", steps=12)
    wait_until(lambda: events(run, "training"), 300)
    node = list(slurm.nodes)[3]
    (pid,) = slurm.processes(node, run, "exa_cli.job.agent")
    slurm.inside(node, "kill", "-KILL", pid)
    assert slurm.wait(number, 400) == "COMPLETED"
    assert end(run)["cause"] == "finished"
    assert any(node in line and "agent" in line for line in end(run)["evidence"])
    kept = [n for n in slurm.nodes if slurm.tmp(n)]
    assert kept == [node]


def test_an_allocation_of_another_size_is_refused(slurm, job):
    run, number = job("size", "-N", 3)
    assert slurm.wait(number) == "FAILED"
    assert end(run)["cause"] == "launch-failed"
    assert any("3 nodes, the plan wants 4" in line for line in end(run)["evidence"])


def test_signals_that_ranks_do_not_know_do_not_end_them(slurm, job):
    run, number = job("usr2", steps=12)
    wait_until(lambda: events(run, "training"), 300)
    node, pid = victim(slurm, run, 1)
    slurm.inside(node, "kill", f"-{signal.SIGUSR2.value}", pid)
    assert slurm.wait(number, 400) == "COMPLETED"
