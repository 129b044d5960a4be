"""Runs that meet bad numbers and broken replicas: what heals ends in the undisturbed run's bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_runs import Run

from exa_cli.checkpoint import manifest
from exa_train.checkpoint import load, save
from exa_train.checkpoint.tensors import DTYPES

BAD_NUMBERS = 72
SIGN, EXPONENT, MANTISSA = 31, 30, 12
HEAD = "head.weight"


def nan(*steps: int, rank: int = 1, tries: int = 2) -> dict[str, Any]:
    return {"kind": "nan", "rank": rank, "steps": steps, "tries": tries}


def flip(tensor: str, bit: int, step: int, rank: int = 1) -> dict[str, Any]:
    return {"kind": "flip", "rank": rank, "steps": [step], "tensor": tensor, "bit": bit}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Callable[..., str]:
    """The last step's digest of a run that nothing happens to, by its layout."""
    known: dict[str, str] = {}

    def digest(**options: Any) -> str:
        key = json.dumps(options, sort_keys=True)
        if key not in known:
            run = Run(tmp_path_factory.mktemp("well") / "well-0000", tiny_data, **options)
            run.finish()
            for kind in ("retried", "skipped-step", "diverged", "unsound", "rolled-back"):
                assert not run.events(kind)
            known[key] = run.digest(10)
        return known[key]

    return digest


def test_a_slip_of_one_rank_costs_a_second_try_and_no_bit(
    make_run: Callable[..., Run], undisturbed: Callable[..., str]
) -> None:
    run = make_run()
    run.finish([nan(4, tries=1)])
    (retried,) = run.events("retried")
    assert retried == {"step": 4, "quantity": "the loss (nan)", "ranks": [1], "tensors": []}
    assert not run.events("skipped-step")
    assert run.digest(10) == undisturbed()


def test_a_step_that_fails_again_is_skipped_alike_with_and_without_a_resume(
    make_run: Callable[..., Run],
) -> None:
    faults = [nan(3, 6, 7)]
    whole, parts = make_run("whole-0000", every=2), make_run("parts-0000", every=2)
    whole.finish(faults)
    told = [(e["step"], e["in_a_row"], e["in_all"]) for e in whole.events("skipped-step")]
    assert told == [(3, 1, 1), (6, 1, 2), (7, 2, 3)]
    assert sorted(whole.committed()) == [2, 4, 8, 10], "step 6 waits for one that updates"
    sealed = manifest.read(whole.committed()[10])
    assert sealed is not None
    assert sealed.meta["optimizer_steps"] == 7
    assert [r["step"] for r in whole.metrics()] == [1, 2, 4, 5, 8, 9, 10]

    parts.finish(faults)
    for step in (8, 10):
        folder = parts.committed()[step]
        folder.rename(folder.with_name("." + folder.name))
    parts.finish(faults)
    assert parts.events("loaded")[-1]["step"] == 4
    assert [e["in_all"] for e in parts.events("skipped-step")] == [1, 2, 3, 2, 3]
    assert parts.digest(10) == whole.digest(10)


def test_only_so_many_steps_in_a_row_are_skipped_and_none_of_them_is_committed(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(every=5)
    assert run.start(faults=[nan(*range(4, 11))]).wait() == BAD_NUMBERS
    assert [e["step"] for e in run.events("skipped-step")] == [4, 5, 6]
    for rank in (0, 1):
        error = run.error(rank)
        assert "not finite in step 7, twice from the same state, after 3 skipped" in error["what"]
        assert "on rank 1, before the update" in error["where"]
    assert not run.committed()


def test_weights_that_spoil_every_step_are_left_for_a_checkpoint(
    make_run: Callable[..., Run], undisturbed: Callable[..., str]
) -> None:
    """Finite and huge after step 6: no look at them tells, but steps fail from there on."""
    run = make_run(policy={"bad_step": "roll-back"})
    run.finish([flip(f"model.{HEAD}", EXPONENT, step=6)])
    (back,) = run.events("rolled-back")
    assert (back["step"], back["to"]) == (7, 5)
    assert "is not finite, twice" in back["why"]
    assert run.digest(10) == undisturbed()


@pytest.mark.full
def test_a_step_that_always_fails_does_not_send_the_run_back_for_ever(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(every=2, policy={"bad_step": "roll-back"})
    assert run.start(faults=[nan(6)]).wait() == BAD_NUMBERS
    assert [(e["step"], e["to"]) for e in run.events("rolled-back")] == [(6, 4), (6, 2)]
    assert "no checkpoint older than step 2" in run.error()["where"]


def test_a_moment_that_adamw_cannot_have_made_is_found_before_it_is_saved(
    make_run: Callable[..., Run], undisturbed: Callable[..., str]
) -> None:
    tensor = f"optim.{HEAD}.exp_avg_sq"
    run = make_run()
    run.finish([flip(tensor, SIGN, step=10)])
    (unsound,) = run.events("unsound")
    assert (unsound["step"], unsound["ranks"], unsound["done"]) == (10, [1], "rolled back")
    assert unsound["faults"][0].startswith(f"rank 1: {tensor} is negative in 1 of")
    assert [(e["step"], e["to"]) for e in run.events("rolled-back")] == [(10, 5)]
    assert run.digest(10) == undisturbed()


THREE = {"world": 3, "engine": "ddp", "train": {"global_batch": 6}}
TWO = {"world": 2, "engine": "ddp", "every": 2}


def test_a_replica_that_differs_is_repaired_from_the_majority(
    make_run: Callable[..., Run], undisturbed: Callable[..., str]
) -> None:
    run = make_run(**THREE, policy={"compare_every": 2})
    names = [f"model.{HEAD}", "optim.embed.weight.exp_avg"]
    run.finish([flip(names[0], MANTISSA, step=4), flip(names[1], MANTISSA, step=4)])
    (diverged,) = run.events("diverged")
    assert (diverged["step"], diverged["ranks"]) == (4, [1])
    assert sorted(diverged["tensors"]) == sorted(names)
    assert diverged["done"] == "repaired from rank 0"
    assert not run.events("rolled-back")
    assert run.digest(10) == undisturbed(**THREE)


def test_two_replicas_that_differ_have_no_judge_and_go_back(
    make_run: Callable[..., Run], undisturbed: Callable[..., str]
) -> None:
    run = make_run(**TWO)
    run.finish([flip(f"model.{HEAD}", MANTISSA, step=6)])
    (diverged,) = run.events("diverged")
    assert (diverged["step"], diverged["ranks"], diverged["done"]) == (6, [0, 1], "rolled back")
    assert diverged["tensors"] == [f"model.{HEAD}"]
    assert [(e["step"], e["to"]) for e in run.events("rolled-back")] == [(6, 4)]
    assert run.digest(10) == undisturbed(**TWO)


@pytest.mark.full
def test_of_two_replicas_the_sound_one_is_right(
    make_run: Callable[..., Run], undisturbed: Callable[..., str]
) -> None:
    run = make_run(**TWO)
    run.finish([flip(f"optim.{HEAD}.exp_avg_sq", SIGN, step=6, rank=0)])
    (diverged,) = run.events("diverged")
    assert (diverged["ranks"], diverged["done"]) == ([0], "repaired from rank 1")
    assert run.digest(10) == undisturbed(**TWO)


@pytest.mark.full
def test_a_policy_of_stopping_stops(make_run: Callable[..., Run]) -> None:
    run = make_run(**TWO, policy={"bad_step": "stop"})
    assert run.start(faults=[flip(f"model.{HEAD}", MANTISSA, step=6)]).wait() == BAD_NUMBERS
    assert run.events("diverged")[0]["done"] == "stopped"
    assert sorted(run.committed()) == [2, 4]


@pytest.mark.parametrize("engine", [pytest.param("ddp", marks=pytest.mark.full), "fsdp2"])
def test_a_checkpoint_that_adamw_cannot_have_made_is_passed_over(
    make_run: Callable[..., Run], engine: str
) -> None:
    """Whole, undamaged, newest: and what it holds was wrong before it was hashed."""
    run = make_run(every=5, engine=engine)
    run.finish()
    digest, spoilt = run.digest(10), f"optim.{HEAD}.exp_avg_sq"
    path = run.committed()[10]
    sealed = manifest.read(path)
    assert sealed is not None
    held = {n: torch.empty(t.shape, dtype=DTYPES[t.dtype]) for n, t in sealed.tensors.items()}
    load(held, root=path.parent, candidates=[path.name])
    held[spoilt].zero_()
    path.rename(path.with_name("." + path.name))
    made = save(held, root=path.parent, step=10, epoch=1, meta=sealed.meta)
    run.finish()
    (skipped,) = run.events("skipped")
    assert skipped["name"] == made.name
    assert f"{HEAD}.exp_avg² is over 1.357·{spoilt} in" in skipped["reason"]
    assert run.events("loaded")[-1]["step"] == 5
    (path.parent / made.name).rename(path.parent / ("." + made.name))
    assert run.digest(10) == digest
