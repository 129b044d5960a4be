"""Checkpoints of exa with parity: damage of any kind is found, undone bit for bit, or refused."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from ckpt_damage import killed_at, overwrite, snapshot
from ckpt_maker import MIB, flip, make, random_tensor, two_writers

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import folder
from exa_cli.checkpoint.parity import protect
from exa_cli.checkpoint.repair import mend, repair
from exa_cli.checkpoint.select import choose
from exa_cli.checkpoint.sidecar import SIDECAR
from exa_cli.checkpoint.verify import inspect, survey, verify

SMALL = {"model.a": random_tensor(1, (5, 7)), "optim.b": random_tensor(2, ())}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make(tmp_path_factory.mktemp("original"), two_writers())
    assert protect(directory).made
    return directory


@pytest.fixture
def guarded(original: Path, tmp_path: Path) -> Path:
    """A protected checkpoint of two files of three chunks each."""
    return Path(shutil.copytree(original, tmp_path / original.name))


LOG = ("REPAIR.jsonl",)


def restored(directory: Path, original: Path) -> bool:
    return snapshot(directory, without=LOG) == snapshot(original)


def test_a_protected_checkpoint_is_good_and_its_files_are_untouched(
    guarded: Path, tmp_path: Path
) -> None:
    report = verify(guarded)
    assert (report.verdict, report.protected, report.damaged) == ("good", True, ())
    bare = make(tmp_path / "bare", two_writers())
    assert snapshot(guarded, without=(SIDECAR,)) == snapshot(bare)
    assert not protect(guarded).made, "it is protected already"
    assert repair(guarded).changes == ()


def test_each_of_40_random_bit_flips_anywhere_is_found_in_its_file_and_undone(
    guarded: Path, original: Path
) -> None:
    names = [name for name in snapshot(original) if name != "OPEN.json"]
    chance = random.Random(11)
    sizes = [max((original / name).stat().st_size, 100_000) for name in names]
    for _ in range(40):
        name = chance.choices(names, weights=sizes)[0]
        flip(guarded / name, chance.randrange((guarded / name).stat().st_size * 8))
        report = verify(guarded)
        assert report.verdict == "repairable", (name, report.why)
        assert {damage.file for damage in report.damaged} == {name}
        repair(guarded)
        assert restored(guarded, original), name


def _zero_page(path: Path) -> None:
    overwrite(path, 5 * MIB, bytes(4096))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5 * MIB)


def _extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"tail")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage", [_zero_page, _truncate, _extend, _empty, _zeros, Path.unlink, _link]
)
@pytest.mark.parametrize(
    "name", ["data-000000.exa", "data-000001.exa", "exa-parity/parity-000000.exa"]
)
def test_damage_to_one_file_of_any_kind_is_undone(
    guarded: Path, original: Path, name: str, damage: object
) -> None:
    damage(guarded / name)  # type: ignore[operator]
    report = verify(guarded)
    assert report.verdict == "repairable", report.why
    assert {found.file for found in report.damaged} == {name}
    assert repair(guarded).report.verdict == "good"
    assert restored(guarded, original)
    assert not (guarded / name).is_symlink()


def test_a_pipe_where_parity_should_be_blocks_nobody(guarded: Path, original: Path) -> None:
    _pipe(guarded / SIDECAR / "parity-000000.exa")
    assert verify(guarded).verdict == "repairable"
    repair(guarded)
    assert restored(guarded, original)


@pytest.mark.parametrize(("step", "generation"), [(10, "99999999"), (20, "0123abcd")])
def test_a_stale_file_of_another_generation_or_step_is_replaced_by_the_right_one(
    guarded: Path, original: Path, tmp_path: Path, step: int, generation: str
) -> None:
    other = make(tmp_path / "o", two_writers(seed=9), step=step, generation=generation)
    shutil.copy(other / "data-000001.exa", guarded / "data-000001.exa")
    report = inspect(guarded)
    assert report.verdict == "repairable"
    assert [damage.file for damage in report.damaged] == ["data-000001.exa"]
    repair(guarded)
    assert restored(guarded, original)


def test_two_losses_in_one_group_are_refused_and_nothing_is_changed(guarded: Path) -> None:
    flip(guarded / "data-000000.exa", 0)
    flip(guarded / "data-000001.exa", 8)
    flip(guarded / "data-000001.exa", 9 * MIB * 8)
    before = snapshot(guarded)
    report = verify(guarded)
    assert report.verdict == "damaged"
    assert "group 0 lost chunk 0 of data-000000.exa, chunk 0 of data-000001.exa" in report.why
    with pytest.raises(Damaged, match="cannot be repaired"):
        repair(guarded)
    assert snapshot(guarded) == before


def test_a_lost_chunk_with_its_parity_is_refused(guarded: Path) -> None:
    flip(guarded / "data-000000.exa", 0)
    flip(guarded / SIDECAR / "parity-000000.exa", 0)
    assert "lost chunk 0 of data-000000.exa, its parity" in verify(guarded).why
    with pytest.raises(Damaged):
        repair(guarded)


def test_losses_in_different_groups_are_undone_together(guarded: Path, original: Path) -> None:
    flip(guarded / "data-000000.exa", 0)
    flip(guarded / "data-000001.exa", 5 * MIB * 8)
    flip(guarded / SIDECAR / "parity-000000.exa", 9 * MIB * 8)
    (guarded / "MANIFEST.json").unlink()
    (guarded / SIDECAR / "INDEX.json").write_bytes(b"{}")
    assert verify(guarded).verdict == "repairable"
    done = repair(guarded)
    assert restored(guarded, original)
    log = [json.loads(line) for line in (guarded / "REPAIR.jsonl").read_text().splitlines()]
    assert [(line["file"], line["chunk"]) for line in log] == [
        ("data-000000.exa", 0),
        ("data-000001.exa", 1),
        ("exa-parity/parity-000000.exa", 2),
        ("MANIFEST.json", None),
        ("exa-parity/INDEX.json", None),
    ]
    assert len(done.changes) == 5
    first = log[0]
    assert first["source"] == "parity of group 0" and first["time"].endswith("Z")
    assert first["before"] != first["after"] and len(first["after"]) == 32
    assert log[3]["before"] is None


def test_a_lost_manifest_with_a_valid_copy_is_repairable_and_without_one_incomplete(
    guarded: Path, original: Path
) -> None:
    (guarded / "MANIFEST.json").unlink()
    report = inspect(guarded)
    assert (report.verdict, report.epoch) == ("repairable", 1)
    copy = guarded / SIDECAR / "MANIFEST.json"
    whole = copy.read_bytes()
    flip(copy, 99)
    assert inspect(guarded).verdict == "incomplete"
    with pytest.raises(Damaged, match="never committed"):
        repair(guarded)
    copy.write_bytes(whole)
    repair(guarded)
    assert restored(guarded, original)


def test_a_copy_of_another_checkpoints_manifest_brings_nothing_back(
    guarded: Path, tmp_path: Path
) -> None:
    other = make(tmp_path / "o", SMALL, generation="99999999")
    shutil.copy(other / "MANIFEST.json", guarded / SIDECAR / "MANIFEST.json")
    (guarded / "MANIFEST.json").unlink()
    assert verify(guarded).verdict == "incomplete"


def test_a_sidecar_of_another_checkpoint_repairs_nothing(guarded: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "o", two_writers(seed=5), generation="99999999")
    protect(other)
    shutil.rmtree(guarded / SIDECAR)
    shutil.copytree(other / SIDECAR, guarded / SIDECAR)
    assert verify(guarded).verdict == "repairable", "its data is right: the parity can be made anew"
    flip(guarded / "data-000000.exa", 0)
    before = snapshot(guarded)
    assert verify(guarded).verdict == "damaged"
    with pytest.raises(Damaged):
        repair(guarded)
    assert snapshot(guarded) == before


def test_a_tampered_index_is_never_followed(guarded: Path) -> None:
    """Sealed again, as an attacker would: the manifest still proves what is rebuilt."""
    from exa_cli.checkpoint import sidecar

    index = sidecar.read_index(guarded).index
    assert index is not None
    wrong = "0" * 32
    first = index.files[0]
    lying = sidecar.with_parity(
        index,
        list(index.parity),
        [type(first)(first.name, first.bytes, (wrong, *first.sums[1:])), *index.files[1:]],
    )
    sidecar.write_index(guarded / SIDECAR, lying)
    flip(guarded / "data-000000.exa", 0)
    before = snapshot(guarded)
    with pytest.raises(Damaged, match="is wrong"):
        repair(guarded)
    assert snapshot(guarded) == before


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "exa-parity/x", "a//b"])
def test_an_index_that_names_a_file_elsewhere_is_no_index(guarded: Path, name: str) -> None:
    from exa_cli.checkpoint import sidecar

    index = sidecar.read_index(guarded).index
    assert index is not None
    first = index.files[0]
    moved = [type(first)(name, first.bytes, first.sums), *index.files[1:]]
    sidecar.write_index(guarded / SIDECAR, sidecar.with_parity(index, list(index.parity), moved))
    assert sidecar.read_index(guarded).index is None


def test_damaged_data_is_never_protected(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    chance = random.Random(3)
    for _ in range(20):
        path = directory / f"data-00000{chance.randrange(2)}.exa"
        bit = chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        with pytest.raises(Damaged):
            protect(directory)
        flip(path, bit)
        assert not list(directory.glob("*parity*")) and not list(directory.glob(".exa*"))
    assert protect(directory).made


def test_an_uncommitted_checkpoint_is_not_protected(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="never committed"):
        protect(make(tmp_path, SMALL, commit=False))


def test_without_parity_damage_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    flip(directory / "data-000000.exa", 0)
    before = snapshot(directory)
    with pytest.raises(Damaged, match="has no parity"):
        repair(directory)
    assert snapshot(directory) == before


def test_protecting_killed_anywhere_leaves_the_checkpoint_good_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for again in (False, True):
        for call in range(200):
            directory = make(tmp_path / f"{again}-{call}", SMALL)
            if again:  # a sidecar stands there already, damaged
                protect(directory)
                flip(directory / SIDECAR / "parity-000000.exa", 3)
            with killed_at(call, monkeypatch) as left:
                protect(directory)
            assert verify(directory).verdict in (("good", "repairable") if again else ("good",))
            protect(directory)
            report = verify(directory)
            assert (report.verdict, report.protected) == ("good", True)
            assert not [p for p in directory.iterdir() if p.name.startswith(".exa")]
            if left[0] >= 0:
                break
        assert 10 < call < 199, "protecting takes many calls, each a point to be killed at"


def test_repairing_killed_anywhere_is_never_worse_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "source", SMALL)
    protect(source)
    for call in range(200):
        directory = Path(shutil.copytree(source, tmp_path / str(call) / source.name))
        flip(directory / "data-000000.exa", 7)
        (directory / "MANIFEST.json").unlink()
        (directory / SIDECAR / "INDEX.copy.json").unlink()
        with killed_at(call, monkeypatch) as left:
            repair(directory)
        assert verify(directory).verdict in ("repairable", "good")
        repair(directory)
        found = snapshot(directory, without=LOG)
        names = [name for name in found if name not in snapshot(source)]
        assert all(name.endswith(".tmp") for name in names), names
        assert {n: d for n, d in found.items() if n not in names} == snapshot(source)
        if left[0] >= 0:
            break
    assert 15 < call < 199, "repairing takes many calls, each a point to be killed at"


def test_removing_a_protected_checkpoint_killed_anywhere_never_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = False
    for call in range(60):
        root = tmp_path / str(call)
        directory = make(root, SMALL, epoch=3)
        protect(directory)
        with killed_at(call, monkeypatch):
            folder.remove(root, directory.name)
        if not directory.exists():
            break
        report = verify(directory)
        assert report.verdict in ("good", "repairable", "incomplete"), report.why
        gone = gone or not (directory / "MANIFEST.json").exists()
        if gone:
            assert report.verdict == "incomplete"
            folder.sweep_incomplete(root, 4)
            assert not directory.exists() or not any(directory.iterdir())
    assert gone and call > 5


def test_a_sweep_spares_a_checkpoint_whose_manifest_can_be_brought_back(tmp_path: Path) -> None:
    directory = make(tmp_path, SMALL, epoch=1)
    protect(directory)
    (directory / "MANIFEST.json").unlink()
    assert folder.sweep_incomplete(tmp_path, 5) == []
    repair(directory)
    assert verify(directory).verdict == "good"


def test_mending_makes_a_candidate_of_a_repairable_checkpoint(guarded: Path) -> None:
    (guarded / "data-000001.exa").unlink()
    everyone = lambda name, epoch: True  # noqa: E731
    assert choose(survey(guarded.parent), everyone).candidates == ()
    mended = mend(guarded, inspect)
    assert (mended.report.verdict, mended.fault, len(mended.changes)) == ("good", None, 3)
    assert choose(survey(guarded.parent), everyone).candidates == (guarded.name,)
    assert mend(guarded).changes == ()


def test_mending_what_cannot_be_mended_says_so_and_raises_nothing(
    guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (guarded / "data-000001.exa").unlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    mended = mend(guarded, inspect)
    assert mended.report.verdict == "repairable"
    assert mended.fault is not None and "No space left" in mended.fault
    (guarded / "data-000000.exa").unlink()
    assert mend(guarded).report.verdict == "damaged"


def test_a_copy_of_every_chunk_survives_all_data_files(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    before = snapshot(directory)
    assert protect(directory, group=1).group == 1
    for path in directory.glob("data-*.exa"):
        path.unlink()
    repair(directory)
    assert snapshot(directory, without=(*LOG, SIDECAR)) == before


def test_a_lost_rack_is_rebuilt_when_groups_know_the_racks(tmp_path: Path) -> None:
    boxes = [((w * 4, 0), (4, 8)) for w in range(8)]
    directory = make(tmp_path, {"model.w": random_tensor(1, (32, 8), boxes=boxes)})
    before = snapshot(directory)
    names = [f"data-{w:06d}.exa" for w in range(8)]
    racks = {name: (f"rack{w // 2}", f"node{w}") for w, name in enumerate(names)}
    protect(directory, group=4, tiers=racks)
    for rack in range(4):
        for name in names[2 * rack : 2 * rack + 2]:
            (directory / name).unlink()
        repair(directory)
        assert snapshot(directory, without=(*LOG, SIDECAR)) == before
    assert not protect(directory, group=4).made, "racks are not forgotten by asking without"
    assert protect(directory, group=4, tiers=dict.fromkeys(names, ("one rack",))).made is False
    other = {name: (f"rack{w % 2}",) for w, name in enumerate(names)}
    assert protect(directory, group=4, tiers=other).made, "other racks, other groups"
    shutil.rmtree(directory / SIDECAR)
    protect(directory, group=4)
    lost = [name for name in names if int(name[5:11]) % 2 == 0][:2]
    for name in lost:  # side by side in one group: what `tiers` is there to avoid
        (directory / name).unlink()
    with pytest.raises(Damaged):
        repair(directory)


def test_a_checkpoint_that_is_removed_while_it_gets_parity_goes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tmp_path, SMALL)
    rmdir, late = Path.rmdir, [True]

    def add_first(path: Path) -> None:
        if path == directory and late.pop():
            late.append(False)
            (directory / ".exa-parity.0000.tmp").mkdir()
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", add_first)
    folder.remove(tmp_path, directory.name)
    assert not directory.exists()
