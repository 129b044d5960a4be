"""``manifest.json``: what a prepared directory holds, sealed by a hash, written last.

A directory without a valid one is not prepared. It depends on the inputs and the options only,
never on the time, the machine or the number of workers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import files, seal
from exa_cli.base.errors import Damaged, Invalid, NotFound

NAME = "manifest.json"
SCHEMA = 1
KIND = "exa-tokens"
SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Shard:
    """One HDF5 file; ``xxh3_128`` is of the whole file."""

    file: str
    tokens: int
    bytes: int
    xxh3_128: str


@dataclass(frozen=True)
class Split:
    """One side of the corpus. ``bytes_text`` is the size of its documents in UTF-8."""

    documents: int
    tokens: int
    bytes_text: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class SourceFile:
    """One input file: size and checksum as it lay on disk, documents taken from it."""

    path: str
    bytes: int
    xxh3_128: str
    documents: int


@dataclass(frozen=True)
class TokenizerFile:
    """The tokenizer beside the shards; ``trained`` tells whether it learnt from this corpus."""

    file: str
    bytes: int
    sha256: str
    trained: bool
    lossless: bool


@dataclass(frozen=True)
class Cut:
    """The corpus was one document; its ``pieces`` were split, and are counted, as documents."""

    pieces: int


@dataclass(frozen=True)
class Manifest:
    """A prepared directory.

    Attributes:
        data_id: names the content: the same tokens and tokenizer have the same id.
        inputs_key: names the inputs and options, so that repeating a command is recognised.
        vocab: number of tokens; dtype: "uint16" or "uint32", little-endian.
        eos: the token after each document; special: name → id of all that text cannot produce.
        skipped: what was left out: reason → count.
        made_by: versions of the programs that wrote it.
        cut: how its only document was cut; None: its documents are whole.
    """

    data_id: str
    inputs_key: str
    inputs: tuple[str, ...]
    vocab: int
    dtype: str
    eos: int
    special: Mapping[str, int]
    tokenizer: TokenizerFile
    options: Mapping[str, Any]
    splits: Mapping[str, Split]
    sources: tuple[SourceFile, ...]
    skipped: Mapping[str, int]
    made_by: Mapping[str, str]
    cut: Cut | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form with its seal."""
        body = {"schema": SCHEMA, "kind": KIND, **dataclasses.asdict(self)}
        return {**body, seal.KEY: seal.seal(body)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Manifest:
        """The inverse of `to_dict`. Raises KeyError or TypeError; does not check the seal."""
        raw = {"cut": None, **raw}  # manifests written before anything was cut lack it
        known = {field.name: raw[field.name] for field in dataclasses.fields(cls)}
        return cls(
            **{
                **known,
                "inputs": tuple(raw["inputs"]),
                "tokenizer": TokenizerFile(**raw["tokenizer"]),
                "splits": {name: _split(raw["splits"][name]) for name in SPLITS},
                "sources": tuple(SourceFile(**source) for source in raw["sources"]),
                "cut": Cut(**raw["cut"]) if raw["cut"] is not None else None,
            }
        )

    def shards(self) -> tuple[Shard, ...]:
        """All shards, training first."""
        return tuple(shard for name in SPLITS for shard in self.splits[name].shards)


def _split(raw: Mapping[str, Any]) -> Split:
    return Split(**{**raw, "shards": tuple(Shard(**shard) for shard in raw["shards"])})


def data_id(tokenizer_sha256: str, splits: Mapping[str, Split]) -> str:
    """32 hex digits that name the content: the tokenizer and every shard's checksum."""
    digest = hashlib.sha256(tokenizer_sha256.encode())
    for name in SPLITS:
        for shard in splits[name].shards:
            digest.update(f"\n{name} {shard.tokens} {shard.xxh3_128}".encode())
    return digest.hexdigest()[:32]


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Seal and write; the directory counts as prepared when this returns."""
    files.write_json(directory / NAME, manifest.to_dict())


def load_manifest(directory: Path | str) -> Manifest:
    """Read and check a prepared directory's manifest.

    Raises:
        NotFound: there is none, so the directory is not (fully) prepared.
        Damaged: it is not what was written.
        Invalid: it is of a kind or schema this version does not read.
    """
    path = Path(directory) / NAME
    try:
        raw = files.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            "no prepared data here",
            where=str(path),
            hint="exa data prepare INPUT… -o DIR --vocab N",
        ) from None
    except ValueError as error:
        raise _damaged(path, f"not JSON: {error}") from None
    return _checked(raw, path)


def _checked(raw: Any, path: Path) -> Manifest:
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        raise Invalid("not a manifest of prepared data", where=str(path))
    if raw.get("schema") != SCHEMA:
        raise Invalid(
            f"the manifest has schema {raw.get('schema')!r}; this exa reads {SCHEMA}",
            where=str(path),
            hint="prepare the data again with this version, or use the exa that wrote it",
        )
    if not seal.check(raw):
        raise _damaged(path, "its seal does not fit its content")
    try:
        return Manifest.from_dict(raw)
    except (KeyError, TypeError) as error:
        raise _damaged(path, f"a field is missing or wrong: {error}") from None


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(
        f"the manifest is damaged: {why}",
        where=str(path),
        hint="prepare the data again into a new directory",
    )
