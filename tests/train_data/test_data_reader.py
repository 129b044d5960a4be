from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged, Invalid, NotFound
from exa_train.data.manifest import load_manifest
from exa_train.data.reader import TokenSplit, stream, verify
from exa_train.data.shards import dtype_for, find_extent, shard_sizes, write_shards
from exa_train.data.tokenizer import load


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    """A prepared directory that a test may damage."""
    return Path(shutil.copytree(prepared, tmp_path / "copy"))


def _all_tokens(directory: Path, split: str) -> np.ndarray:
    """The whole split through h5py, as anybody else would read it."""
    arrays = []
    for shard in load_manifest(directory).splits[split].shards:
        with h5py.File(directory / shard.file) as file:
            arrays.append(file["tokens"][:])
    return np.concatenate(arrays)


def test_a_directory_that_is_not_prepared_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        TokenSplit(tmp_path, "train", 8)


@pytest.mark.parametrize("seq_len", [0, -1, 10**9])
def test_a_length_without_windows_is_refused(prepared: Path, seq_len: int) -> None:
    with pytest.raises(Invalid, match="no window"):
        TokenSplit(prepared, "heldout", seq_len)


def test_windows_outside_are_index_errors(prepared: Path) -> None:
    split = TokenSplit(prepared, "train", 8)
    for index in (-1, len(split)):
        with pytest.raises(IndexError):
            split.window(index)


def test_a_missing_shard_is_damage_and_named(copy: Path) -> None:
    (copy / "train-00000.h5").unlink()
    with pytest.raises(Damaged, match="missing") as caught:
        TokenSplit(copy, "train", 8).window(0)
    assert caught.value.where == str(copy / "train-00000.h5")


@pytest.mark.parametrize("keep", [0, 100, -2])
def test_a_cut_shard_is_damage(copy: Path, keep: int) -> None:
    path = copy / "train-00000.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Damaged):
        TokenSplit(copy, "train", 499).windows([0, 1])


def test_a_shard_with_other_tokens_is_damage(copy: Path) -> None:
    (copy / "train-00001.h5").unlink()
    write_shards("train-00001-other", [np.zeros(7, np.uint16)], [7], "uint16", copy)
    os.rename(copy / "train-00001-other-00000.h5", copy / "train-00001.h5")
    with pytest.raises(Damaged, match="other tokens"):
        TokenSplit(copy, "train", 999).window(1)


def test_verify_finds_every_changed_file(copy: Path) -> None:
    assert verify(copy) == []
    names = ["train-00001.h5", "heldout-00000.h5", "tokenizer.model"]
    for name in names:
        raw = bytearray((copy / name).read_bytes())
        raw[-5] ^= 1
        (copy / name).write_bytes(raw)
    (copy / "train-00002.h5").unlink()
    assert sorted(name for name, _ in verify(copy)) == sorted([*names, "train-00002.h5"])


def test_windows_overlap_by_the_target_only_and_reach_over_shards(prepared: Path) -> None:
    tokens = _all_tokens(prepared, "train")
    split = TokenSplit(prepared, "train", 300)
    assert len(split.manifest.splits["train"].shards) > 2
    assert len(split) == (len(tokens) - 1) // 300
    for index in range(len(split)):
        expected = tokens[index * 300 : index * 300 + 301]
        window = split.window(index)
        assert window.dtype == np.int64
        assert window.tolist() == expected.tolist()


def test_a_window_may_span_many_shards(prepared: Path) -> None:
    tokens = _all_tokens(prepared, "train")
    assert TokenSplit(prepared, "train", 3500).window(0).tolist() == tokens[:3501].tolist()


def test_the_last_window_needs_its_target(prepared: Path) -> None:
    total = load_manifest(prepared).splits["heldout"].tokens
    assert len(TokenSplit(prepared, "heldout", total - 1)) == 1
    with pytest.raises(Invalid):
        TokenSplit(prepared, "heldout", total)


def test_many_windows_are_rows(prepared: Path) -> None:
    split = TokenSplit(prepared, "train", 16)
    rows = split.windows([3, 0, 3])
    assert rows.shape == (3, 17)
    assert (rows[0] == split.window(3)).all() and (rows[1] == split.window(0)).all()
    assert split.windows([]).shape == (0, 17)


def test_streaming_gives_all_tokens(prepared: Path) -> None:
    for split in ("train", "heldout"):
        streamed = np.concatenate(list(stream(prepared, split, block=333)))
        assert streamed.tolist() == _all_tokens(prepared, split).tolist()


def test_nothing_is_opened_before_the_first_read_and_all_is_closed(prepared: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    split = TokenSplit(prepared, "train", 8)
    assert len(split._tokens._open) == 0
    split.windows([0, len(split) - 1])
    assert len(split._tokens._open) == 2
    split.close()
    split.window(0)
    del split
    assert set(os.listdir("/proc/self/fd")) <= before


def test_open_shards_are_bounded(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exa_train.data.reader._MOST_OPEN", 2)
    tokens = _all_tokens(prepared, "train")
    split = TokenSplit(prepared, "train", 100)
    for index in (0, len(split) - 1, 12, 0, 25):
        assert split.window(index).tolist() == tokens[index * 100 :][:101].tolist()
        assert len(split._tokens._open) <= 2


def test_a_fork_shares_a_reader_without_harm(prepared: Path) -> None:
    split = TokenSplit(prepared, "train", 50)
    expected = [split.window(index).tolist() for index in range(len(split))]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        rows = pool.map(split.window, range(len(split)))
    assert [row.tolist() for row in rows] == expected


def test_every_document_ends_with_the_end_token(prepared: Path) -> None:
    manifest = load_manifest(prepared)
    tokenizer = load(prepared / "tokenizer.model")
    for split in ("train", "heldout"):
        tokens = _all_tokens(prepared, split)
        assert tokens[-1] == manifest.eos
        ends = np.flatnonzero(tokens == manifest.eos)
        assert len(ends) == manifest.splits[split].documents
        sizes = [len(tokenizer.decode(part).encode()) for part in np.split(tokens, ends)]
        assert sum(sizes) == manifest.splits[split].bytes_text


def test_the_type_is_as_narrow_as_the_vocabulary_allows() -> None:
    assert [dtype_for(vocab) for vocab in (272, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]


@given(st.integers(0, 50), st.integers(1, 20))
def test_shard_sizes_add_up_and_only_the_last_is_smaller(total: int, limit: int) -> None:
    sizes = shard_sizes(total, limit)
    assert sum(sizes) == total
    assert set(sizes[:-1]) <= {limit}
    assert sizes[-1] <= limit


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("blocks", [[], [0], [5], [3, 0, 9, 1], [40, 2]])
def test_shards_are_written_whatever_the_blocks(
    tmp_path: Path, dtype: str, blocks: list[int]
) -> None:
    arrays = [np.arange(size, dtype=dtype) + 7 for size in blocks]
    written = write_shards("x", arrays, shard_sizes(sum(blocks), 4), dtype, tmp_path)
    tokens = []
    for shard in written:
        with h5py.File(tmp_path / shard.file) as file:
            assert file["tokens"].dtype == np.dtype(dtype).newbyteorder("<")
            tokens += file["tokens"][:].tolist()
        assert find_extent(tmp_path / shard.file).tokens == shard.tokens
        assert (tmp_path / shard.file).stat().st_size == shard.bytes
    assert tokens == np.concatenate([*arrays, np.zeros(0, dtype)]).tolist()


def test_a_chunked_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("tokens", data=np.arange(100, dtype="<u2"), chunks=(10,))
    with pytest.raises(Damaged, match="not stored in one piece"):
        find_extent(tmp_path / "a.h5")
