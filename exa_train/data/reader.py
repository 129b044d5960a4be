"""Training windows out of prepared shards.

HDF5 is opened once per shard, only to learn where its tokens lie; they are then read by
pread(2). So no HDF5 object lives on, none crosses a fork, no file is locked (parallel file
systems often refuse), and a window costs microseconds.
"""

from __future__ import annotations

import bisect
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exa_cli.base.errors import Damaged, Invalid
from exa_train.data import shards
from exa_train.data.documents import checksum
from exa_train.data.manifest import Manifest, Shard, load_manifest

Tokens = npt.NDArray[np.int64]

_MOST_OPEN = 64


class TokenSplit:
    """One split as windows of ``seq_len`` inputs and their targets.

    Window i holds tokens i*seq_len … (i+1)*seq_len of the split, both ends included: inputs do
    not overlap, and the last target of one window is the first input of the next. Windows may
    begin and end within documents and reach over shards; a rest too short for a window is
    never used. Nothing is opened before the first read.

    Raises:
        NotFound, Damaged, Invalid: see `load_manifest`; Invalid too for a split without windows.
    """

    def __init__(self, directory: Path | str, split: str, seq_len: int) -> None:
        self.directory = Path(directory)
        self.manifest: Manifest = load_manifest(self.directory)
        self.split = self.manifest.splits[split]
        self.seq_len = seq_len
        self._tokens = _Tokens(self.directory, self.split.shards, self.manifest.dtype)
        if seq_len < 1 or len(self) < 1:
            raise Invalid(
                f"the {split} split holds {self.split.tokens} tokens: "
                f"no window of {seq_len} and a target",
                where=str(self.directory),
                hint="choose a shorter train.seq_len or prepare more text",
            )

    def __len__(self) -> int:
        return (self.split.tokens - 1) // self.seq_len

    def window(self, index: int) -> Tokens:
        """(seq_len + 1,) int64: inputs are ``[:-1]``, targets ``[1:]``.

        Raises:
            IndexError: no such window. Damaged: a shard is shorter than it was.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        start = index * self.seq_len
        return self._tokens.read(start, start + self.seq_len + 1).astype(np.int64)

    def windows(self, indices: Sequence[int]) -> Tokens:
        """(N, seq_len + 1) int64, one row per index."""
        rows = [self.window(index) for index in indices]
        return np.stack(rows) if rows else np.zeros((0, self.seq_len + 1), np.int64)

    def close(self) -> None:
        """Close the shards; reading again opens them again."""
        self._tokens.close()


def stream(directory: Path | str, split: str, block: int = 1 << 22) -> Iterator[Tokens]:
    """A split's tokens from first to last, ``block`` at a time, as int64."""
    manifest = load_manifest(directory)
    side = manifest.splits[split]
    tokens = _Tokens(Path(directory), side.shards, manifest.dtype)
    try:
        for start in range(0, side.tokens, block):
            yield tokens.read(start, min(start + block, side.tokens)).astype(np.int64)
    finally:
        tokens.close()


def verify(directory: Path | str) -> list[tuple[str, str]]:
    """Read everything and compare checksums: (file, reason) for each fault, none when good.

    Raises:
        NotFound, Damaged, Invalid: the manifest itself, see `load_manifest`.
    """
    directory = Path(directory)
    manifest = load_manifest(directory)
    expected = {shard.file: (shard.bytes, shard.xxh3_128) for shard in manifest.shards()}
    found = [(name, _fault(directory / name, wanted)) for name, wanted in expected.items()]
    found.append((manifest.tokenizer.file, _tokenizer_fault(directory, manifest)))
    return [(name, reason) for name, reason in found if reason]


def _fault(path: Path, wanted: tuple[int, str]) -> str | None:
    try:
        size, digest = checksum(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if size != wanted[0]:
        return f"has {size} bytes instead of {wanted[0]}"
    return None if digest == wanted[1] else "its content changed: the checksum differs"


def _tokenizer_fault(directory: Path, manifest: Manifest) -> str | None:
    import hashlib

    try:
        model = (directory / manifest.tokenizer.file).read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    same = hashlib.sha256(model).hexdigest() == manifest.tokenizer.sha256
    return None if same else "its content changed: the checksum differs"


class _Tokens:
    """The tokens of a list of shards as one sequence."""

    def __init__(self, directory: Path, files: Sequence[Shard], dtype: str) -> None:
        self._directory = directory
        self._shards = [shard for shard in files if shard.tokens]
        self._ends = list(accumulate(shard.tokens for shard in self._shards))
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._open: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._finalizer = weakref.finalize(self, _close_all, self._open)

    def read(self, start: int, stop: int) -> npt.NDArray[np.generic]:
        """Tokens start … stop, over as many shards as they lie in."""
        pieces = []
        number = bisect.bisect_right(self._ends, start)
        while start < stop:
            end = min(stop, self._ends[number])
            first = self._ends[number] - self._shards[number].tokens
            pieces.append(self._read_shard(number, start - first, end - start))
            start, number = end, number + 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read_shard(self, number: int, first: int, count: int) -> npt.NDArray[np.generic]:
        fd, offset = self._opened(number)
        size = count * self._dtype.itemsize
        raw = os.pread(fd, size, offset + first * self._dtype.itemsize)
        if len(raw) != size:
            raw = _read_rest(fd, raw, size, offset + first * self._dtype.itemsize)
        if len(raw) != size:
            raise self._damaged(number, "it ends early")
        return np.frombuffer(raw, self._dtype)

    def _opened(self, number: int) -> tuple[int, int]:
        """File descriptor and offset of a shard's tokens; the least used is closed."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        path = self._directory / self._shards[number].file
        extent = shards.find_extent(path)
        if (extent.tokens, extent.dtype) != (self._shards[number].tokens, self._dtype):
            raise self._damaged(number, "it holds other tokens than the manifest says")
        if len(self._open) >= _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1][0])
        self._open[number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC), extent.offset
        return self._open[number]

    def _damaged(self, number: int, why: str) -> Damaged:
        return Damaged(
            f"a token shard is damaged: {why}",
            where=str(self._directory / self._shards[number].file),
            hint="copy or prepare the data again",
        )

    def close(self) -> None:
        _close_all(self._open)


def _read_rest(fd: int, raw: bytes, size: int, offset: int) -> bytes:
    """Go on after a short read, which pread(2) allows; stops at the end of the file."""
    while len(raw) < size and (more := os.pread(fd, size - len(raw), offset + len(raw))):
        raw += more
    return raw


def _close_all(opened: OrderedDict[int, tuple[int, int]]) -> None:
    while opened:
        os.close(opened.popitem()[1][0])
