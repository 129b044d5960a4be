"""Word from outside: who looks, how often, and what it is taken for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from train_runs import Run

from exa_cli.base import clock
from exa_cli.base.files import write_json
from exa_cli.runs import claims
from exa_train import outside, plan
from exa_train.outside import Ear
from exa_train.plan import Life
from exa_train.pulse import Pulse
from exa_train.step import Wishes


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Clock:
    hand = Clock()
    monkeypatch.setattr(clock, "monotonic", hand.monotonic)
    return hand


@pytest.fixture
def life(make_run: Callable[..., Run]) -> Life:
    return plan.read(make_run().begin_life())[1]


def test_rank_0_looks_for_a_stop_request_and_others_do_not(life: Life, hand: Clock) -> None:
    ears = [Ear(life, rank) for rank in (0, 1)]
    write_json(life.stop_file, {"reason": "walltime"})
    assert [ear.wishes().stop for ear in ears] == [True, False]
    assert ears[0].reason() == "walltime"


def test_it_looks_at_most_every_so_often_and_never_forgets(life: Life, hand: Clock) -> None:
    ear = Ear(life, 0)
    assert ear.wishes() == Wishes()
    write_json(life.stop_file, {"reason": "walltime"})
    assert ear.wishes() == Wishes(), "it looked a moment ago"
    hand.now += outside.LOOK_S
    assert ear.wishes() == Wishes(stop=True)
    life.stop_file.unlink()
    hand.now += outside.LOOK_S
    assert ear.wishes() == Wishes(stop=True)


def test_a_newer_epoch_supersedes(life: Life, hand: Clock) -> None:
    ear = Ear(life, 0)
    hand.now += outside.FENCE_S
    assert not ear.wishes().superseded
    claims.claim_next(life.run_dir, "001", 2, lambda: ())
    hand.now += outside.FENCE_S
    assert ear.wishes() == Wishes(superseded=True)


def test_a_heart_beats_twice_a_second_and_at_every_new_phase(tmp_path: Path, hand: Clock) -> None:
    path = tmp_path / "heartbeat" / "000003.json"
    pulse = Pulse(tmp_path, 3)

    def seen() -> tuple[str, int]:
        record = json.loads(path.read_text())
        return record["phase"], record["step"]

    pulse.beat("start", 0)
    assert seen() == ("start", 0)
    pulse.beat("step", 1)
    assert seen() == ("step", 1)
    pulse.beat("step", 2)
    assert seen() == ("step", 1), "too soon"
    hand.now += 0.5
    pulse.beat("step", 9)
    assert seen() == ("step", 9)
    assert list(path.parent.iterdir()) == [path]
