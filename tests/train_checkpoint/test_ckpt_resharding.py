from __future__ import annotations

from pathlib import Path

import pytest
from rank_stage import Act, Stage

from exa_cli.checkpoint.verify import verify


@pytest.mark.parametrize(
    ("there", "saving", "here", "loading"),
    [
        ("rows", 2, "plain", 1),
        ("plain", 1, "rows", 2),
        ("rows", 2, "rows", 3),
        ("columns", 3, "rows", 2),
        ("rows", 2, "columns", 3),
        ("plain", 2, "mixed", 2),
        ("hsdp", 4, "columns", 2),
        ("mixed", 3, "hsdp", 4),
    ],
)
def test_any_layout_reads_into_any_other_bit_for_bit(
    tmp_path: Path, stage: Stage, there: str, saving: int, here: str, loading: int
) -> None:
    name = "step-00000010.ab12cd34"
    act = Act("saved", saving, {"how": there, "generation": "ab12cd34"})
    made, found = stage.play(
        tmp_path, act, Act("loaded", loading, {"candidates": [name], "how": here})
    )
    assert {result["name"] for result in made} == {name}
    assert all(result["right"] for result in found)
    assert {result["step"] for result in found} == {10}
    assert found[0]["meta"] == {"data": {"next_sequence": 40}}
    assert verify(tmp_path / "checkpoints" / name).verdict == "good"


def test_what_replicas_hold_is_written_once(tmp_path: Path, stage: Stage) -> None:
    (one,), four, hsdp = stage.play(
        tmp_path,
        Act("saved", 1, {"how": "plain", "step": 10}),
        Act("saved", 4, {"how": "plain", "step": 20}),
        Act("saved", 4, {"how": "hsdp", "step": 30}),
    )
    for result in (four[0], hsdp[0]):
        assert one["bytes"] <= result["bytes"] < one["bytes"] * 1.01


def test_each_rank_reads_little_more_than_its_own_part(tmp_path: Path, stage: Stage) -> None:
    name = "step-00000010.ab12cd34"
    options = {"how": "rows", "scale": 8}
    made, found = stage.play(
        tmp_path,
        Act("saved", 2, {**options, "generation": "ab12cd34"}),
        Act("loaded", 3, {**options, "candidates": [name]}),
    )
    share = made[0]["bytes"] / 3
    assert all(result["right"] for result in found)
    assert all(result["bytes"] < share + 3 * (4 << 20) for result in found)


def test_an_optimizer_goes_on_in_another_layout_as_if_nothing_had_happened(
    tmp_path: Path,
    stage: Stage,
) -> None:
    first = stage.play(tmp_path, Act("fsdp_saved", 2))[0]
    name = first[0]["name"]
    acts = [
        Act("fsdp_loaded", 2, {"name": name, "sharded": True}),
        Act("fsdp_loaded", 3, {"name": name, "sharded": True}),
        Act("fsdp_loaded", 1, {"name": name, "sharded": False}),
    ]
    same_layout, three, plain = stage.play(tmp_path, *acts)
    assert same_layout[0]["sum"] == first[0]["sum"]
    assert three[0]["sum"] == pytest.approx(first[0]["sum"], abs=1e-6)
    assert plain[0]["sum"] == pytest.approx(first[0]["sum"], abs=1e-6)


def test_saving_a_step_again_makes_another_generation_and_each_loads_as_itself(
    tmp_path: Path,
    stage: Stage,
) -> None:
    (results,) = stage.play(tmp_path, Act("save_twice", 2))
    for result in results:
        assert result["right"] == [True, True, True]
        assert len(set(result["names"])) == 3
    assert {path.name[:13] for path in (tmp_path / "checkpoints").iterdir()} == {"step-00000010"}


def test_nothing_is_pickled_to_or_from_disk(tmp_path: Path, stage: Stage) -> None:
    (results,) = stage.play(tmp_path, Act("no_pickle", 2))
    assert all(result["right"] for result in results)


def test_no_candidates_is_a_fresh_start(tmp_path: Path, stage: Stage) -> None:
    (results,) = stage.play(tmp_path, Act("loaded", 2, {"candidates": []}))
    assert results == [{"name": None}, {"name": None}]
