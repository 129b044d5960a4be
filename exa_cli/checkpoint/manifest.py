"""The manifest: what a checkpoint consists of, sealed. It exists only once all else does.

Canonical JSON on one line: a manifest has exactly one spelling, so any changed byte is seen,
by the seal or by the spelling.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Damaged
from exa_cli.base.files import write_bytes
from exa_cli.base.seal import canonical
from exa_cli.checkpoint.boxes import fits
from exa_cli.checkpoint.datafile import CHUNK_BYTES, RAW, FileRecord, Identity, Slice
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.names import MANIFEST, data_name, parse_directory

SCHEMA = 1


@dataclass(frozen=True)
class Stats:
    """What a tensor of floats looked like when it was saved.

    ``low``, ``high`` and ``mean_abs`` are over its finite values; None when there are none.
    """

    count: int
    finite: int
    low: float | None
    high: float | None
    mean_abs: float | None


@dataclass(frozen=True)
class Placed:
    """A slice of a tensor in the file of ``writer``; fields as in `datafile.Slice`."""

    writer: int
    start: tuple[int, ...]
    size: tuple[int, ...]
    at: int
    bytes: int
    codec: str

    @classmethod
    def of(cls, writer: int, piece: Slice) -> Placed:
        return cls(writer, piece.start, piece.size, piece.at, piece.bytes, piece.codec)

    def as_slice(self, fqn: str, dtype: str) -> Slice:
        return Slice(fqn, dtype, self.start, self.size, self.at, self.bytes, self.codec)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the checkpoint: global shape, safetensors dtype, slices, statistics."""

    dtype: str
    shape: tuple[int, ...]
    slices: tuple[Placed, ...]
    stats: Stats | None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Manifest:
    """A committed checkpoint.

    ``layout`` says how it was spread when saved (world, meshes), ``meta`` is the trainer's own
    JSON, ``versions`` the software's, ``written`` the time of commit in ISO 8601.
    """

    step: int
    generation: str
    epoch: int
    written: str
    layout: dict[str, Any]
    files: tuple[FileRecord, ...]
    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    versions: dict[str, str]

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.files)

    @property
    def nonfinite(self) -> list[str]:
        """Tensors that held NaN or infinity when saved."""
        return [n for n, t in self.tensors.items() if t.stats and t.stats.finite < t.stats.count]

    def identity(self, writer: int) -> Identity:
        return Identity(self.generation, self.step, writer)

    def slices_by_writer(self) -> dict[int, list[Slice]]:
        """What each file holds, by position."""
        found: dict[int, list[Slice]] = {record.writer: [] for record in self.files}
        for fqn, tensor in self.tensors.items():
            for piece in tensor.slices:
                found[piece.writer].append(piece.as_slice(fqn, tensor.dtype))
        return {writer: sorted(pieces, key=by_place) for writer, pieces in found.items()}


def by_place(piece: Slice) -> tuple[int, str]:
    """Sorts the slices of a file as they lie in it."""
    return piece.at, piece.fqn


def encode(manifest: Manifest) -> bytes:
    """The manifest as it stands in the file."""
    record = {"schema": SCHEMA, "chunk_bytes": CHUNK_BYTES, **asdict(manifest)}
    return _canonical({**record, "seal": _seal(record)})


def _canonical(record: dict[str, Any]) -> bytes:
    return canonical(record).encode() + b"\n"


def _seal(record: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(_canonical(record)).hexdigest()


def decode(data: bytes, directory: str) -> Manifest:
    """Parse the manifest found in ``directory``; raise Damaged when it is not what was sealed
    there, with the reason."""
    try:
        record = json.loads(data)
        seal = record.pop("seal")
        sealed = _seal(record) == seal and _canonical({**record, "seal": seal}) == data
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Damaged("is not a manifest", where=MANIFEST) from error
    if not sealed:
        raise Damaged("the seal does not match the content", where=MANIFEST)
    if record["schema"] != SCHEMA:
        hint = "a newer exa wrote it; use that"
        raise Damaged(f"has schema {record['schema']}", where=MANIFEST, hint=hint)
    try:
        manifest = _manifest(record)
        _check(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"contradicts itself: {error}", where=MANIFEST) from error
    if parse_directory(directory) != (manifest.step, manifest.generation):
        other = f"step {manifest.step}, generation {manifest.generation}"
        raise Damaged(f"belongs to {other}", where=MANIFEST)
    return manifest


def _manifest(record: dict[str, Any]) -> Manifest:
    fields = {k: v for k, v in record.items() if k not in ("schema", "chunk_bytes")}
    fields["files"] = tuple(FileRecord(**raw) for raw in fields["files"])
    fields["tensors"] = {fqn: _tensor(raw) for fqn, raw in fields["tensors"].items()}
    return Manifest(**fields)


def _tensor(raw: dict[str, Any]) -> Tensor:
    slices = (
        Placed(**{**piece, "start": tuple(piece["start"]), "size": tuple(piece["size"])})
        for piece in raw["slices"]
    )
    stats = Stats(**raw["stats"]) if raw["stats"] is not None else None
    return Tensor(raw["dtype"], tuple(raw["shape"]), tuple(slices), stats)


def _check(manifest: Manifest) -> None:
    """Raise ValueError unless files have their own names and slices make up their tensors."""
    room = {record.writer: record.data_bytes for record in manifest.files}
    for record in manifest.files:
        if record.name != data_name(record.writer):
            raise ValueError(f"{record.name!r} is no name for writer {record.writer}'s file")
    if len(room) != len(manifest.files):
        raise ValueError("two files of one writer")
    for fqn, tensor in manifest.tensors.items():
        _check_tensor(fqn, tensor, room)


def _check_tensor(fqn: str, tensor: Tensor, room: dict[int, int]) -> None:
    for piece in tensor.slices:
        if not fits(tensor.shape, piece.start, piece.size):
            raise ValueError(f"a slice of {fqn} lies outside its shape")
        if piece.at < 0 or piece.at + piece.bytes > room[piece.writer]:
            raise ValueError(f"a slice of {fqn} lies outside its file")
        if piece.codec != RAW:
            raise ValueError(f"a slice of {fqn} has the unknown codec {piece.codec!r}")
        if piece.bytes != math.prod(piece.size) * ITEM_BYTES[tensor.dtype]:
            raise ValueError(f"a slice of {fqn} has {piece.bytes} bytes")
    if sum(piece.bytes for piece in tensor.slices) != tensor.bytes:
        raise ValueError(f"the slices of {fqn} do not add up to it")


def commit(directory: Path, manifest: Manifest) -> None:
    """Make the checkpoint exist: the last thing written, durable when this returns."""
    write_bytes(directory / MANIFEST, encode(manifest))


def read(directory: Path) -> Manifest | None:
    """The manifest, or None when the checkpoint was never committed.

    Raises Damaged, and OSError when the file is there and cannot be read.
    """
    try:
        data = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return decode(data, directory.name)
