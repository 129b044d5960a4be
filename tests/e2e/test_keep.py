"""A run goes on by itself: in its allocation, by the ending job, or by whoever watches it."""

import shutil
import signal

import pytest
from kit import last_state, processes, runner, stop_in_a_step

from exa_cli.base import proc

pytestmark = pytest.mark.slow


def kill(found):
    for process in found:
        proc.send(process, signal.SIGKILL)


def trained(exa, name, step):
    exa.wait_until(lambda: exa.json("status", name)["step"] >= step)
    return exa.run_dir(name)


def attempts(exa, name):
    return exa.json("status", name)["attempts"]


def causes(exa, name):
    return [(a["state"], a["cause"]) for a in attempts(exa, name)]


def test_a_killed_rank_costs_a_life_and_no_job_and_the_state_is_that_of_a_whole_run(exa):
    exa.submit("whole", "--wait")
    exa.submit("hurt")
    run = trained(exa, "hurt", 7)
    kill(processes(run, "exa_train")[:1])
    answer = exa.settle("hurt")
    assert (answer["state"], answer["step"]) == ("done", 40)
    (only,) = answer["attempts"]
    assert (only["cause"], only["lives"]) == ("finished", 2)
    assert last_state(run) == last_state(exa.run_dir("whole"))
    assert "rank-failure" in exa("report", "hurt").stdout


def test_when_nothing_is_left_of_its_job_a_run_goes_on_as_soon_as_it_is_watched(exa):
    """As after a power cut: nobody told the end, nor when it was."""
    exa.submit("orphan")
    run = trained(exa, "orphan", 6)
    kill(runner(exa) + processes(run))
    exa.wait_until(lambda: not processes(run))
    answer = exa.json("status", "orphan")
    assert (answer["state"], answer["next"]["action"]) == ("failed", "resume")
    assert answer["attempts"][0]["ended"] is None
    assert "watching 1 runs\n" in exa("watch").stderr
    assert causes(exa, "orphan") == [("ended", "unknown"), ("ended", "finished")]
    assert "unknown, then resubmit" in exa("report", "orphan").stdout


def test_a_waiting_submit_keeps_its_run_alive(exa):
    waiting = exa.start("submit", exa.runfile()[0], "--name", "kept", "--wait")
    exa.wait_until(lambda: list(exa.home.glob("runs/kept-*/metrics/metrics.jsonl")))
    run = trained(exa, "kept", 6)
    kill(processes(run, "exa_cli job"))
    assert waiting.wait(240) == 0, waiting.stderr.read()
    assert len(causes(exa, "kept")) == 2


def test_after_its_walltime_a_run_goes_on_in_another_job(exa):
    """The job itself hands the next one in: nobody watches."""
    settings = {"policy.stop_before": '"00:00:08"', "train.steps": 100000, "checkpoint.every": 1000}
    exa.submit("long", "--walltime", "00:00:45", settings=settings)
    exa.wait_until(lambda: attempts(exa, "long")[1:] and attempts(exa, "long")[1]["first_step"])
    exa("cancel", "long")
    answer = exa.settle("long")
    assert answer["state"] == "cancelled"
    first, second = answer["attempts"][:2]
    assert first["cause"] == "walltime"
    assert second["first_step"] == first["last_step"] + 1


def test_a_run_that_keeps_no_step_is_stopped_and_says_so(exa):
    """A rank that dies before the first checkpoint, in every life."""
    settings = {"policy.retries": 1, "checkpoint.every": 39}
    exa.submit("loop", settings=settings)
    for life in (1, 2):
        found = exa.wait_until(
            lambda n=life: (
                exa.home.glob(f"runs/loop-*/attempts/001/lives/{n}/launch.json")
                and processes(exa.run_dir("loop"), "exa_train", f"lives/{n}/")
            )
        )
        kill(found[:1])
    answer = exa.settle("loop")
    assert (answer["state"], answer["cause"]) == ("failed", "rank-failure")
    assert "2 failures in a row" in answer["next"]["reason"]
    assert exa.code("watch", "loop") == 8
    assert len(exa.json("status", "loop")["attempts"]) == 1


def test_a_run_that_cannot_be_read_is_named_and_not_called_over(exa):
    torn = exa.home / "runs" / "torn"
    torn.mkdir(parents=True)
    (torn / "journal").write_text("in its place")
    said = exa("watch").stderr
    assert "watching 0 runs\n" in said and "torn is not watched: the journal is gone" in said
    shutil.rmtree(torn)


def test_what_a_user_cancelled_is_never_handed_in_again(exa):
    exa.submit("unwanted", settings={"policy.retries": 0})
    run = trained(exa, "unwanted", 6)
    exa("cancel", "unwanted")
    exa.settle("unwanted")
    assert exa.json("watch", "unwanted", "--once")["runs"][0]["action"] == "settled"
    assert [a["cause"] for a in exa.json("status", "unwanted")["attempts"]] == ["cancelled"]
    assert not processes(run)


def test_a_cancel_while_the_next_attempt_is_waited_for_stops_that(exa):
    settings = {"policy.retries": 9, "policy.backoff": '"00:01:00"'}
    exa.submit("waiting", settings=settings)
    run = trained(exa, "waiting", 6)
    kill(processes(run, "exa_cli job"))
    exa.wait_until(lambda: not processes(run))
    assert exa.json("watch", "waiting", "--once")["runs"][0]["action"] == "waits"
    answer = exa.json("status", "waiting")
    assert (answer["state"], answer["next"]["action"]) == ("resubmitting", "resubmit")
    exa("cancel", "waiting")
    assert exa.json("status", "waiting")["state"] == "cancelled"
    assert exa.json("watch", "waiting", "--once")["runs"][0]["action"] == "settled"
    assert len(exa.json("status", "waiting")["attempts"]) == 1


def test_a_spent_budget_ends_a_run(exa):
    settings = {"policy.node_hours": 0.0001}
    exa.submit("dear", settings=settings)
    run = trained(exa, "dear", 6)
    kill(processes(run, "exa_train")[:1])
    answer = exa.settle("dear")
    assert (answer["state"], answer["cause"]) == ("failed", "rank-failure")
    assert "node-hours are used" in answer["next"]["reason"]


def test_a_stopped_rank_is_found_named_and_replaced_with_all_stacks_saved(exa):
    exa.submit("stuck", settings={"policy.hang": '"00:00:08"'})
    run = trained(exa, "stuck", 6)
    victim = processes(run, "exa_train")[0]
    stop_in_a_step(exa, victim)
    answer = exa.settle("stuck")
    assert (answer["state"], answer["attempts"][0]["lives"]) == ("done", 2)
    (life, _) = exa.json("report", "stuck")["lives"]
    assert life["cause"] == "hang"
    assert "no stack from rank" in life["evidence"][0]
    stacks = run / "attempts/001/lives/1/stacks"
    assert sum(p.stat().st_size > 0 for p in stacks.glob("00000?.txt")) == 1
    assert "State:\tT (stopped)" in "".join(p.read_text() for p in stacks.glob("*.kernel.txt"))
    assert not proc.alive(victim)
