"""Tokenising in parts: each a file that is either whole or absent, named by what went in.

A part's name is the hash of its documents' text, of the tokenizer and of the split, so a
restarted preparation finds what is done, and a changed input or option finds nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from exa_cli.base import files
from exa_cli.base.errors import Damaged
from exa_train.data import tokenizer
from exa_train.data.documents import DocumentReader, Documents, Scanned
from exa_train.data.inputs import Source
from exa_train.data.split import Mask

FORMAT = 1
"""Raised whenever the same documents would give another part."""

_HEADER = struct.Struct("<8s16sQQ16s")
_MAGIC = b"EXAPART1"


@dataclass(frozen=True)
class Slice:
    """Consecutive documents of one source, and which of them are held out."""

    source: Source
    documents: Documents
    held: Mask


@dataclass(frozen=True)
class Unit:
    """The work of one part."""

    slices: tuple[Slice, ...]

    @property
    def bytes(self) -> int:
        """Text in it."""
        return sum(int(piece.documents["bytes"].sum()) for piece in self.slices)


@dataclass(frozen=True)
class Part:
    """A finished part: tokens of training documents, then tokens of held-out ones."""

    path: Path
    bytes: int
    train: int
    heldout: int
    reused: bool


@dataclass(frozen=True)
class Job:
    """What every worker needs to know. ``dtype`` is how tokens are stored."""

    model: Path
    directory: Path
    dtype: str
    text_field: str


def plan_units(scanned: Sequence[Scanned], held: Mask, limit: int) -> Iterator[Unit]:
    """Cut the documents, in order, into units of at least ``limit`` bytes of text.

    Args:
        held: (N,) bool over the documents of all sources in order.
    """
    slices: list[Slice] = []
    size = position = 0
    for source in scanned:
        mask = held[position : position + len(source.documents)]
        position += len(mask)
        for start, stop, full in _cuts(source.documents["bytes"], limit, size):
            slices.append(Slice(source.source, source.documents[start:stop], mask[start:stop]))
            size += int(source.documents["bytes"][start:stop].sum())
            if full:
                yield Unit(tuple(slices))
                slices, size = [], 0
    if slices:
        yield Unit(tuple(slices))


def _cuts(
    sizes: npt.NDArray[np.uint64], limit: int, already: int
) -> Iterator[tuple[int, int, bool]]:
    """Ranges of documents, each ending where a unit is full, or with the last document."""
    start = 0
    for index, size in enumerate(sizes.tolist()):
        already += size
        if already >= limit:
            yield start, index + 1, True
            start, already = index + 1, 0
    if start < len(sizes):
        yield start, len(sizes), False


class Tokeniser:
    """What a worker does: units in, part files out."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tokenizer = tokenizer.load(job.model)
        self._reader = DocumentReader(job.text_field)

    def make(self, unit: Unit) -> Part:
        """Tokenise a unit, unless its part is there already."""
        key = self._key(unit)
        path = self._job.directory / f"{key.hex()}.part"
        counts = _finished(path, key, np.dtype(self._job.dtype).itemsize)
        if counts:
            return Part(path, unit.bytes, *counts, reused=True)
        train, heldout = self._encode(unit)
        files.write_bytes(path, _packed(key, train, heldout))
        return Part(path, unit.bytes, len(train), len(heldout), reused=False)

    def _encode(self, unit: Unit) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
        eos = np.array([self._tokenizer.eos])
        sides: dict[bool, list[npt.NDArray[np.int64]]] = {False: [eos[:0]], True: [eos[:0]]}
        for piece in unit.slices:
            texts = self._reader.texts(piece.source, piece.documents)
            for text, held in zip(texts, piece.held.tolist(), strict=True):
                sides[held] += [self._tokenizer.encode(text), eos]
        train, heldout = (np.concatenate(side).astype(self._job.dtype) for side in sides.values())
        return train, heldout

    def _key(self, unit: Unit) -> bytes:
        settings = f"{FORMAT} {self._tokenizer.sha256} {self._job.dtype}"
        digest = xxhash.xxh3_128(settings.encode())
        for piece in unit.slices:
            digest.update(piece.documents["high"].tobytes())
            digest.update(piece.documents["low"].tobytes())
            digest.update(piece.held.tobytes())
        return digest.digest()


_worker: list[Tokeniser] = []


def set_up(job: Job) -> None:
    """Prepare this process for `make`."""
    _worker[:] = [Tokeniser(job)]


def make(unit: Unit) -> Part:
    """`Tokeniser.make` in a process that `set_up` prepared."""
    return _worker[0].make(unit)


def _packed(key: bytes, train: npt.NDArray[np.generic], heldout: npt.NDArray[np.generic]) -> bytes:
    payload = train.tobytes() + heldout.tobytes()
    checksum = xxhash.xxh3_128_digest(payload)
    return _HEADER.pack(_MAGIC, key, len(train), len(heldout), checksum) + payload


def _finished(path: Path, key: bytes, itemsize: int) -> tuple[int, int] | None:
    """The token counts of a part that is there and has the size its header says."""
    try:
        with open(path, "rb") as stream:
            header = stream.read(_HEADER.size)
            size = stream.seek(0, 2)
    except FileNotFoundError:
        return None
    if len(header) < _HEADER.size:
        return None
    magic, found, train, heldout, _ = _HEADER.unpack(header)
    whole = size == _HEADER.size + (train + heldout) * itemsize
    return (train, heldout) if (magic, found) == (_MAGIC, key) and whole else None


def read_part(part: Part, split: str, dtype: str) -> npt.NDArray[np.generic]:
    """One side of a part, ("train" or "heldout"), after checking its checksum.

    Raises:
        Damaged: the part is not what was written; it is removed, so that running again mends it.
    """
    raw = part.path.read_bytes()
    _, _, train, _, checksum = _HEADER.unpack_from(raw)
    payload = memoryview(raw)[_HEADER.size :]
    if xxhash.xxh3_128_digest(payload) != checksum:
        part.path.unlink()
        raise Damaged(
            "a finished part changed on disk; it was removed",
            where=str(part.path),
            hint="run the same command again; if this repeats, the disk is failing",
        )
    tokens = np.frombuffer(payload, dtype)
    return tokens[:train] if split == "train" else tokens[train:]
