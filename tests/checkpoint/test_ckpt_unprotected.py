"""What can be checked of a foreign directory without a sidecar, and what is said of the rest."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from ckpt_damage import owners, shards
from ckpt_maker import flip

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint.parity import protect
from exa_cli.checkpoint.repair import repair
from exa_cli.checkpoint.sidecar import SIDECAR
from exa_cli.checkpoint.weigh import verify_foreign
from exa_cli.checkpoint.zipitems import _sizes
from exa_cli.main import run


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


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
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
