"""The folder ``exa-parity`` beside what it protects: names, and the sealed index.

::

    exa-parity/INDEX.json        sizes, checksums, groups, parity files; sealed; twice
    exa-parity/INDEX.copy.json
    exa-parity/MANIFEST.json     a copy of the checkpoint's own, for a checkpoint of exa
    exa-parity/parity-000000.exa …

The folder appears by one rename, whole. A checkpoint without it is merely unprotected.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from exa_cli.base.errors import Damaged
from exa_cli.base.files import write_bytes
from exa_cli.base.seal import canonical, check, seal
from exa_cli.checkpoint.datafile import CHUNK_BYTES, Identity, chunk_count
from exa_cli.checkpoint.groups import Plan
from exa_cli.checkpoint.names import parse_data, parse_directory

SIDECAR = "exa-parity"
INDEX = "INDEX.json"
INDEX_COPY = "INDEX.copy.json"
LOG = "REPAIR.jsonl"
ROWS_PER_FILE = 256  # a parity file is 1 GiB at most
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\.exa-repair")
_STARTS_WITH = f".{SIDECAR}."  # names of a folder that is being made, or was put aside


@dataclass(frozen=True)
class Guarded:
    """A protected file: its path inside the directory, its bytes and the sums of its chunks."""

    name: str
    bytes: int
    sums: tuple[str, ...]


@dataclass(frozen=True)
class ParityFile:
    """One chunk of parity for each of ``len(sums)`` groups, one after another."""

    name: str
    bytes: int
    sums: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """What a sidecar knows.

    ``id`` is drawn anew for each protection and goes into the checksums of its parity.
    ``step``, ``generation`` and ``manifest`` (sha256 of its bytes) say which checkpoint of exa
    this belongs to; they are None for a foreign directory. ``files`` stand in the order of the
    line (`groups`).
    """

    id: str
    written: str
    group: int
    groups: int
    step: int | None
    generation: str | None
    manifest: str | None
    files: tuple[Guarded, ...]
    parity: tuple[ParityFile, ...] = ()

    @cached_property
    def plan(self) -> Plan:
        return Plan(tuple(file.bytes for file in self.files), self.groups)

    def seed(self, file: int) -> int:
        return file_seed(self.files[file].name, self.generation, self.step)

    @property
    def parity_seed(self) -> int:
        return _seed(f"exa parity 1 {self.id}".encode())

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each group's parity begins in its file."""
        found: list[int] = []
        at = 0
        for group in range(self.groups):
            at = 0 if group % ROWS_PER_FILE == 0 else at
            found.append(at)
            at += self.plan.width(group)
        return tuple(found)

    @property
    def lasting(self) -> list[str]:
        """Files that can be rebuilt when they are lost whole."""
        return [f.name for i, f in enumerate(self.files) if self.plan.rebuildable(i)]


def file_seed(name: str, generation: str | None, step: int | None) -> int:
    """The seed of a file's chunk sums; for a data file of exa the one its own footer uses."""
    writer = parse_data(name)
    if generation is not None and step is not None and writer is not None:
        return Identity(generation, step, writer).seed
    return _seed(b"exa foreign chunk 1 " + os.fsencode(name))


def _seed(name: bytes) -> int:
    return xxhash.xxh3_64_intdigest(name)


def parity_name(number: int) -> str:
    return f"parity-{number:06d}.exa"


def digest(data: bytes) -> str:
    """How an index names a manifest."""
    return hashlib.sha256(data).hexdigest()


def temporary_name(token: str, what: str) -> str:
    """A name beside the sidecar for one that is being made, or that was put aside."""
    return f"{_STARTS_WITH}{token}.{what}"


def is_ours(name: str) -> bool:
    """Whether a name directly in a protected directory is exa's and not the owner's."""
    return name == SIDECAR or name.startswith(_STARTS_WITH)


def leftover_name() -> str:
    """A name for a file that is being put together, short enough beside any other."""
    return f".{secrets.token_hex(4)}.exa-repair"


def is_leftover(name: str) -> bool:
    return _LEFTOVER.fullmatch(name) is not None


def is_checkpoint(directory: Path) -> bool:
    """Whether a directory has the name of a checkpoint of exa; else it is a foreign one."""
    return parse_directory(directory.name) is not None


def exists(directory: Path) -> bool:
    return (directory / SIDECAR).is_dir()


def log_path(directory: Path) -> Path:
    """Where repairs are noted: in a foreign directory nothing is added beside the sidecar."""
    return (directory if is_checkpoint(directory) else directory / SIDECAR) / LOG


def encode(index: Index) -> bytes:
    record: dict[str, Any] = {"schema": 1, "chunk_bytes": CHUNK_BYTES, **asdict(index)}
    return canonical({**record, "seal": seal(record)}).encode() + b"\n"


def decode(data: bytes, name: str) -> Index:
    """Raises Damaged (``where`` is ``name``) for anything but what `encode` made."""
    try:
        record = json.loads(data)
        if not check(record) or canonical(record).encode() + b"\n" != data:
            raise Damaged("the seal does not match the content", where=name)
        if record["schema"] != 1 or record["chunk_bytes"] != CHUNK_BYTES:
            raise Damaged(f"has schema {record['schema']}", where=name)
        return _checked(_index(record))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"is not an index: {error}", where=name) from error


def _index(record: dict[str, Any]) -> Index:
    fields = {k: v for k, v in record.items() if k not in ("schema", "chunk_bytes", "seal")}
    for key, kind in (("files", Guarded), ("parity", ParityFile)):
        fields[key] = tuple(kind(**{**raw, "sums": tuple(raw["sums"])}) for raw in fields[key])
    return Index(**fields)


def _checked(index: Index) -> Index:
    """Raise ValueError for an index that contradicts itself or names a file elsewhere.

    Its names are written to when something is repaired, so none may lead out of the directory.
    """
    for file in index.files:
        parts = file.name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in file.name:
            raise ValueError(f"{file.name!r} is no path inside the directory")
        if is_ours(parts[0]):
            raise ValueError(f"{file.name!r} is the sidecar's own")
        if len(file.sums) != chunk_count(file.bytes):
            raise ValueError(f"{file.name!r} has {len(file.sums)} sums")
    if len({file.name for file in index.files}) != len(index.files):
        raise ValueError("two files of one name")
    _check_parity(index)
    return index


def _check_parity(index: Index) -> None:
    total = sum(index.plan.chunks)
    if (index.groups < 1 and total) or index.groups > total:
        raise ValueError(f"{index.groups} groups for {total} chunks")
    for number, file in enumerate(index.parity):
        rows = parity_rows(index, number)
        if file.name != parity_name(number) or len(file.sums) != len(rows):
            raise ValueError(f"{file.name!r} is no parity file of this index")
        if file.bytes != sum(map(index.plan.width, rows)):
            raise ValueError(f"{file.name!r} has {file.bytes} bytes")
    if len(index.parity) != parity_files(index):
        raise ValueError("a parity file is not listed")


def parity_files(index: Index) -> int:
    """How many files hold the parity of all groups."""
    return -(-index.groups // ROWS_PER_FILE)


def parity_rows(index: Index, number: int) -> range:
    """The groups whose parity stands in a parity file."""
    first = number * ROWS_PER_FILE
    return range(first, min(first + ROWS_PER_FILE, index.groups))


def write_index(folder: Path, index: Index) -> None:
    """Both copies; either is enough."""
    data = encode(index)
    for name in (INDEX_COPY, INDEX):
        write_bytes(folder / name, data)


@dataclass(frozen=True)
class Found:
    """What `read_index` found: the index if a copy of it is whole, and the copies' faults."""

    index: Index | None
    faults: tuple[tuple[str, str], ...]


def read_index(directory: Path) -> Found:
    """Read both copies. Raises OSError when one is there and cannot be read."""
    indexes: list[Index] = []
    faults: list[tuple[str, str]] = []
    for name in (INDEX, INDEX_COPY):
        try:
            data = (directory / SIDECAR / name).read_bytes()
            indexes.append(decode(data, name))
        except FileNotFoundError:
            faults.append((name, "is missing"))
        except Damaged as damage:
            faults.append((name, damage.what))
    if len({index.id for index in indexes}) > 1:
        faults.append((INDEX_COPY, "belongs to another protection"))
    return Found(indexes[0] if indexes else None, tuple(faults))


def with_parity(index: Index, parity: list[ParityFile], files: list[Guarded]) -> Index:
    """The index once everything has been read and written."""
    return replace(index, parity=tuple(parity), files=tuple(files))
