from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from ckpt_maker import MIB, flip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint.datafile import CHUNK_BYTES, FileRecord, Identity, Slice, chunk_span
from exa_cli.checkpoint.read import DataFile, Want, open_data, read_ranges, scan_chunks
from exa_cli.checkpoint.write import DataFileWriter

ME = Identity("0123abcd", 10, 3)
# Small tensors around and across chunk borders, one that fills whole chunks, one empty.
SIZES = [64, 10 * MIB, 4, 3 * MIB, 2, 0, 700]


def _contents(seed: int = 1) -> list[bytes]:
    return [random.Random(seed + i).randbytes(size) for i, size in enumerate(SIZES)]


def _write(folder: Path, parts: Sequence[bytes], who: Identity = ME) -> tuple[FileRecord, Path]:
    folder.mkdir(exist_ok=True)
    writer = DataFileWriter(folder, who, who.writer)
    for i, part in enumerate(parts):
        writer.append(f"t{i}", "U8", (0,), (len(part),), memoryview(part))
    record = writer.commit()
    return record, folder / record.name


def _open(path: Path, record: FileRecord, who: Identity = ME) -> DataFile:
    return open_data(path, record, who)


def _fetch(data: DataFile, at: int, length: int) -> bytes:
    target = bytearray(length)
    read_ranges(data, [Want(at, length, lambda: memoryview(target))])
    return bytes(target)


def _faults(path: Path, record: FileRecord) -> list[str]:
    try:
        return list(scan_chunks(_open(path, record)))
    except Damaged as damage:
        assert damage.where == record.name
        return [damage.what]


def test_each_of_200_random_bit_flips_is_found_and_located(tmp_path: Path) -> None:
    record, path = _write(tmp_path, _contents())
    chance = random.Random(20)
    for _ in range(200):
        bit = chance.randrange(record.bytes * 8)
        flip(path, bit)
        found = _faults(path, record)
        flip(path, bit)
        assert len(found) == 1
        if bit // 8 < record.data_bytes:
            index = bit // 8 // CHUNK_BYTES
            low, high = chunk_span(index, record.data_bytes)
            assert found[0].startswith(f"chunk {index} (bytes {low}-{high - 1}) ")
    assert _faults(path, record) == []


def test_every_bit_of_footer_and_trailer_is_covered(tmp_path: Path) -> None:
    record, path = _write(tmp_path, [b"abc", b""])
    for bit in range(record.data_bytes * 8, record.bytes * 8):
        flip(path, bit)
        assert len(_faults(path, record)) == 1, bit
        flip(path, bit)


@pytest.mark.parametrize("cut", [1, 47, 48, 500, 5 * MIB])
def test_a_truncated_file_is_found(tmp_path: Path, cut: int) -> None:
    record, path = _write(tmp_path, _contents())
    os.truncate(path, record.bytes - cut)
    assert _faults(path, record) == [f"has {record.bytes - cut} bytes instead of {record.bytes}"]


@pytest.mark.parametrize("tail", [16, 48, 4096, 6 * MIB])
def test_a_zeroed_tail_is_found(tmp_path: Path, tail: int) -> None:
    record, path = _write(tmp_path, _contents())
    os.truncate(path, record.bytes - tail)
    os.truncate(path, record.bytes)
    assert len(_faults(path, record)) >= 1


def test_every_zeroed_page_of_the_stream_is_found(tmp_path: Path) -> None:
    record, path = _write(tmp_path, _contents())
    whole = path.read_bytes()
    for page in random.Random(3).sample(range(record.data_bytes // 4096), 50):
        with path.open("r+b") as file:
            file.seek(page * 4096)
            file.write(bytes(4096))
        assert [line.split(" (")[0] for line in _faults(path, record)] == [
            f"chunk {page * 4096 // CHUNK_BYTES}"
        ]
        path.write_bytes(whole)


def test_every_damaged_chunk_is_listed_with_what_it_holds(tmp_path: Path) -> None:
    record, path = _write(tmp_path, _contents())
    flip(path, 0)
    flip(path, 8 * (record.data_bytes - 1))
    first, last = _faults(path, record)
    assert first.endswith("it holds t0, t1")
    assert re.search(r"it holds t3, t4, t6$", last)


@pytest.mark.parametrize(
    "other", [Identity("0123abce", 10, 3), Identity("0123abcd", 11, 3), Identity("0123abcd", 10, 4)]
)
def test_a_sound_file_of_another_generation_step_or_writer_is_refused(
    tmp_path: Path, other: Identity
) -> None:
    record, path = _write(tmp_path / "mine", _contents())
    stale, stale_path = _write(tmp_path / "other", _contents(), other)
    os.replace(stale_path, path)
    assert stale.bytes == record.bytes
    whose = f"step {other.step}, generation {other.generation}, writer {other.writer}"
    assert _faults(path, record) == [f"belongs to {whose}"]


def test_chunk_sums_of_equal_bytes_differ_between_generations(tmp_path: Path) -> None:
    mine, path = _write(tmp_path / "mine", _contents())
    _, other_path = _write(tmp_path / "other", _contents(), Identity("ffff0000", 10, 3))
    data, other = _open(path, mine), other_path.read_bytes()
    assert path.read_bytes()[: mine.data_bytes] == other[: mine.data_bytes]
    assert not set(data.footer.sums) & {
        bytes.fromhex(digest)
        for digest in re.findall(r"[0-9a-f]{32}", str(other[mine.data_bytes :]))
    }


def test_a_footer_with_the_sums_of_other_content_is_refused(tmp_path: Path) -> None:
    """A whole file of the right identity and size, but not the one that was committed."""
    record, path = _write(tmp_path / "mine", _contents(1))
    _, other = _write(tmp_path / "other", _contents(2))
    os.replace(other, path)
    assert _faults(path, record) == ["the chunk sums are not those of the manifest"]


def test_a_missing_file_is_damage_and_not_an_error_of_the_system(tmp_path: Path) -> None:
    record, path = _write(tmp_path, [b"abc"])
    path.unlink()
    assert _faults(path, record) == ["is missing"]


def test_damage_in_a_touched_chunk_stops_the_read(tmp_path: Path) -> None:
    record, path = _write(tmp_path, _contents())
    data = _open(path, record)
    flip(path, 8 * (CHUNK_BYTES + 5))
    assert _fetch(data, 10, 100) == b"".join(_contents()[:2])[10:110]
    with pytest.raises(Damaged, match="chunk 1"):
        _fetch(data, CHUNK_BYTES - 10, 20)


def test_no_byte_of_a_shared_chunk_is_handed_out_before_the_chunk_is_checked(
    tmp_path: Path,
) -> None:
    record, path = _write(tmp_path, _contents())
    data = _open(path, record)
    flip(path, 8 * 100)
    target = bytearray(32)
    with pytest.raises(Damaged):
        read_ranges(data, [Want(0, 32, lambda: memoryview(target))])
    assert target == bytes(32)


def test_short_writes_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, plain = _write(tmp_path / "plain", _contents())
    write = os.write
    chance = random.Random(4)
    monkeypatch.setattr(
        os, "write", lambda fd, data: write(fd, data[: chance.randint(1, len(data))])
    )
    record, path = _write(tmp_path / "short", _contents())
    assert record == expected
    assert path.read_bytes() == plain.read_bytes()


def test_short_reads_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, path = _write(tmp_path, _contents())
    preadv = os.preadv
    chance = random.Random(5)

    def short(fd: int, views: list[memoryview], offset: int) -> int:
        return preadv(fd, [views[0][: chance.randint(1, len(views[0]))]], offset)

    monkeypatch.setattr(os, "preadv", short)
    data = _open(path, record)
    assert list(scan_chunks(data)) == []
    assert _fetch(data, 0, 64) == _contents()[0]


def test_an_unreadable_chunk_is_named_and_the_others_are_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, path = _write(tmp_path, _contents())
    data = _open(path, record)
    preadv = os.preadv

    def failing(fd: int, views: list[memoryview], offset: int) -> int:
        if offset == CHUNK_BYTES:
            raise OSError(5, "Input/output error")
        return preadv(fd, views, offset)

    monkeypatch.setattr(os, "preadv", failing)
    flip(path, 8 * 3 * CHUNK_BYTES)
    found = [line.split("; ")[0] for line in scan_chunks(data)]
    low, high = chunk_span(1, record.data_bytes)
    assert found[0] == f"chunk 1 (bytes {low}-{high - 1}) cannot be read: Input/output error"
    assert len(found) == 2
    assert found[1].startswith("chunk 3 ")


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 14 * MIB), st.integers(0, 6 * MIB)), max_size=5))
def test_any_set_of_ranges_comes_back_as_it_was_put_in(
    shared_file: tuple[DataFile, bytes], ranges: list[tuple[int, int]]
) -> None:
    data, stream = shared_file
    clipped = [(at, min(n, len(stream) - at)) for at, n in ranges if at < len(stream)]
    targets = [bytearray(n) for _, n in clipped]
    done: list[int] = []
    wants = [
        Want(at, n, lambda i=i: memoryview(targets[i]), lambda i=i: done.append(i))  # type: ignore[misc]
        for i, (at, n) in enumerate(clipped)
    ]
    read = read_ranges(data, wants)
    assert [bytes(target) for target in targets] == [stream[at : at + n] for at, n in clipped]
    assert sorted(done) == [i for i, (_, n) in enumerate(clipped) if n]
    touched = {c for at, n in clipped if n for c in range(at >> 22, (at + n - 1 >> 22) + 1)}
    assert read == sum(high - low for low, high in (chunk_span(c, len(stream)) for c in touched))


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataFile, bytes]:
    record, path = _write(tmp_path_factory.mktemp("ranges"), _contents())
    return _open(path, record), path.read_bytes()[: record.data_bytes]


def test_slices_start_aligned_and_hold_their_bytes(tmp_path: Path) -> None:
    record, path = _write(tmp_path, _contents())
    data = _open(path, record)
    stream = path.read_bytes()
    found: list[Slice] = list(data.footer.slices)
    assert [piece.at % 64 for piece in found] == [0] * len(SIZES)
    assert [stream[p.at : p.at + p.bytes] for p in found] == _contents()


def test_nothing_has_its_final_name_before_it_is_whole(tmp_path: Path) -> None:
    writer = DataFileWriter(tmp_path, ME, 3)
    writer.append("t", "U8", (0,), (5 * MIB,), memoryview(bytes(5 * MIB)))
    assert [path.name for path in tmp_path.iterdir()] == [".data-000003.exa.tmp"]
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    DataFileWriter(tmp_path, ME, 3)
    with pytest.raises(FileExistsError):
        DataFileWriter(tmp_path, ME, 3)
