"""Which steps are saved: what was planned, and what is measured for "auto"."""

from __future__ import annotations

from typing import Any

import pytest

from exa_cli.base import clock
from exa_cli.runs.interrupts import History
from exa_train.pace import FIRST, Pace, Seen
from exa_train.plan import Saving

HOUR = 3600.0


def policy(**values: Any) -> Saving:
    told = {"every": 1000, "keep": 3, "adaptive": True, "interrupt_s": 8 * HOUR}
    return Saving(**{**told, "interrupt_source": "a prior", **values})


def seen(stall: float = 1.0, mean: float = 8 * HOUR, step: float = 1.0) -> Seen:
    return Seen(stall, 2 * stall, step, mean, "a prior")


def saved(pace: Pace, first: int, last: int) -> list[int]:
    """The steps that are saved when nothing is learnt from it."""
    steps = []
    for step in range(first, last + 1):
        if pace.due(step):
            pace.began(step)
            steps.append(step)
    return steps


def test_a_given_interval_is_kept_wherever_a_life_begins() -> None:
    pace = Pace(policy(every=10, adaptive=False), 13, History(0, 0.0))
    assert saved(pace, 14, 45) == [20, 30, 40]


def test_an_adaptive_life_saves_early_once_to_learn_what_it_costs() -> None:
    pace = Pace(policy(), 50, History(0, 0.0))
    assert saved(pace, 51, 2600) == [50 + FIRST, 1050 + FIRST, 2050 + FIRST]


def test_a_short_run_saves_as_planned() -> None:
    assert saved(Pace(policy(every=80), 0, History(0, 0.0)), 1, 300) == [80, 160, 240]


def test_the_next_save_is_counted_from_the_one_begun_last() -> None:
    pace = Pace(policy(), 0, History(0, 0.0))
    pace.began(200)
    assert pace.adapt([seen()]) is not None
    assert pace.every == 239
    assert saved(pace, 201, 700) == [439, 678]


def test_the_slowest_rank_says_what_a_save_costs_and_rank_0_the_rest() -> None:
    pace = Pace(policy(), 0, History(0, 0.0))
    slow = Seen(4.0, 0.0, step_s=77.0, mean_s=77.0, source="not rank 0")
    reason = pace.adapt([seen(1.0), slow])
    assert reason is not None and "holds up training for 4 s" in reason
    assert "(a prior)" in reason


def test_one_slow_save_changes_nothing_and_nothing_is_told() -> None:
    pace = Pace(policy(), 0, History(0, 0.0))
    for _ in range(4):
        pace.adapt([seen()])
    assert pace.adapt([seen(stall=100.0)]) is None
    assert pace.every == 239


def test_before_a_step_was_measured_nothing_is_decided() -> None:
    pace = Pace(policy(), 0, History(0, 0.0))
    assert pace.adapt([seen(step=0.0)]) is None
    assert pace.every == 1000


def test_the_first_step_of_a_life_and_saving_itself_are_not_the_pace_of_training() -> None:
    pace = Pace(policy(), 0, History(0, 0.0))
    pace.step_ended(1000.0)
    pace.goes_on(2000.0)
    pace.step_ended(2003.0)
    pace.goes_on(9000.0)
    pace.step_ended(9005.0)
    assert pace.seen(1.0, 2.0).step_s == 4.0


def test_an_interrupt_of_the_run_counts_more_than_what_was_assumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    assumed = Pace(policy(), 0, History(0, 5 * HOUR)).seen(1.0, 2.0)
    assert (assumed.mean_s, assumed.source) == (8 * HOUR, "a prior")
    pace = Pace(policy(), 0, History(2, 5 * HOUR))
    now[0] += HOUR
    found = pace.seen(1.0, 2.0)
    assert found.mean_s == pytest.approx(3 * HOUR)
    assert found.source == "2 in 6 h of training"
