"""A run that is killed anywhere and resumed ends with the same bits as one that was not.

The one that is killed saves beside its training, the other one while it waits.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from train_runs import Run

STEPS, EVERY = 50, 7

# Wide enough that torch splits its loops over two threads: below 32,768 elements it does not.
WIDE_MODEL = {"d_model": 128, "heads": 4, "head_dim": 32, "ffn": 128, "max_seq": 128}
WIDE_BATCH = {"seq_len": 128, "microbatch": 4, "global_batch": 8}

COMBINATIONS = [
    pytest.param("fp32", 2, 3, id="fp32-2threads-top3"),
    pytest.param("bf16", 1, 2, id="bf16-1thread-top2", marks=pytest.mark.slow),
    pytest.param("bf16", 2, 3, id="bf16-2threads-top3", marks=pytest.mark.slow),
    pytest.param("fp32", 1, 2, id="fp32-1thread-top2", marks=pytest.mark.slow),
]


def killed_somewhere(run: Run, chance: random.Random, first: int, last: int) -> None:
    """Train, and SIGKILL one rank at a random moment after a step between two."""
    ranks = run.start()
    goal = chance.randint(first, last)
    ranks.until(lambda: run.steps_logged(life=run.lives) >= goal)
    time.sleep(chance.random() * 0.02)  # into a step, a save or a validation: anywhere
    ranks.kill_rank(chance.randrange(run.world))
    assert ranks.wait(30) != 0


@pytest.mark.parametrize(("precision", "threads", "top_k"), COMBINATIONS)
def test_killed_and_resumed_is_bit_identical_to_uninterrupted(
    make_run: Callable[..., Run], precision: str, threads: int, top_k: int
) -> None:
    train = {"steps": STEPS, "precision": precision, "threads": threads, "validate_every": 9}
    wide = threads > 1
    options = {
        "every": EVERY,
        "model": {"top_k": top_k, **(WIDE_MODEL if wide else {})},
        "train": {**train, **(WIDE_BATCH if wide else {})},
    }
    whole = make_run("whole-0000", mode="sync", **options)
    broken = make_run("broken-0000", **options)
    whole.finish()
    chance = random.Random()
    killed_somewhere(broken, chance, EVERY + 1, 22)
    killed_somewhere(broken, chance, 23, 40)
    broken.finish()
    assert broken.events("loaded")[-1]["step"] >= EVERY
    assert broken.digest(STEPS) == whole.digest(STEPS)
    assert broken.losses() == whole.losses()
    assert broken.events("validated")[-1] == whole.events("validated")[-1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Run:
    """A finished run on one rank with checkpoints at steps 3, 6, 9 and 10."""
    run = Run(tmp_path_factory.mktemp("finished") / "done-0000", tiny_data, world=1, every=3)
    run.finish()
    return run


def flip_a_bit(checkpoint: Path) -> None:
    """In the middle of its data."""
    path = next(checkpoint.glob("data-*.exa"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def test_the_last_step_is_always_saved_and_done_comes_after_it(finished: Run) -> None:
    assert sorted(finished.committed()) == [3, 6, 9, 10]
    assert finished.events("done") == [{"step": 10}]
    assert [e["step"] for e in finished.events("validated")] == [5, 10]


def test_a_finished_run_is_done_at_once(finished: Run) -> None:
    lines = len(finished.metrics())
    finished.finish()
    assert finished.events("done")[-1] == {"step": 10}
    assert len(finished.events("training")) == 1
    assert len(finished.metrics()) == lines


def test_a_damaged_checkpoint_is_passed_over_with_its_reason(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(world=1, every=3)
    run.finish()
    digest = run.digest(10)
    flip_a_bit(run.committed()[10])
    run.finish()
    (skipped,) = run.events("skipped")
    assert skipped["name"].startswith("step-00000010.")
    assert "chunk" in skipped["reason"]
    assert run.events("loaded")[-1]["step"] == 9
    fresh = run.events("committed")[-1]
    assert fresh["step"] == 10
    assert fresh["epoch"] == 2
    flipped = [
        p for p in (run.path / "checkpoints").glob("step-00000010.*") if p.name != fresh["name"]
    ]
    assert flipped, "a damaged checkpoint is evidence and stays"
    for path in flipped:
        path.rename(path.with_name("." + path.name))
    assert run.digest(10) == digest


def test_when_no_committed_checkpoint_is_readable_the_run_stops(
    make_run: Callable[..., Run],
) -> None:
    """Beginning again at step 0 would bury what may still be repaired."""
    run = make_run(world=1, every=5)
    run.finish()
    for checkpoint in run.committed().values():
        flip_a_bit(checkpoint)
    assert run.start().wait() == 74
    assert "none of 2 committed checkpoints can be used" in run.error()["what"]
    assert len(run.events("training")) == 1
    assert sorted(run.committed()) == [5, 10]


def test_another_layout_is_told_that_bits_may_differ(make_run: Callable[..., Run]) -> None:
    run = make_run(world=1, every=5)
    run.finish()
    plan = json.loads((run.path / "plan.json").read_text())
    plan["train"]["threads"] = 2
    plan["train"]["steps"] = 12
    (run.path / "plan.json").write_text(json.dumps(plan))
    run.finish()
    assert run.events("promise-downgraded") == [{"step": 10, "keys": ["threads"]}]
    assert run.events("done")[-1] == {"step": 12}


def test_only_so_many_checkpoints_are_kept(make_run: Callable[..., Run]) -> None:
    run = make_run(world=1, every=2, keep=2)
    run.finish()
    assert sorted(run.committed()) == [8, 10]
    assert [len(e["names"]) for e in run.events("pruned")] == [1, 1, 1]
