"""Saving beside the training: steps do not wait, every rank hears alike, nothing lies."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from rank_stage import Act, Result, Stage

from exa_cli.checkpoint.select import choose
from exa_cli.checkpoint.verify import survey, verify


def _kinds(result: Result) -> list[str]:
    return [event for event, _ in result["events"]]


def _steps(result: Result, kind: str) -> list[int]:
    return [fields["step"] for event, fields in result["events"] if event == kind]


def _loads(stage: Stage, folder: Path) -> list[Result]:
    """What a resume would load; it is compared with what its step must be."""
    reports = survey(folder / "checkpoints", verify)
    assert {report.verdict for report in reports} <= {"good", "incomplete"}
    candidates = list(choose(reports, lambda name, epoch: True).candidates)
    (found,) = stage.play(folder, Act("loaded", 2, {"candidates": candidates}))
    return found


def test_steps_do_not_wait_for_a_slow_disk_but_the_next_save_and_a_stop_do(
    tmp_path: Path, stage: Stage
) -> None:
    """The disk takes nothing until the training waits: so whatever comes before did not wait."""
    (results,) = stage.play(tmp_path, Act("slow_disk", 2, {"steps": 5}))
    for result in results:
        assert result["before"] == [], "four steps were taken while the save of step 5 stood still"
        assert _kinds(result)[:2] == ["waits", "committed"]
        assert _steps(result, "committed") == [5, 10, 11]
        assert result["events"][0][1]["step"] == 10, "the due save waited for the one in flight"
        told = result["events"][1][1]
        assert told["seconds"] >= told["stall_s"] >= 0
        assert result["stall"]["save_stall_s"] > 0
    assert all(one["right"] and one["step"] == 11 for one in _loads(stage, tmp_path))


def test_what_is_saved_is_the_state_of_its_step_though_training_went_on(
    tmp_path: Path, stage: Stage
) -> None:
    (results,) = stage.play(tmp_path, Act("slow_disk", 2, {"steps": 3}))
    names = [fields["name"] for event, fields in results[0]["events"] if event == "committed"]
    for name, step in zip(names, (3, 6, 7), strict=True):
        (found,) = stage.play(tmp_path, Act("loaded", 2, {"candidates": [name]}))
        assert all(one["right"] and one["step"] == step for one in found)
        assert all(one["meta"] == {"step": step} for one in found)


def test_every_rank_looks_at_the_end_of_a_save_in_the_same_step(
    tmp_path: Path, stage: Stage
) -> None:
    (results,) = stage.play(tmp_path, Act("collected_alike", 3, {"seed": 5}))
    assert results[0] == results[1] == results[2]
    assert results[0]["committed"] == list(range(1, 14))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_save_that_fails_in_the_background_is_raised_on_every_rank_in_the_same_step(
    tmp_path: Path, stage: Stage, rank: int
) -> None:
    options = {"rank": rank, "error": "EIO", "fails": 1}
    ((first, second),) = stage.play(tmp_path, Act("failing_in_background", 2, options))
    assert first["error"] == second["error"] == "CheckpointFailed"
    assert first["words"] == second["words"]
    assert first["step"] == second["step"] > first["began"]
    for result in (first, second):
        assert _kinds(result)[-1] == "save-failed"
        assert result["events"][-1][1]["again"] is False
    assert all(one["right"] and one["step"] == 2 for one in _loads(stage, tmp_path))


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT"])
def test_a_full_disk_is_tried_again_at_the_next_due_step_and_the_run_goes_on(
    tmp_path: Path, stage: Stage, error: str
) -> None:
    options = {"rank": 1, "error": error, "fails": 1}
    (results,) = stage.play(tmp_path, Act("failing_in_background", 2, options))
    for result in results:
        assert result["error"] is None
        (failed,) = [fields for event, fields in result["events"] if event == "save-failed"]
        assert (failed["cause"], failed["again"]) == ("disk-full", True)
        committed = _steps(result, "committed")
        assert failed["step"] not in committed
        assert failed["step"] + 2 in committed
    assert all(one["right"] for one in _loads(stage, tmp_path))


def test_a_disk_that_stays_full_ends_the_run_with_its_last_good_checkpoint_untouched(
    tmp_path: Path, stage: Stage
) -> None:
    options = {"rank": 0, "error": "ENOSPC", "fails": 2, "keep": 1}
    ((first, second),) = stage.play(tmp_path, Act("failing_in_background", 2, options))
    assert first["error"] == second["error"] == "CheckpointFailed"
    assert first["cause"] == second["cause"] == "disk-full"
    assert first["words"] == second["words"] and first["step"] == second["step"]
    assert [f["again"] for e, f in first["events"] if e == "save-failed"] == [True, False]
    (report,) = survey(tmp_path / "checkpoints", verify)
    assert (report.step, report.verdict) == (2, "good")


@pytest.mark.parametrize("fails", [1, 2])
def test_a_full_disk_at_the_last_step_is_tried_again_at_once(
    tmp_path: Path, stage: Stage, fails: int
) -> None:
    (results,) = stage.play(tmp_path, Act("full_at_the_end", 2, {"fails": fails}))
    for result in results:
        assert result["error"] == (None if fails == 1 else "CheckpointFailed")
        assert _kinds(result).count("save-failed") == fails
        assert _kinds(result).count("committed") == 2 - fails


def test_after_a_full_disk_only_what_must_stay_stays(tmp_path: Path, stage: Stage) -> None:
    """A fresh life verified nothing yet: it reads what must stay before older ones go."""
    (results,) = stage.play(tmp_path, Act("room_is_made", 2))
    assert results[0]["freed"] == results[1]["freed"]
    freed = [name.partition(".")[0] for name in results[0]["freed"]]
    assert freed == ["step-00000005", "step-00000001", "step-00000002"]
    left = [name.partition(".")[0] for name in results[0]["left"]]
    assert left == ["step-00000003", "step-00000004"]
    assert len(results[0]["committed"]) == 1


def test_a_damaged_checkpoint_does_not_count_among_those_that_stay(
    tmp_path: Path, stage: Stage
) -> None:
    for step in (1, 2, 3):
        stage.play(tmp_path, Act("saved", 2, {"step": step, "generation": f"aaaa000{step}"}))
    path = tmp_path / "checkpoints/step-00000003.aaaa0003/data-000001.exa"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    (results,) = stage.play(tmp_path, Act("full_again", 2, {"keep": 1}))
    assert results[0]["freed"] == ["step-00000001.aaaa0001"]
    assert "step-00000002.aaaa0002" in results[0]["left"]


def test_a_bug_in_one_ranks_thread_ends_all_ranks_in_the_same_step(
    tmp_path: Path, stage: Stage
) -> None:
    ((peer, buggy),) = stage.play(tmp_path, Act("broken_off", 2))
    assert (buggy["error"], buggy["words"]) == ("TypeError", "a bug")
    assert peer["error"] == "CheckpointFailed"
    assert "step 2 broke off on another rank" in peer["words"]
    assert peer["step"] == buggy["step"]


def test_killed_at_any_time_during_a_background_save_nothing_wrong_is_left(
    tmp_path: Path, stage: Stage
) -> None:
    chance = random.Random(47)
    killed, seen = 0, set()
    for number in range(16):
        folder = tmp_path / str(number)
        kill = Act("killed_in_background", 2, {"seed": chance.randrange(1 << 30)})
        (results,) = stage.play(folder, kill)
        killed += any("killed" in result for result in results)
        found: list[dict[str, Any]] = _loads(stage, folder)
        assert all(one["name"] is None or one["right"] for one in found)
        seen.add(found[0].get("step"))
    assert killed >= 10, "most of these points must really kill"
    assert len(seen) >= 3, "they must hit saves of several steps"


@pytest.mark.parametrize("mode", ["async", "sync"])
@pytest.mark.parametrize(("interrupt_s", "more_often"), [(1e-3, True), (1e9, False)])
def test_how_often_is_decided_alike_on_all_ranks_and_told_with_its_reason(
    tmp_path: Path, stage: Stage, mode: str, interrupt_s: float, more_often: bool
) -> None:
    options = {"mode": mode, "interrupt_s": interrupt_s}
    ((first, second),) = stage.play(tmp_path, Act("adaptive", 2, options))
    assert _steps(first, "committed") == _steps(second, "committed")
    told, other = ([f for e, f in one["events"] if e == "interval"] for one in (first, second))
    assert told == other and told
    assert told[0]["before"] == 20
    assert "(told): best is every" in told[0]["reason"]
    assert (told[0]["every"] < 20) is more_often
    assert (len(_steps(first, "committed")) > 2) is more_often
    assert all(one["right"] and one["step"] == 40 for one in _loads(stage, tmp_path))


def test_the_thread_that_saves_takes_one_core_and_leaves_the_trainers_threads_alone(
    tmp_path: Path, stage: Stage
) -> None:
    """The number of threads is part of a run's bits."""
    (results,) = stage.play(tmp_path, Act("threads_of_a_save", 2))
    for result in results:
        assert result["saving"][0] == 1
        assert result["training"] == 3


def test_copies_lie_in_the_same_memory_for_every_save(tmp_path: Path, stage: Stage) -> None:
    (results,) = stage.play(tmp_path, Act("copies_are_reused", 2))
    for result in results:
        assert result["reused"] and result["right"]
        assert result["grown"] == [[1.0] * 3] * 3
