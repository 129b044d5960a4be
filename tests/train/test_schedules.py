"""Learning rates: bounded, continuous, and where the plan says they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_runs import TRAIN

from exa_train.plan import Train
from exa_train.schedule import factor, learning_rate


def plan(**changes: Any) -> Train:
    return cast("Train", SimpleNamespace(**{**TRAIN, **changes}))


@st.composite
def plans(draw: st.DrawFn) -> Train:
    steps = draw(st.integers(1, 400))
    return plan(
        steps=steps,
        warmup=draw(st.integers(0, steps)),
        schedule=draw(st.sampled_from(("cosine", "wsd", "constant"))),
        min_lr_ratio=draw(st.floats(0, 1)),
        decay_fraction=draw(st.floats(0.01, 1)),
    )


@given(plans())
def test_the_factor_stays_positive_and_at_most_one(train: Train) -> None:
    for step in range(1, train.steps + 1):
        assert 0 < factor(step, train) <= 1


@given(plans())
def test_it_rises_through_the_warm_up_and_never_after(train: Train) -> None:
    values = [factor(step, train) for step in range(1, train.steps + 1)]
    up, down = values[: train.warmup], values[max(0, train.warmup - 1) :]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)


@given(plans())
def test_the_first_step_after_the_warm_up_uses_the_peak(train: Train) -> None:
    if train.warmup < train.steps:
        assert factor(train.warmup + 1, train) == 1


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_floor_is_reached_one_step_after_the_last(schedule: str, floor: float) -> None:
    train = plan(steps=100, warmup=10, schedule=schedule, min_lr_ratio=floor)
    assert factor(101, train) == pytest.approx(floor, abs=1e-12)
    assert factor(100, train) > floor


def test_wsd_is_flat_until_the_share_of_steps_that_decays() -> None:
    train = plan(steps=100, warmup=10, schedule="wsd", decay_fraction=0.3)
    assert all(factor(step, train) == 1 for step in range(10, 72))
    assert factor(72, train) == pytest.approx(1 - 1 / 30)
    assert factor(86, train) == pytest.approx(0.5)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    train = plan(steps=110, warmup=10, schedule="cosine", min_lr_ratio=0.2)
    assert factor(61, train) == pytest.approx(0.6)


def test_the_rate_is_the_peak_times_the_factor() -> None:
    train = plan(steps=100, warmup=10, lr=2e-3)
    assert learning_rate(5, train) == pytest.approx(1e-3)
