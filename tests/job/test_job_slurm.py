"""The supervisor in a real Slurm allocation of four nodes, each with a disk of its own.

Slow: torch starts on every node, and Slurm has its own pace.
"""

import json
import logging
import shutil
import tempfile
from pathlib import Path

import pytest
from lab.plugin import running
from slurm_kit import Lab, events, prepare, wait_until

from exa_cli.schedulers.hostlist import expand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILL_WAIT_S = "30"
"""Slurm's own default: what a run has to save and to tidy in after ``scancel``."""


@pytest.fixture(scope="module")
def cluster():
    with running(settings={"KillWait": KILL_WAIT_S}) as slurm:
        yield slurm


@pytest.fixture(scope="module")
def lab(cluster):
    folder = Path(tempfile.mkdtemp(prefix="exa-job-slurm-"))
    prepare([Path(json.__file__).parent, Path(logging.__file__).parent], folder / "data")
    yield Lab(cluster, folder)
    shutil.rmtree(folder)


@pytest.fixture
def job(lab, monkeypatch):
    """Make a run and submit it: (run, job id). Whatever becomes of the test, the job is ended."""
    lab.slurm.calm()
    monkeypatch.setenv("EXA_RUNS", str(lab.folder / "runs"))
    made = []

    def start(name, *options, hand_in=lab.sbatch, **changes):
        run = lab.make_run(name, **changes)
        made.append(hand_in(run, *options))
        return run, made[-1]

    yield start
    for job in made:
        lab.slurm.run("scancel", job)
        lab.wait(job)


def end(run):
    """The end that the newest life recorded."""
    return events(run, "ended", "job-")[-1]


def life(run, number=1):
    return run.life("001", number)


def training(run):
    """Wait until a run has a checkpoint."""
    wait_until(lambda: events(run, "committed"), 300)


def nothing_left(lab, run):
    left = {node: lab.processes(node, run) + lab.disk(node, run) for node in lab.nodes}
    assert left == {node: [] for node in lab.nodes}


def victim(lab, run, rank):
    """The node and the pid there of a rank."""
    node = json.loads((life(run) / "launch.json").read_text())["ranks"][rank]["node"]
    (pid,) = lab.processes(node, run, "-m exa_train")
    return node, pid


def supervisor(lab, run):
    found = [(n, p) for n in lab.nodes for p in lab.processes(n, run, "exa_cli job")]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("text", ["x[1-2]-ib[0-1]", "n[001-003,7]", "a,b[09-11]", "n[8-010]"])
def test_a_host_list_means_what_slurm_says(lab, text):
    assert list(expand(text)) == lab.slurm.run("scontrol", "show", "hostnames", text).split()


def test_a_run_over_four_nodes_ends_at_its_last_step_and_leaves_nothing(lab, job):
    lab.wipe()
    run, number = job("whole", steps=8, every=4)
    assert lab.wait(number, 400) == "COMPLETED"
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 8)
    staged = events(run, "staged")
    assert sorted((e["node"], e["copied"]) for e in staged) == [(n, True) for n in lab.nodes]
    seen = json.loads((life(run) / "health.json").read_text())["ranks"]
    assert [r["host"] for r in seen] == lab.nodes
    assert (life(run) / "ranks/000000.log").read_text().endswith("done step=8\n")
    nothing_left(lab, run)


def test_a_killed_rank_ends_the_life_and_its_log_arrives(lab, job):
    run, number = job("rank", steps=100_000)
    training(run)
    node, pid = victim(lab, run, 2)
    lab.kill(node, pid)
    assert lab.wait(number) == "FAILED"
    assert end(run)["cause"] == "rank-failure"
    assert end(run)["step"] >= 5
    assert any("task 2: Killed" in line for line in end(run)["evidence"])
    assert (life(run) / "ranks/000002.log").exists()
    nothing_left(lab, run)


def test_ranks_and_agents_end_with_their_supervisor_and_the_next_life_goes_on(lab, job):
    run, number = job("head", steps=30)
    training(run)
    node, pid = supervisor(lab, run)
    lab.kill(node, pid)
    lab.wait(number)
    left = {node: lab.processes(node, run) for node in lab.nodes}
    assert left == {node: [] for node in lab.nodes}
    assert not events(run, "ended", "job-")
    again = lab.sbatch(run)
    assert lab.wait(again, 400) == "COMPLETED"
    loaded = [e["step"] for e in events(run, "loaded", "rank-001-2")]
    assert loaded[0] >= 5
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 30)
    nothing_left(lab, run)


@pytest.mark.full
def test_ranks_and_agents_end_with_their_supervisor_even_if_the_job_goes_on(lab, job):
    """A script that goes on after exa job: the launchers alone have to end what they started."""
    run, number = job("bare", 120, hand_in=lab.linger, steps=100_000)
    training(run)
    node, pid = supervisor(lab, run)
    lab.kill(node, pid)
    words = ("exa_train", "exa_cli")
    wait_until(
        lambda: not any(lab.processes(n, run, word) for n in lab.nodes for word in words), 30
    )
    assert lab.state(number) == "RUNNING"


@pytest.mark.full
def test_ranks_fill_node_after_node(lab, job):
    run, number = job("two", nodes=2, each=2, steps=4, every=4)
    assert lab.wait(number, 400) == "COMPLETED"
    seen = json.loads((life(run) / "health.json").read_text())["ranks"]
    first = seen[0]["host"]
    assert [r["host"] == first for r in seen] == [True, True, False, False]
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 4)


@pytest.mark.full
def test_a_requeued_job_goes_on_as_its_next_life(lab, job):
    run, number = job("again", steps=30, every=100)
    wait_until(lambda: events(run, "validated"), 300)
    lab.slurm.run("scontrol", "requeue", number)
    wait_until(lambda: events(run, "ended", "job-001-2"), 500)
    lives = [e.get("restarts") for e in events(run, "life")]
    assert lives == [None, 1]
    (loaded,) = events(run, "loaded", "rank-001-2")
    assert loaded["step"] == events(run, "committed", "rank-001-1")[-1]["step"] > 0
    assert (end(run)["cause"], end(run)["step"]) == ("finished", 30)
    assert lab.wait(number) == "COMPLETED"
    nothing_left(lab, run)


@pytest.mark.full
def test_after_scancel_a_run_has_saved_and_left_nothing(lab, job):
    run, number = job("cancel", steps=100_000, every=100_000)
    wait_until(lambda: events(run, "validated"), 300)
    lab.slurm.run("scancel", number)
    assert lab.wait(number) == "CANCELLED"
    (saved,) = events(run, "committed")
    assert (end(run)["cause"], end(run)["step"]) == ("preempted", saved["step"])
    nothing_left(lab, run)


def test_a_notice_that_only_steps_get_reaches_the_supervisor(lab, job):
    """Slurm's preemption with GraceTime tells steps alone; so does scancel --signal."""
    run, number = job("notice", steps=100_000, every=100_000)
    wait_until(lambda: events(run, "validated"), 300)
    lab.slurm.run("scancel", "--signal=TERM", number)
    assert lab.wait(number) == "FAILED"
    assert json.loads((life(run) / "stop.json").read_text())["reason"] == "SIGTERM"
    assert end(run)["cause"] == "preempted"
    nothing_left(lab, run)


@pytest.mark.full
def test_a_run_stops_in_time_when_the_scheduler_gives_less_than_was_planned(lab, job):
    run, number = job(
        "short", "--time=3", walltime="01:00:00", stop_before="00:01:00",
        steps=100_000, every=100_000,
    )  # fmt: skip
    assert lab.wait(number, 300) == "FAILED"
    assert end(run)["cause"] == "walltime"
    assert events(run, "committed")
    nothing_left(lab, run)


def test_a_dead_agent_ends_no_rank_and_is_named(lab, job):
    run, number = job("agent", steps=12)
    wait_until(lambda: events(run, "training"), 300)
    node = list(lab.nodes)[3]
    (pid,) = lab.processes(node, run, "exa_cli.job.agent")
    lab.kill(node, pid)
    assert lab.wait(number, 400) == "COMPLETED"
    assert end(run)["cause"] == "finished"
    assert any(node in line and "agent" in line for line in end(run)["evidence"])
    kept = [n for n in lab.nodes if lab.disk(n, run)]
    assert kept == [node]


def test_an_allocation_of_another_size_is_refused(lab, job):
    run, number = job("size", "--nodes=3")
    assert lab.wait(number) == "FAILED"
    assert end(run)["cause"] == "launch-failed"
    assert any("3 nodes, the job asked for 4" in line for line in end(run)["evidence"])


@pytest.mark.full
def test_signals_that_ranks_do_not_know_do_not_end_them(lab, job):
    run, number = job("usr2", steps=12)
    wait_until(lambda: events(run, "training"), 300)
    node, pid = victim(lab, run, 1)
    lab.kill(node, pid, "USR2")
    assert lab.wait(number, 400) == "COMPLETED"
