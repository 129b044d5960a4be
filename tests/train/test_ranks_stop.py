"""A run that is asked to stop saves first; one that meets bad numbers commits none of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from train_runs import Run

from exa_cli.base.files import write_json
from exa_cli.runs import claims

LONG = {"steps": 100000, "validate_every": 100000, "warmup": 10}
STOPPED, BAD_NUMBERS = 75, 72


def test_a_stop_request_saves_the_step_and_exits_75(make_run: Callable[..., Run]) -> None:
    run = make_run(every=100000, train=LONG)
    ranks = run.start()
    ranks.until(lambda: run.steps_logged() >= 3)
    write_json(run.folder / "stop.json", {"reason": "walltime", "deadline": None})
    assert ranks.wait() == STOPPED
    (stopped,) = run.events("stopped")
    assert stopped["reason"] == "walltime"
    assert list(run.committed()) == [stopped["step"]]
    assert not run.events("done")
    assert not list((run.folder / "ranks").glob("*.error.json"))

    run.begin_life()
    write_json(run.folder / "stop.json", {"reason": "walltime", "deadline": None})
    assert run.start(run.folder / "launch.json").wait() == STOPPED
    assert run.events("loaded")[-1]["step"] == stopped["step"]
    assert run.events("stopped")[-1]["step"] == stopped["step"] + 1


def test_a_signal_to_any_rank_stops_all_at_the_same_step(make_run: Callable[..., Run]) -> None:
    run = make_run(every=100000, train=LONG)
    ranks = run.start()
    ranks.until(lambda: run.steps_logged() >= 3)
    os.kill(ranks.pids()[1], signal.SIGTERM)
    assert ranks.wait() == STOPPED
    (stopped,) = run.events("stopped")
    assert list(run.committed()) == [stopped["step"]]


def test_a_superseded_life_ends_without_another_checkpoint(make_run: Callable[..., Run]) -> None:
    run = make_run(world=1, every=100000, train={**LONG, "steps": 10**7})
    ranks = run.start()
    ranks.until(lambda: run.steps_logged() >= 3)
    claims.claim_next(run.path, "002", 1, lambda: ())
    assert ranks.wait() == 1
    assert run.error()["cause"] == "stopped"
    assert not run.committed()


def test_a_diverging_run_ends_before_it_commits_what_is_not_finite(
    make_run: Callable[..., Run],
) -> None:
    """At this learning rate step 1 leaves huge finite weights, and step 2 overflows."""
    run = make_run(
        every=1,
        train={"lr": 1e30, "warmup": 0, "schedule": "constant"},
        policy={"bad_step": "stop"},
    )
    assert run.start().wait() == BAD_NUMBERS
    for rank in (0, 1):
        error = run.error(rank)
        assert error["cause"] == "bad-numbers"
        assert "the loss (nan) is not finite in step 2, twice" in error["what"]
        assert "on ranks 0, 1, before the update" in error["where"]
        assert error["step"] == 1
    assert list(run.committed()) == [1]
    assert [e["step"] for e in run.events("committed")] == [1]


def test_weights_that_are_not_finite_are_not_committed(make_run: Callable[..., Run]) -> None:
    """A learning rate that overflows in the update itself: the step's loss was still fine."""
    run = make_run(world=1, every=1, train={"lr": 1e38, "warmup": 0, "weight_decay": 100.0})
    assert run.start().wait() == BAD_NUMBERS
    error = run.error()
    assert error["cause"] == "bad-numbers"
    assert "no way back from step 1: rank 0: " in error["what"]
    assert "holds NaN or infinity" in error["what"]
    assert "there is no checkpoint" in error["where"]
    assert not run.committed()


def test_stacks_of_a_running_rank_are_dumped_on_demand(make_run: Callable[..., Run]) -> None:
    run = make_run(every=100000, train=LONG)
    ranks = run.start()
    ranks.until(lambda: run.steps_logged() >= 1)
    stacks = run.folder / "stacks" / "000001.txt"
    os.kill(ranks.pids()[1], signal.SIGUSR1)
    ranks.until(lambda: "loop.py" in stacks.read_text())
    write_json(run.folder / "stop.json", {"reason": "test", "deadline": None})
    assert ranks.wait() == STOPPED
