"""What a rank is told: typed, or refused with the file and the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from train_runs import Run

from exa_train import plan
from exa_train.faults import LaunchFailed


def test_a_launch_record_leads_to_the_plan(make_run: Callable[..., Run]) -> None:
    run = make_run()
    found, life, digest = plan.read(run.begin_life())
    assert found.parallel == plan.Parallel("fsdp2", 2)
    assert (found.train.microbatches, found.rounds, found.train.tokens) == (4, 2, 128)
    assert (life.attempt, life.life, life.epoch, life.candidates) == ("001", 1, 1, ())
    assert life.ranks[1].scratch == run.path / "scratch/n1"
    assert life.stop_file == run.folder / "stop.json"
    assert len(digest) == 64


def test_keys_of_a_newer_exa_are_left_alone(make_run: Callable[..., Run]) -> None:
    run = make_run()
    edit(run, lambda raw: raw["train"].update(novelty=1))
    assert plan.read(run.begin_life())[0].train.steps == 10


def test_a_plan_of_an_older_exa_saves_as_often_as_it_says(make_run: Callable[..., Run]) -> None:
    run = make_run(every=4)
    edit(run, lambda raw: raw.update(checkpoint={"every": 4, "keep": 2}))
    found = plan.read(run.begin_life())[0].checkpoint
    assert (found.every, found.keep, found.mode, found.adaptive) == (4, 2, "async", False)


def edit(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    path = run.path / "plan.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw["train"].pop("clip"), "'clip' is missing"),
        (lambda raw: raw.pop("data"), "'data' is missing"),
        (lambda raw: raw["train"].update(microbatch=3), "microbatch 3 does not divide"),
        (lambda raw: raw["parallel"].update(world=3), "3 ranks do not divide the step's 4"),
        (lambda raw: raw.update(train=[]), "not what a rank expects"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_with_its_place(
    make_run: Callable[..., Run], change: Callable[[dict[str, Any]], object], words: str
) -> None:
    run = make_run()
    edit(run, change)
    with pytest.raises(LaunchFailed) as raised:
        plan.read(run.begin_life())
    assert words in raised.value.what
    assert raised.value.where == str(run.path / "plan.json")


def test_a_torn_or_missing_file_is_refused_with_its_path(make_run: Callable[..., Run]) -> None:
    run = make_run()
    launch = run.begin_life()
    (run.path / "plan.json").write_text('{"schema": 1, "ru')
    with pytest.raises(LaunchFailed, match="not what a rank expects"):
        plan.read(launch)
    (run.path / "plan.json").unlink()
    with pytest.raises(LaunchFailed, match="cannot read it: No such file"):
        plan.read(launch)
