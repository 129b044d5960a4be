"""The data file: a stored stream in chunks, a footer that describes it, a fixed trailer.

::

    0            chunk 0 (4 MiB)   chunk 1 …   last chunk (shorter)   footer (JSON)   trailer

The stream is what is protected: every chunk has a checksum over its *stored* bytes, so that
integrity and parity need not know what a slice, a dtype or a codec is. Slices lie in the
stream at positions the footer names. Every byte of a file is covered: the stream by its chunk
sums, the footer by the sum in the trailer, the trailer by having to fit file and footer.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from exa_cli.base.errors import Damaged, Invalid
from exa_cli.checkpoint.names import data_name

CHUNK_BYTES = 4 << 20
ALIGN_BYTES = 64  # a slice starts on a cache line, and so on a whole element
RAW = "raw"

MAGIC = b"exa-data-file/1\n"
# magic, footer offset, footer length, xxh3-128 of the footer
TRAILER = struct.Struct("<16sQQ16s")


@dataclass(frozen=True)
class Identity:
    """Which file this is. Chunk sums are seeded with it, so no other file's chunk fits here."""

    generation: str
    step: int
    writer: int

    @property
    def seed(self) -> int:
        name = f"exa chunk 1 {self.generation} {self.step} {self.writer}"
        return xxhash.xxh3_64_intdigest(name.encode())


@dataclass(frozen=True)
class Slice:
    """A box of one tensor and where it lies.

    ``start`` and ``size`` are in elements of the global tensor; ``at`` and ``bytes`` are the
    place and length of the coded box in the stored stream. With codec ``raw`` the box is
    stored row-major and little-endian.
    """

    fqn: str
    dtype: str
    start: tuple[int, ...]
    size: tuple[int, ...]
    at: int
    bytes: int
    codec: str = RAW

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Slice:
        return cls(**{**raw, "start": tuple(raw["start"]), "size": tuple(raw["size"])})


@dataclass(frozen=True)
class Section:
    """What one rank put into a file. A file may hold the sections of several ranks."""

    rank: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Footer:
    """What a data file says about itself. ``sums`` are the chunks' checksums, 16 bytes each."""

    identity: Identity
    data_bytes: int
    sums: tuple[bytes, ...]
    sections: tuple[Section, ...]

    @property
    def slices(self) -> Iterator[Slice]:
        return (piece for section in self.sections for piece in section.slices)


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says about a data file: enough to know it from any other."""

    name: str
    writer: int
    bytes: int
    data_bytes: int
    root: str


def require_little_endian() -> None:
    """Raise Invalid on a big-endian machine: bytes go to tensors and back as they are."""
    if sys.byteorder != "little":
        raise Invalid("checkpoints are little-endian and this machine is not")


def chunk_count(data_bytes: int) -> int:
    return -(-data_bytes // CHUNK_BYTES)


def chunk_span(index: int, data_bytes: int) -> tuple[int, int]:
    """First and one-past-last byte of a chunk in the file."""
    return index * CHUNK_BYTES, min((index + 1) * CHUNK_BYTES, data_bytes)


def chunk_sum(chunk: bytes | bytearray | memoryview, seed: int) -> bytes:
    return xxhash.xxh3_128_digest(chunk, seed)


def root_of(sums: Sequence[bytes], identity: Identity) -> str:
    """One number for all chunks of a file; the manifest keeps it."""
    return xxhash.xxh3_128_hexdigest(b"".join(sums), identity.seed)


def encode_tail(footer: Footer) -> bytes:
    """Footer and trailer, as they follow the stream."""
    body = json.dumps(
        {
            "schema": 1,
            **asdict(footer.identity),
            "chunk_bytes": CHUNK_BYTES,
            "data_bytes": footer.data_bytes,
            "chunks": [digest.hex() for digest in footer.sums],
            "sections": [asdict(section) for section in footer.sections],
        },
        separators=(",", ":"),
    ).encode()
    checksum = xxhash.xxh3_128_digest(body)
    return body + TRAILER.pack(MAGIC, footer.data_bytes, len(body), checksum)


def footer_span(trailer: bytes, file_bytes: int, name: str) -> tuple[int, int, bytes]:
    """Where the footer lies and its checksum. Raises Damaged when the trailer cannot be right."""
    magic, offset, length, checksum = TRAILER.unpack(trailer)
    if magic != MAGIC:
        raise Damaged("the trailer is not a data file's", where=name)
    if offset + length + TRAILER.size != file_bytes:
        raise Damaged("the trailer does not fit the file's size", where=name)
    return offset, length, checksum


def decode_footer(body: bytes, checksum: bytes, offset: int, name: str) -> Footer:
    """Parse a footer found at ``offset``. Raises Damaged when it is not what was written."""
    if xxhash.xxh3_128_digest(body) != checksum:
        raise Damaged("the footer's checksum differs", where=name)
    try:
        footer = _footer(json.loads(body))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"the footer cannot be understood: {error!r}", where=name) from error
    if footer.data_bytes != offset or len(footer.sums) != chunk_count(offset):
        raise Damaged("the footer contradicts itself", where=name)
    return footer


def _footer(raw: dict[str, Any]) -> Footer:
    if raw["schema"] != 1 or raw["chunk_bytes"] != CHUNK_BYTES:
        raise ValueError(f"schema {raw['schema']}, chunks of {raw['chunk_bytes']} bytes")
    return Footer(
        identity=Identity(raw["generation"], raw["step"], raw["writer"]),
        data_bytes=raw["data_bytes"],
        sums=tuple(bytes.fromhex(digest) for digest in raw["chunks"]),
        sections=tuple(
            Section(section["rank"], tuple(map(Slice.from_dict, section["slices"])))
            for section in raw["sections"]
        ),
    )


def check_record(footer: Footer, record: FileRecord, identity: Identity) -> None:
    """Raise Damaged when a sound footer is not the one the manifest means."""
    if footer.identity != identity:
        other = footer.identity
        raise Damaged(
            f"belongs to step {other.step}, generation {other.generation}, writer {other.writer}",
            where=record.name,
        )
    if record.name != data_name(identity.writer) or footer.data_bytes != record.data_bytes:
        raise Damaged("the footer contradicts the manifest", where=record.name)
    if root_of(footer.sums, identity) != record.root:
        raise Damaged("the chunk sums are not those of the manifest", where=record.name)
