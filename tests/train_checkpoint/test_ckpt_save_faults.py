"""Saves that fail: every rank hears the same, nothing is committed, nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_stage import Act, Result, Stage

from exa_cli.checkpoint.select import choose
from exa_cli.checkpoint.verify import survey, verify
from exa_cli.runs import claims
from exa_train.checkpoint import CheckpointFailed, save

GOOD = Act("saved", 2, {"step": 10, "generation": "aaaa0000"})


def _failed(stage: Stage, folder: Path, scenario: str, **options: Any) -> Result:
    """Play a save that must fail after a good one; what all ranks said, word for word."""
    _, results = stage.play(folder, GOOD, Act(scenario, 2, options))
    first, second = results
    assert first["error"] == second["error"] == "CheckpointFailed"
    assert (first["cause"], first["words"]) == (second["cause"], second["words"])
    return first


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("call", "after", "error", "cause"),
    [
        ("write", 1, "ENOSPC", "disk-full"),
        ("write", 2, "EDQUOT", "disk-full"),
        ("write", 2, "EIO", "unknown"),
        ("fsync", 1, "ENOSPC", "disk-full"),
        ("fsync", 2, "EIO", "unknown"),
        ("replace", 1, "EIO", "unknown"),
    ],
)
def test_a_failing_disk_on_one_rank_fails_the_save_on_all_and_the_next_save_works(
    tmp_path: Path, stage: Stage, rank: int, call: str, after: int, error: str, cause: str
) -> None:
    options = {"rank": rank, "call": call, "after": after, "error": error}
    result = _failed(stage, tmp_path, "failing_disk", **options)
    assert result["cause"] == cause
    assert _left(tmp_path) == ["step-00000010.aaaa0000", result["again"]]
    assert verify(tmp_path / "checkpoints" / result["again"]).verdict == "good"


def test_a_file_size_limit_is_met_after_a_short_write_and_fails_the_save(
    tmp_path: Path, stage: Stage
) -> None:
    result = _failed(stage, tmp_path, "limited_file_size", limit=1_000_001)
    assert "File too large" in result["words"]
    assert _left(tmp_path) == ["step-00000010.aaaa0000"]


def test_a_checkpoint_that_does_not_fit_is_not_begun(tmp_path: Path, stage: Stage) -> None:
    result = _failed(stage, tmp_path, "no_room", free_blocks=1000)
    assert result["cause"] == "disk-full"
    assert result["writes"] == 0
    assert "needs 0.01 GB and 0.00 GB are free" in result["words"]
    assert _left(tmp_path) == ["step-00000010.aaaa0000"]


def test_a_commit_that_is_not_durable_is_withdrawn(tmp_path: Path, stage: Stage) -> None:
    result = _failed(stage, tmp_path, "commit_not_durable")
    assert "Input/output error" in result["words"]
    assert _left(tmp_path) == ["step-00000010.aaaa0000"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("scalar", "'optim.lr' is a float"),
        ("complex", "cannot hold tensors of torch.complex64"),
        ("meta", "meta is not JSON"),
    ],
)
def test_what_cannot_be_stored_without_a_pickle_is_refused_by_all_ranks(
    tmp_path: Path, stage: Stage, what: str, words: str
) -> None:
    result = _failed(stage, tmp_path, "save_of_odd_state", what=what)
    assert words in result["words"]
    assert "rank 1" in result["words"]
    assert _left(tmp_path) == ["step-00000010.aaaa0000"]


@pytest.mark.parametrize("what", ["nan", "inf"])
def test_bad_numbers_on_one_rank_are_not_committed(tmp_path: Path, stage: Stage, what: str) -> None:
    result = _failed(stage, tmp_path, "save_of_odd_state", what=what)
    assert result["cause"] == "bad-numbers"
    assert "model.bf16" in result["words"]
    assert _left(tmp_path) == ["step-00000010.aaaa0000"]


def test_bad_numbers_that_were_asked_for_are_committed_and_loaded_only_if_asked_for_too(
    tmp_path: Path, stage: Stage
) -> None:
    options = {"what": "nan", "allow": True}
    (results,) = stage.play(tmp_path, Act("save_of_odd_state", 2, options))
    assert [result["error"] for result in results] == [None, None]
    candidates = _left(tmp_path)
    (refused,) = stage.play(tmp_path, Act("load_refused", 2, {"candidates": candidates}))
    assert "is not sound: model.bf16 held NaN or infinity" in refused[1]["words"]
    asked = {"candidates": candidates, "allow_nonfinite": True}
    (found,) = stage.play(tmp_path, Act("loaded", 2, asked))
    assert found[0]["nonfinite"] == found[1]["nonfinite"] == ["model.bf16"]
    (report,) = survey(tmp_path / "checkpoints")
    assert report.manifest is not None
    stats = report.manifest.tensors["model.bf16"].stats
    assert stats is not None
    assert (stats.count, stats.finite) == (105, 104)


def test_a_rank_killed_while_it_writes_ends_the_save_of_the_others(
    tmp_path: Path, stage: Stage
) -> None:
    act = Act("peer_ends_mid_save", 2, {"end": signal.SIGKILL})
    _, (survivor, victim) = stage.play(tmp_path, GOOD, act)
    assert victim == {"killed": signal.SIGKILL}
    _check_lost_peer(tmp_path, survivor)


def test_a_rank_that_stands_still_ends_the_save_of_the_others_after_the_timeout(
    tmp_path: Path, stage: Stage
) -> None:
    act = Act("peer_ends_mid_save", 2, {"end": signal.SIGSTOP}, timeout_s=2)
    _, (survivor, victim) = stage.play(tmp_path, GOOD, act)
    assert victim == {"killed": signal.SIGKILL}
    assert survivor["seconds"] >= 1
    _check_lost_peer(tmp_path, survivor)


def _check_lost_peer(folder: Path, survivor: Result) -> None:
    assert survivor["error"] == "CheckpointFailed"
    assert survivor["cause"] == "rank-failure"
    newest, older = survey(folder / "checkpoints")
    assert (newest.step, newest.verdict) == (20, "incomplete")
    assert (older.step, older.verdict) == (10, "good")
    choice = choose((newest, older), lambda name, epoch: True)
    assert choice.candidates == ("step-00000010.aaaa0000",)


def test_everything_is_durable_before_the_manifest_has_its_name(
    tmp_path: Path, stage: Stage
) -> None:
    """What a power cut may take is what was not synced: so the order is the promise."""
    (results,) = stage.play(tmp_path, Act("order_of_calls", 2))
    calls = sorted((call for result in results for call in result["calls"]), key=lambda c: c[2])
    directory = results[0]["directory"]
    names = [(call[0], Path(call[1]).name) for call in calls if directory in call[1]]

    def first(kind: str, name: str) -> int:
        return names.index((kind, name))

    commit = next(i for i, call in enumerate(calls) if call[3:] == [f"{directory}/MANIFEST.json"])
    renames = [name for kind, name in names if kind == "rename"]
    assert renames[-1].startswith(".MANIFEST.json.")
    for rank in (0, 1):
        temporary = f".data-00000{rank}.exa.tmp"
        assert first("fsync", temporary) < first("rename", temporary)
        own = [c for c in results[rank]["calls"] if directory in c[1]]
        renamed = next(i for i, c in enumerate(own) if Path(c[1]).name == temporary and len(c) > 3)
        assert own[renamed + 1][:2] == ["fsync", directory], "the name itself must be durable"
    assert ["fsync", directory] in [call[:2] for call in calls[commit + 1 :]]
    assert first("fsync", renames[-1]) < first("rename", renames[-1])
    opened = next(i for i, call in enumerate(calls) if call[3:] == [directory])
    root = str(Path(directory).parent)
    assert ["fsync", root] in [call[:2] for call in calls[opened + 1 : commit]]


def test_an_older_copy_of_a_run_commits_nothing_once_a_newer_life_has_claimed_it(
    tmp_path: Path,
) -> None:
    state, root = {"model.w": torch.ones(8)}, tmp_path / "checkpoints"
    first = claims.claim_next(tmp_path, "001", 1, lambda: ())
    kept = save(state, root=root, step=1, epoch=first.epoch, meta={})
    second = claims.claim_next(tmp_path, "001", 2, lambda: (kept.name,))
    with pytest.raises(CheckpointFailed, match="a newer life has claimed this run"):
        save(state, root=root, step=2, epoch=first.epoch, meta={})
    assert [report.step for report in survey(root)] == [1]
    assert save(state, root=root, step=2, epoch=second.epoch, meta={}).step == 2
