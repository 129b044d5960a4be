from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest
from ckpt_maker import MIB, flip, make, two_writers

from exa_cli.base.errors import Unreachable
from exa_cli.checkpoint import folder, manifest
from exa_cli.checkpoint.verdict import Damage, Report
from exa_cli.checkpoint.verify import inspect, survey, verify


def _only(report: Report) -> Damage:
    assert report.verdict == "damaged"
    (damage,) = report.damaged
    return damage


def test_each_of_200_random_bit_flips_in_a_checkpoint_is_found_in_its_file(
    tmp_path: Path,
) -> None:
    directory = make(tmp_path, two_writers())
    files = [*sorted(directory.glob("*.exa")), directory / "MANIFEST.json"]
    chance = random.Random(7)
    for _ in range(200):
        path = chance.choices(files, weights=[file.stat().st_size for file in files])[0]
        bit = chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        damage = _only(verify(directory))
        flip(path, bit)
        assert damage.file == path.name
    assert verify(directory).verdict == "good"


def test_structure_alone_does_not_see_a_flipped_weight_and_says_nothing_of_it(
    tmp_path: Path,
) -> None:
    directory = make(tmp_path, two_writers())
    flip(directory / "data-000000.exa", 5 * MIB * 8)
    assert inspect(directory).verdict == "good"
    assert _only(verify(directory)).reason.startswith("chunk 1 (bytes 4194304-8388607) ")


@pytest.mark.parametrize("look", [inspect, verify])
def test_structure_sees_missing_truncated_and_zero_tailed_files(
    tmp_path: Path, look: type[inspect]
) -> None:
    directory = make(tmp_path, two_writers())
    path = directory / "data-000001.exa"
    whole = path.read_bytes()
    path.unlink()
    assert _only(look(directory)) == Damage("data-000001.exa", "is missing")
    path.write_bytes(whole[:-1])
    assert _only(look(directory)).reason == f"has {len(whole) - 1} bytes instead of {len(whole)}"
    path.write_bytes(whole[:-100] + bytes(100))
    assert _only(look(directory)).reason == "the trailer is not a data file's"
    path.write_bytes(b"")
    assert _only(look(directory)).reason == f"has 0 bytes instead of {len(whole)}"


def test_swapped_files_are_both_found(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    zero, one = directory / "data-000000.exa", directory / "data-000001.exa"
    spare = directory / "spare"
    os.rename(zero, spare)
    os.rename(one, zero)
    os.rename(spare, one)
    report = inspect(directory)
    assert [damage.file for damage in report.damaged] == [zero.name, one.name]


@pytest.mark.parametrize(("step", "generation"), [(10, "99999999"), (20, "0123abcd")])
def test_a_stale_file_of_another_generation_or_step_is_found(
    tmp_path: Path, step: int, generation: str
) -> None:
    directory = make(tmp_path / "a", two_writers())
    other = make(tmp_path / "b", two_writers(), step=step, generation=generation)
    shutil.copy(other / "data-000001.exa", directory / "data-000001.exa")
    damage = _only(inspect(directory))
    assert damage.file == "data-000001.exa"
    assert "bytes instead of" in damage.reason or f"step {step}, generation {generation}" in (
        damage.reason
    )


def test_a_stale_chunk_of_the_same_place_in_another_generation_is_found(tmp_path: Path) -> None:
    directory = make(tmp_path / "a", two_writers(seed=1))
    other = make(tmp_path / "b", two_writers(seed=2), generation="99999999")
    with (directory / "data-000000.exa").open("r+b") as file:
        file.seek(4 * MIB)
        file.write((other / "data-000000.exa").read_bytes()[4 * MIB : 8 * MIB])
    assert _only(verify(directory)).reason.startswith("chunk 1 ")


def test_a_sound_file_that_lists_other_slices_than_the_manifest_is_found(tmp_path: Path) -> None:
    """Two saves of one generation cannot happen; if files of one got mixed, this tells."""
    directory = make(tmp_path / "a", two_writers())
    state = two_writers()
    state["optim.other"] = state.pop("optim.step")
    other = make(tmp_path / "b", state)
    (directory / "MANIFEST.json").write_bytes((other / "MANIFEST.json").read_bytes())
    damage = _only(inspect(directory))
    assert damage.file == "data-000000.exa"


def test_without_a_manifest_it_is_incomplete_and_tells_whose_it_is(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers(), commit=False, epoch=4)
    report = inspect(directory)
    assert report.verdict == "incomplete"
    assert report.why == "MANIFEST.json: never committed; opened by epoch 4"
    (directory / "OPEN.json").unlink()
    assert inspect(directory).why == "MANIFEST.json: never committed"


def test_a_manifest_of_garbage_is_damage_not_incompleteness(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    (directory / "MANIFEST.json").write_bytes(b"")
    assert _only(inspect(directory)) == Damage("MANIFEST.json", "is not a manifest")


def test_several_faults_are_all_listed(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    flip(directory / "data-000000.exa", 0)
    flip(directory / "data-000000.exa", 9 * MIB * 8)
    (directory / "data-000001.exa").unlink()
    assert [damage.file for damage in verify(directory).damaged] == [
        "data-000000.exa",
        "data-000000.exa",
        "data-000001.exa",
    ]


def _refuse(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refusing(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("data-000001.exa"):
            raise error
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)


def test_a_filesystem_that_refuses_is_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tmp_path, two_writers())
    _refuse(PermissionError(errno.EACCES, "Permission denied"), monkeypatch)
    with pytest.raises(Unreachable, match="Permission denied"):
        verify(directory)


def test_a_medium_that_cannot_be_read_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tmp_path, two_writers())
    _refuse(OSError(errno.EIO, "Input/output error"), monkeypatch)
    assert _only(verify(directory)).reason == "cannot be read: Input/output error"


def test_a_folder_that_cannot_be_listed_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(self: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refusing)
    with pytest.raises(Unreachable):
        survey(tmp_path)


def test_a_survey_lists_only_checkpoints_the_newest_first(tmp_path: Path) -> None:
    small = {"a": two_writers()["optim.step"]}
    make(tmp_path, small, step=5, generation="aaaa0000")
    make(tmp_path, small, step=20, generation="bbbb0000", epoch=1)
    make(tmp_path, small, step=20, generation="aaaa1111", epoch=2)
    make(tmp_path, small, step=30, generation="cccc0000", commit=False)
    (tmp_path / "epochs").mkdir()
    (tmp_path / "step-00000040.dddd0000").symlink_to(tmp_path / "step-00000005.aaaa0000")
    assert [(report.step, report.epoch, report.verdict) for report in survey(tmp_path)] == [
        (30, None, "incomplete"),
        (20, 2, "good"),
        (20, 1, "good"),
        (5, 1, "good"),
    ]
    assert survey(tmp_path / "missing") == []


@pytest.mark.parametrize("entirely", [True, False])
def test_a_checkpoint_pruned_under_our_eyes_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entirely: bool
) -> None:
    directory = make(tmp_path, two_writers())
    read = manifest.read

    def read_then_prune(path: Path) -> manifest.Manifest | None:
        found = read(path)
        if entirely:
            folder.remove(tmp_path, path.name)
        else:
            (path / "MANIFEST.json").unlink()
            (path / "data-000000.exa").unlink()
        return found

    monkeypatch.setattr(manifest, "read", read_then_prune)
    if entirely:
        assert survey(tmp_path) == []
    else:
        assert verify(directory).verdict == "incomplete"
