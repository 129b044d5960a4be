"""Loads that meet damage: never a wrong value, and one decision on all ranks."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from rank_stage import Act, Result, Stage

NEW, OLD = "step-00000020.bbbb0000", "step-00000010.aaaa0000"
SAVES = (
    Act("saved", 2, {"step": 10, "generation": "aaaa0000"}),
    Act("saved", 2, {"step": 20, "generation": "bbbb0000"}),
)
LOAD = {"candidates": [NEW, OLD]}


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def _fell_back(results: list[Result], reason: str) -> None:
    """All ranks took the older one for the same reason, and got it right."""
    for result in results:
        assert (result["name"], result["right"]) == (OLD, True)
        ((name, words),) = result["skipped"]
        assert name == NEW
        assert reason in words
    assert len({str(result["skipped"]) for result in results}) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_flipped_bit_under_one_rank_makes_all_take_the_older_one(
    tmp_path: Path, stage: Stage, rank: int
) -> None:
    stage.play(tmp_path, *SAVES)
    _flip(tmp_path / "checkpoints" / NEW / f"data-00000{rank}.exa", 8 * 100_000)
    (results,) = stage.play(tmp_path, Act("loaded", 2, LOAD))
    _fell_back(results, f"data-00000{rank}.exa: chunk 0 (bytes 0-")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("missing", "data-000001.exa: is missing"),
        ("truncated", "bytes instead of"),
        ("stale", "belongs to step 10, generation aaaa0000, writer 1"),
        ("swapped", "rank 0: data-000000.exa: "),
        ("manifest", "rank 0: MANIFEST.json: the seal does not match"),
        ("no manifest", "rank 0: "),
    ],
)
def test_whatever_is_wrong_with_the_newest_all_take_the_older_one(
    tmp_path: Path, stage: Stage, spoil: str, reason: str
) -> None:
    stage.play(tmp_path, *SAVES)
    new, old = tmp_path / "checkpoints" / NEW, tmp_path / "checkpoints" / OLD
    if spoil == "missing":
        (new / "data-000001.exa").unlink()
    elif spoil == "truncated":
        path = new / "data-000001.exa"
        path.write_bytes(path.read_bytes()[:-4096])
    elif spoil == "stale":
        shutil.copy(old / "data-000001.exa", new / "data-000001.exa")
    elif spoil == "swapped":
        zero = (new / "data-000000.exa").read_bytes()
        (new / "data-000000.exa").write_bytes((new / "data-000001.exa").read_bytes())
        (new / "data-000001.exa").write_bytes(zero)
    elif spoil == "manifest":
        path = new / "MANIFEST.json"
        path.write_bytes(path.read_bytes().replace(b'"epoch":1', b'"epoch":2'))
    else:
        (new / "MANIFEST.json").unlink()
    (results,) = stage.play(tmp_path, Act("loaded", 2, LOAD))
    _fell_back(results, reason)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_rank_finds_unsound_all_pass_over(tmp_path: Path, stage: Stage, rank: int) -> None:
    stage.play(tmp_path, *SAVES)
    (results,) = stage.play(tmp_path, Act("loaded_with_a_check", 2, {**LOAD, "rank": rank}))
    _fell_back(results, f"is not sound: rank {rank}: model.w is odd")


def test_200_random_bit_flips_never_load_a_wrong_value(tmp_path: Path, stage: Stage) -> None:
    """Each flip makes the load fall back, or lies where nothing depends on it: never wrong."""
    stage.play(tmp_path, *SAVES)
    files = sorted((tmp_path / "checkpoints" / NEW).glob("[dM]*"))
    chance = random.Random(11)
    flips = []
    for _ in range(200):
        path = chance.choices(files, weights=[file.stat().st_size for file in files])[0]
        flips.append([path.name, chance.randrange(path.stat().st_size * 8)])
    options = {"name": NEW, "older": OLD, "flips": flips}
    ((result,),) = stage.play(tmp_path, Act("load_flipped", 1, options))
    assert result["steps"] == [10] * 200
    assert result["right"] == [True] * 200


def test_when_nothing_can_be_read_all_ranks_say_so_and_name_each_fault(
    tmp_path: Path, stage: Stage
) -> None:
    stage.play(tmp_path, *SAVES)
    _flip(tmp_path / "checkpoints" / NEW / "data-000000.exa", 17)
    (tmp_path / "checkpoints" / OLD / "data-000001.exa").unlink()
    (results,) = stage.play(tmp_path, Act("load_refused", 2, LOAD))
    assert results[0]["error"] == results[1]["error"] == "NoReadableCheckpoint"
    assert results[0]["words"] == results[1]["words"]
    assert f"- {NEW}: rank 0: data-000000.exa: chunk 0" in results[0]["words"]
    assert f"- {OLD}: rank 0: data-000001.exa: is missing" in results[0]["words"]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("more", "does not fit: it lacks model.new"),
        ("fewer", "does not fit: nothing here takes optim.half"),
        ("shape", "does not fit: model.w is float32 [6, 10] here and F32 [10, 6] there"),
        ("dtype", "does not fit: model.w is bfloat16 [10, 6] here and F32 [10, 6] there"),
        ("meta", "cannot be loaded: model.w has no memory yet (meta device)"),
    ],
)
def test_a_state_of_another_model_is_refused_and_not_filled_in_part(
    tmp_path: Path, stage: Stage, what: str, reason: str
) -> None:
    stage.play(tmp_path, SAVES[0])
    (results,) = stage.play(tmp_path, Act("load_other_model", 2, {"name": OLD, "what": what}))
    for result in results:
        assert result["error"] == "NoReadableCheckpoint"
        assert reason in result["words"]
        assert result["untouched"]


def test_a_part_is_loaded_when_that_is_asked_for(tmp_path: Path, stage: Stage) -> None:
    stage.play(tmp_path, SAVES[0])
    options = {"name": OLD, "what": "fewer", "partial": True}
    (results,) = stage.play(tmp_path, Act("load_other_model", 2, options))
    assert [result["error"] for result in results] == [None, None]
    assert [result["untouched"] for result in results] == [False, False]


def test_older_ones_go_only_after_the_newer_was_read_back(tmp_path: Path, stage: Stage) -> None:
    (results,) = stage.play(tmp_path, Act("keeping", 2, {"keep": 2}))
    for result in results:
        assert result["left"] == [[10], [10, 20], [20, 30], [30, 40], [40, 50]]
        assert result["faults"] == [[]] * 5


def test_one_that_reads_back_wrong_neither_counts_nor_pushes_others_out(
    tmp_path: Path, stage: Stage
) -> None:
    (results,) = stage.play(tmp_path, Act("keeping", 2, {"keep": 2, "spoil": 30}))
    for result in results:
        assert result["left"] == [[10], [10, 20], [10, 20, 30], [20, 30, 40], [40, 50]]
        ((words,),) = [faults for faults in result["faults"] if faults]
        assert words.startswith("rank 1: data-000001.exa: chunk 0 ")
