"""Directories that exa did not write: protected by a sidecar, or checked by what they offer."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from ckpt_damage import killed_at, overwrite, snapshot
from ckpt_maker import MIB, flip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged, Invalid, NotFound
from exa_cli.checkpoint.parity import protect
from exa_cli.checkpoint.repair import repair
from exa_cli.checkpoint.sidecar import SIDECAR
from exa_cli.checkpoint.weigh import verify_foreign
from exa_cli.checkpoint.zipitems import _sizes
from exa_cli.main import run


def shards(directory: Path, sizes: list[int], seed: int = 1) -> Path:
    """A directory of files of random bytes, which nothing but a sidecar can check."""
    directory.mkdir(parents=True)
    for number, size in enumerate(sizes):
        (directory / f"shard-{number}.bin").write_bytes(content(size, seed + number))
    return directory


@functools.cache
def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def owners(directory: Path) -> dict[str, bytes]:
    return snapshot(directory, without=(SIDECAR,))


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


def dcp_file(entries: list[bytes]) -> bytes:
    """Items as torch writes them: stored zip archives with data descriptors, one after another."""
    out = b""
    for data in entries:
        stream = BytesIO()
        with zipfile.ZipFile(_Unseekable(stream), "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02K\x07.")
            archive.writestr("archive/data/0", data)
        out += stream.getvalue()
    return out


class _Unseekable:
    """Makes zipfile write data descriptors."""

    def __init__(self, stream: BytesIO) -> None:
        self.write = stream.write
        self.flush = stream.flush


def dcp_directory(directory: Path, seed: int = 1) -> Path:
    import pickle

    directory.mkdir(parents=True)
    chance = random.Random(seed)
    table = []
    for number in range(2):
        items = [chance.randbytes(chance.randrange(1, 20000)) for _ in range(4)]
        data = dcp_file(items)
        name = f"__{number}_0.distcp"
        (directory / name).write_bytes(data)
        table.append({"relative_path": name, "offset": 0, "length": len(data)})
    (directory / ".metadata").write_bytes(pickle.dumps(table))
    return directory


def test_an_unprotected_dcp_directory_is_checked_by_its_crcs(tmp_path: Path) -> None:
    directory = dcp_directory(tmp_path / "d")
    report = verify_foreign(directory)
    assert (report.verdict, report.protected) == ("good", False)
    assert "another step" in report.unseen[0]
    path = directory / "__1_0.distcp"
    size = path.stat().st_size
    chance = random.Random(3)
    for _ in range(150):
        bit = chance.randrange(size * 8)
        flip(path, bit)
        found = verify_foreign(directory)
        flip(path, bit)
        if found.verdict == "good":  # a field that nobody reads: times, versions, attributes
            continue
        assert {damage.file for damage in found.damaged} == {"__1_0.distcp"}
        assert any(bit // 8 in _range(damage.reason) for damage in found.damaged)
    assert verify_foreign(directory).verdict == "good"


def _range(reason: str) -> range:
    low, high = reason.split()[1].rstrip(":").split("-")
    return range(int(low), int(high) + 1)


def test_every_flipped_bit_of_an_items_data_is_found_by_its_crc(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    data = random.Random(4).randbytes(64)
    (directory / "__0_0.distcp").write_bytes(dcp_file([data]))
    (directory / ".metadata").write_bytes(b"N.")
    at = (directory / "__0_0.distcp").read_bytes().index(data)
    for bit in range(64 * 8):
        flip(directory / "__0_0.distcp", at * 8 + bit)
        assert verify_foreign(directory).verdict == "damaged"
        flip(directory / "__0_0.distcp", at * 8 + bit)


def test_sizes_beyond_4_gib_are_read_from_the_zip64_field() -> None:
    other = struct.pack("<HH4s", 0x4246, 4, b"ZZZZ")
    large, far = 5 << 30, 7 << 30
    both = other + struct.pack("<HHQQQ", 1, 24, large, large, far)
    assert _sizes(0xFFFFFFFF, 0xFFFFFFFF, both) == (large, far)
    assert _sizes(0xFFFFFFFF, 12, struct.pack("<HHQQ", 1, 16, large, large)) == (large, 12)
    assert _sizes(77, 0xFFFFFFFF, struct.pack("<HHQ", 1, 8, far)) == (77, far)
    assert _sizes(77, 12, b"") == (77, 12)


def test_missing_and_shortened_dcp_files_are_found_by_the_table(tmp_path: Path) -> None:
    directory = dcp_directory(tmp_path / "d")
    path = directory / "__1_0.distcp"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(dcp_file([whole[:1]]))])
    assert verify_foreign(directory).verdict == "damaged"
    path.unlink()
    (damage,) = verify_foreign(directory).damaged
    assert damage.reason == "is missing; .metadata names it"
    path.write_bytes(whole)
    (directory / ".metadata").unlink()
    assert verify_foreign(directory).verdict == "incomplete"


def test_a_pickle_that_would_run_code_runs_none(tmp_path: Path) -> None:
    directory = dcp_directory(tmp_path / "d")
    trap = tmp_path / "trap"
    payload = f"cos\nsystem\n(S'touch {trap}'\ntR.".encode()
    (directory / ".metadata").write_bytes(payload)
    verify_foreign(directory)
    protect(directory)
    assert not trap.exists()


def test_a_visibly_damaged_dcp_directory_is_not_protected(tmp_path: Path) -> None:
    directory = dcp_directory(tmp_path / "d")
    flip(directory / "__0_0.distcp", 700 * 8)
    with pytest.raises(Damaged):
        protect(directory)
    assert not (directory / SIDECAR).exists()


def test_a_protected_dcp_directory_gets_a_stale_shard_back(tmp_path: Path) -> None:
    directory = dcp_directory(tmp_path / "d")
    other = dcp_directory(tmp_path / "o", seed=2)
    whole = owners(directory)
    protect(directory)
    shutil.copy(other / "__0_0.distcp", directory / "__0_0.distcp")
    assert verify_foreign(directory).verdict == "repairable"
    repair(directory)
    assert owners(directory) == whole


def tensors_directory(directory: Path) -> Path:
    directory.mkdir()
    header = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    body = json.dumps(header).encode()
    data = struct.pack("<Q", len(body)) + body + bytes(range(24))
    (directory / "model-00001-of-00001.safetensors").write_bytes(data)
    table = {"weight_map": {"w": "model-00001-of-00001.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(table))
    return directory


def test_safetensors_show_what_headers_and_sizes_can_and_say_what_they_cannot(
    tmp_path: Path,
) -> None:
    directory = tensors_directory(tmp_path / "d")
    path = directory / "model-00001-of-00001.safetensors"
    whole = path.read_bytes()
    report = verify_foreign(directory)
    assert report.verdict == "good"
    assert "a changed weight cannot be seen" in report.unseen[0]
    for wrong in (whole[:-1], whole + b"x", b"", whole[:8], b"\xff" * 8 + whole[8:], b"\0" * 40):
        path.write_bytes(wrong)
        assert verify_foreign(directory).verdict == "damaged", wrong
    path.unlink()
    (damage,) = verify_foreign(directory).damaged
    assert "names it" in damage.reason


def test_a_directory_that_nothing_can_check_is_not_called_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = shards(tmp_path / "d", [100])
    assert run(["ckpt", "verify", str(directory)], debug=False) == 3
    assert "exa ckpt protect" in capsys.readouterr().err
    assert run(["ckpt", "repair", str(directory)], debug=False) == 3


def test_torchs_own_checkpoint_is_checked_protected_and_repaired(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter

    directory = tmp_path / "dcp"
    state = {f"w{i}": torch.randn(300, 301) for i in range(8)}
    dcp.save(
        {**state, "step": 7},
        storage_writer=FileSystemWriter(directory, thread_count=3),
        no_dist=True,
    )
    assert verify_foreign(directory).verdict == "good"
    whole = owners(directory)
    assert protect(directory).made
    chance = random.Random(1)
    names = sorted(n for n in whole if n.endswith(".distcp"))
    assert len(names) == 3
    for _ in range(5):
        name = chance.choice(names)
        path = directory / name
        flip(path, chance.randrange(path.stat().st_size * 8))
        assert [damage.file for damage in verify_foreign(directory).damaged] == [name]
        repair(directory)
        assert owners(directory) == whole
    (directory / names[1]).unlink()
    repair(directory)
    loaded = {name: torch.zeros_like(value) for name, value in state.items()}
    dcp.load(loaded, storage_reader=FileSystemReader(directory), no_dist=True)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
