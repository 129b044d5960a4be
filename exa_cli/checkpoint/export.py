"""Export: the model's weights as plain safetensors, every chunk checked on the way."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Damaged, Invalid
from exa_cli.base.files import fsync_dir, write_json
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.boxes import runs
from exa_cli.checkpoint.convert import convert, target_dtype
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.manifest import Manifest, Placed, Tensor
from exa_cli.checkpoint.read import DataFile, Want, open_data, read_ranges
from exa_cli.checkpoint.tensorfile import Head, header
from exa_cli.checkpoint.write import write_all

PREFIX = "model."
SHARD_BYTES = 4_000_000_000
# Tensors are read in groups of about this size, so that a chunk which many small tensors
# share is read once and not once for each of them.
_GROUP_BYTES = 256 << 20


@dataclass(frozen=True)
class Exported:
    """What was written: file names in order, tensors, bytes of tensor data."""

    files: tuple[str, ...]
    tensors: int
    bytes: int


def export(
    checkpoint: Path,
    out: Path,
    *,
    config: dict[str, Any],
    dtype: str = "keep",
    shard_bytes: int = SHARD_BYTES,
) -> Exported:
    """Write the tensors named ``model.…`` (without that prefix) to ``out``.

    ``out`` appears whole or not at all, and holds ``config.json`` and ``model.safetensors``,
    or numbered shards of at most ``shard_bytes`` with ``model.safetensors.index.json``. The
    files depend on weights, names and options only: equal weights give equal bytes. In memory
    are one group of tensors, never the optimizer's state.

    Raises Invalid when ``out`` exists and is not empty, Damaged when anything that is read is
    not what was written, OSError when it cannot be read or written.
    """
    manifest = manifests.read(checkpoint)
    if manifest is None:
        raise Damaged("this checkpoint was never committed", where=str(checkpoint))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Invalid("the output directory is not empty", where=str(out), hint="name a new one")
    source = _Source(checkpoint, manifest)
    shards = _shards(source.heads(dtype), shard_bytes)
    out.parent.mkdir(parents=True, exist_ok=True)
    tmp = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    tmp.mkdir()
    try:
        for name, heads in shards.items():
            _write_shard(tmp / name, heads, source)
        _write_json_files(tmp, shards, config)
        os.rename(tmp, out)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    fsync_dir(out.parent)
    heads = [head for group in shards.values() for head in group]
    return Exported(tuple(shards), len(heads), sum(head.bytes for head in heads))


def _shards(heads: list[Head], limit: int) -> dict[str, list[Head]]:
    """File name → its tensors; a tensor larger than the limit has a file of its own."""
    groups = list(_groups(heads, limit))
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    total = len(groups)
    return {f"model-{i:05d}-of-{total:05d}.safetensors": g for i, g in enumerate(groups, start=1)}


def _groups(heads: list[Head], limit: int) -> Iterator[list[Head]]:
    group: list[Head] = []
    size = 0
    for head in heads:
        if group and size + head.bytes > limit:
            yield group
            group, size = [], 0
        group.append(head)
        size += head.bytes
    yield group


def _write_shard(path: Path, heads: list[Head], source: _Source) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(fd, header(heads))
        for group in _groups(heads, _GROUP_BYTES):
            for head, data in zip(group, source.read(group), strict=True):
                write_all(fd, convert(data, source.tensor(head.name).dtype, head.dtype))
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_json_files(folder: Path, shards: dict[str, list[Head]], config: dict[str, Any]) -> None:
    write_json(folder / "config.json", config)
    if len(shards) > 1:
        total = sum(head.bytes for heads in shards.values() for head in heads)
        where = {head.name: name for name, heads in shards.items() for head in heads}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        write_json(folder / "model.safetensors.index.json", index)


class _Source:
    """The model's tensors of a checkpoint, by their exported names."""

    def __init__(self, checkpoint: Path, manifest: Manifest) -> None:
        self._checkpoint = checkpoint
        self._manifest = manifest
        self._files: dict[int, DataFile] = {}
        self._records = {record.writer: record for record in manifest.files}
        self._names = sorted(
            fqn.removeprefix(PREFIX) for fqn in manifest.tensors if fqn.startswith(PREFIX)
        )
        if not self._names:
            raise Invalid(f"no tensor is named {PREFIX}…", where=str(checkpoint))

    def tensor(self, name: str) -> Tensor:
        return self._manifest.tensors[PREFIX + name]

    def heads(self, dtype: str) -> list[Head]:
        """What the export will hold, sorted by name."""
        return [
            Head(name, target_dtype(self.tensor(name).dtype, dtype), self.tensor(name).shape)
            for name in self._names
        ]

    def read(self, group: list[Head]) -> list[memoryview]:
        """The tensors of a group, whole and row-major, in their stored dtype."""
        targets = [memoryview(bytearray(self.tensor(head.name).bytes)) for head in group]
        wants: dict[int, list[Want]] = {}
        for head, target in zip(group, targets, strict=True):
            tensor = self.tensor(head.name)
            for piece in tensor.slices:
                wants.setdefault(piece.writer, []).extend(_wants(tensor, piece, target))
        for writer, of_file in wants.items():
            read_ranges(self._open(writer), of_file)
        return targets

    def _open(self, writer: int) -> DataFile:
        if writer not in self._files:
            record = self._records[writer]
            path = self._checkpoint / record.name
            self._files[writer] = open_data(path, record, self._manifest.identity(writer))
        return self._files[writer]


def _wants(tensor: Tensor, piece: Placed, target: memoryview) -> Iterator[Want]:
    """Where the bytes of a slice go in the whole tensor."""
    item = ITEM_BYTES[tensor.dtype]
    at = piece.at
    for offset, count in runs(tensor.shape, piece.start, piece.size):
        part = target[offset * item : (offset + count) * item]
        yield Want(at, part.nbytes, lambda part=part: part)  # type: ignore[misc]
        at += part.nbytes
