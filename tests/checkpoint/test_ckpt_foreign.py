"""Directories that exa did not write, protected by a sidecar."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ckpt_damage import killed_at, overwrite, owners, shards, snapshot
from ckpt_maker import MIB, flip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged, Invalid, NotFound
from exa_cli.checkpoint.parity import protect
from exa_cli.checkpoint.repair import repair
from exa_cli.checkpoint.sidecar import SIDECAR
from exa_cli.checkpoint.weigh import verify_foreign
from exa_cli.main import run


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_damage_to_random_files_is_located_and_undone_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sizes = data.draw(
        st.lists(st.sampled_from([0, 1, 5000, 4 * MIB, 4 * MIB + 1]), min_size=1, max_size=5)
    )
    if not any(sizes):
        return
    directory = shards(tmp_path_factory.mktemp("foreign") / "d", sizes)
    protect(directory, group=data.draw(st.integers(1, 8)))
    whole = snapshot(directory)
    names = [n for n in whole if "INDEX" not in n]
    hit = set()
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(names))
        path = directory / name
        if not path.exists() or not path.stat().st_size:
            continue
        kind = data.draw(st.sampled_from(["flip", "page", "cut", "gone", "longer"]))
        at = data.draw(st.integers(0, path.stat().st_size - 1))
        _hurt(path, kind, at)
        if not path.exists() or path.read_bytes() != whole[name]:
            hit.add(name)
        else:
            hit.discard(name)
    before = snapshot(directory)
    report = verify_foreign(directory)
    assert {d.file for d in report.damaged} - {SIDECAR} == hit
    if report.verdict == "damaged":
        with pytest.raises(Damaged):
            repair(directory)
        assert snapshot(directory) == before
    else:
        assert report.verdict == ("repairable" if hit else "good")
        repair(directory)
        assert {n: d for n, d in snapshot(directory).items() if not n.endswith(".jsonl")} == whole
    shutil.rmtree(directory)


def _hurt(path: Path, kind: str, at: int) -> None:
    if kind == "flip":
        flip(path, at * 8 + 3)
    elif kind == "page":
        overwrite(path, at, bytes(min(4096, path.stat().st_size - at)))
    elif kind == "cut":
        os.truncate(path, at)
    elif kind == "longer":
        os.truncate(path, path.stat().st_size + 1 + at)
    else:
        path.unlink()


def test_any_one_lost_file_of_a_group_is_rebuilt(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [9 * MIB, 5 * MIB, 6 * MIB, 100])
    made = protect(directory)
    assert (made.files, made.lasting) == (4, 4)
    whole = owners(directory)
    for name in whole:
        (directory / name).unlink()
        assert verify_foreign(directory).verdict == "repairable"
        repair(directory)
        assert owners(directory) == whole
    (directory / "shard-0.bin").unlink()
    (directory / "shard-1.bin").unlink()
    with pytest.raises(Damaged, match="one loss of a group"):
        repair(directory)


def test_a_single_large_file_is_located_to_a_chunk_and_mended_in_chunks(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [41 * MIB])
    made = protect(directory)
    assert made.parity_bytes == 2 * 4 * MIB and made.lasting == 0
    path = directory / "shard-0.bin"
    whole = path.read_bytes()
    overwrite(path, 9 * MIB, bytes(4096))
    flip(path, 17 * MIB * 8)  # chunks 2 and 4 share a group, chunk 5 does not
    assert verify_foreign(directory).verdict == "damaged"
    overwrite(path, 17 * MIB, whole[17 * MIB : 17 * MIB + 1])
    flip(path, 21 * MIB * 8)
    assert [d.reason for d in verify_foreign(directory).damaged] == [
        "chunk 2 (bytes 8388608-12582911) is not what was protected",
        "chunk 5 (bytes 20971520-25165823) is not what was protected",
    ]
    repair(directory)
    assert path.read_bytes() == whole


HOSTILE = [
    b"-rf",
    b"a b",
    b" ",
    b"new\nline",
    b"\x1b[31mred",
    b"\xff\xfe not text",
    b'quo"te\\',
    b"$(touch x)",
    "…".encode() * 80,
    b"deep/er/..still/x",
]


def test_hostile_names_are_protected_reported_on_one_line_and_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "d"
    for number, name in enumerate(HOSTILE):
        path = os.fsencode(directory) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(bytes([number]) * 100)
    whole = owners(directory)
    assert len(whole) == len(HOSTILE)
    protect(directory)
    for name in whole:
        (directory / name).unlink()
        assert run(["ckpt", "verify", str(directory)], debug=False) == 9
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2 and "\x1b" not in lines[1], lines
        repair(directory)
        assert owners(directory) == whole
    for name in whole:
        flip(directory / name, 1)
    code = "from exa_cli.main import main; main()"
    argv = [sys.executable, "-c", code, "ckpt", "verify", str(directory), "--json"]
    answer = json.loads(subprocess.run(argv, capture_output=True, check=False).stdout)
    named = {one["file"] for one in answer["checkpoints"][0]["damaged"]}
    assert named == {*whole, SIDECAR}
    for name in whole:
        flip(directory / name, 1)
    shutil.rmtree(directory / "deep")
    repair(directory)
    assert owners(directory) == whole


def test_links_and_special_files_are_named_and_never_followed(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [100, 200])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (directory / "latest").symlink_to("shard-0.bin")
    (directory / "away").symlink_to(outside)
    os.mkfifo(directory / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "socket"))
    assert protect(directory).skipped == ("away", "latest", "pipe", "socket")
    assert verify_foreign(directory).verdict == "good"
    (directory / "shard-1.bin").unlink()
    (directory / "shard-1.bin").symlink_to(outside / "secret")
    (damage,) = verify_foreign(directory).damaged
    assert damage.reason == "is not a regular file any more"
    repair(directory)
    assert not (directory / "shard-1.bin").is_symlink()
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_folder_that_became_a_link_is_not_written_through(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    shards(directory / "part", [100, 200])
    protect(directory)
    outside = tmp_path / "outside"
    os.rename(directory / "part", outside)
    (outside / "shard-0.bin").unlink()
    (directory / "part").symlink_to(outside)
    with pytest.raises(Damaged):
        repair(directory)
    assert [path.name for path in outside.iterdir()] == ["shard-1.bin"]


def test_a_folder_where_a_file_belongs_is_left_to_its_owner(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [100, 200])
    protect(directory)
    (directory / "shard-0.bin").unlink()
    (directory / "shard-0.bin").mkdir()
    (directory / "shard-0.bin" / "mine").write_bytes(b"x")
    with pytest.raises(Damaged, match="a folder stands in its place"):
        repair(directory)
    assert (directory / "shard-0.bin" / "mine").exists()


def test_a_directory_of_nothing_but_links_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "model").symlink_to("/etc/hostname")
    with pytest.raises(Invalid, match="all that is there are links"):
        protect(directory)
    with pytest.raises(NotFound):
        protect(tmp_path / "missing")


def test_changed_files_are_protected_anew_only_when_asked(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [100, 200])
    assert protect(directory).made and not protect(directory).made
    (directory / "shard-0.bin").write_bytes(b"the next step")
    with pytest.raises(Invalid, match=r"files differ from what was protected: shard-0\.bin"):
        protect(directory)
    assert protect(directory, renew=True).made
    assert verify_foreign(directory).verdict == "good"
    (directory / "shard-2.bin").write_bytes(b"new")
    report = verify_foreign(directory)
    assert report.verdict == "good" and "not covered: shard-2.bin" in report.unseen[0]
    assert protect(directory).made, "a new file is added, nothing changed"
    assert verify_foreign(directory).unseen == ()


def test_the_owners_files_keep_their_permissions_and_the_log_its_lines(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [100, 200])
    (directory / "shard-0.bin").chmod(0o600)
    protect(directory)
    for renew in (False, True):
        flip(directory / "shard-0.bin", 7)
        repair(directory)
        if not renew:
            (directory / "shard-1.bin").write_bytes(b"other")
            protect(directory, renew=True)
    assert (directory / "shard-0.bin").stat().st_mode & 0o777 == 0o600
    assert len((directory / SIDECAR / "REPAIR.jsonl").read_text().splitlines()) == 2


def test_both_copies_of_the_index_lost_is_damage_that_nothing_can_prove(tmp_path: Path) -> None:
    directory = shards(tmp_path / "d", [100, 200])
    protect(directory)
    flip(directory / SIDECAR / "INDEX.json", 100)
    assert verify_foreign(directory).verdict == "repairable"
    flip(directory / SIDECAR / "INDEX.copy.json", 100)
    assert verify_foreign(directory).verdict == "damaged"
    with pytest.raises(Damaged):
        repair(directory)


def test_a_file_that_grows_while_it_is_read_is_not_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exa_cli.checkpoint import guarded

    directory = shards(tmp_path / "d", [100, 200])
    read = guarded.read_up_to

    def growing(fd: int, length: int, offset: int) -> bytearray:
        with (directory / "shard-1.bin").open("ab") as file:
            file.write(b"more")
        return read(fd, length, offset)

    monkeypatch.setattr(guarded, "read_up_to", growing)
    with pytest.raises(Invalid, match="changed while it was read"):
        protect(directory)
    assert [path.name for path in directory.iterdir() if "exa" in path.name] == []


def test_killed_anywhere_a_foreign_repair_is_never_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shards(tmp_path / "source", [100, 200, 50])
    protect(source)
    whole = owners(source)
    for call in range(100):
        directory = Path(shutil.copytree(source, tmp_path / str(call)))
        (directory / "shard-1.bin").unlink()
        flip(directory / SIDECAR / "INDEX.json", 9)
        with killed_at(call, monkeypatch) as left:
            repair(directory)
        assert verify_foreign(directory).verdict in ("repairable", "good")
        repair(directory)
        if left[0] >= 0:
            break
    assert 8 < call < 99
    assert owners(directory) == whole
