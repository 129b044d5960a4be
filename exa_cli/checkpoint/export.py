"""Export: the model's weights as plain safetensors, every chunk checked on the way."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Invalid
from exa_cli.base.files import fsync_dir, write_json
from exa_cli.checkpoint.convert import convert, target_dtype
from exa_cli.checkpoint.source import GROUP_BYTES, Source, in_groups
from exa_cli.checkpoint.tensorfile import Head, header
from exa_cli.checkpoint.write import write_all

PREFIX = "model."
SHARD_BYTES = 4_000_000_000


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
    source = Source.open(checkpoint)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Invalid("the output directory is not empty", where=str(out), hint="name a new one")
    shards = _shards(_heads(source, dtype), shard_bytes)
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


def _heads(source: Source, dtype: str) -> list[Head]:
    """What the export will hold, sorted by name."""
    names = [fqn for fqn in source.names if fqn.startswith(PREFIX)]
    if not names:
        raise Invalid(f"no tensor is named {PREFIX}…", where=str(source.checkpoint))
    found = [(name.removeprefix(PREFIX), source.tensor(name)) for name in names]
    return [Head(name, target_dtype(t.dtype, dtype), t.shape) for name, t in found]


def _shards(heads: list[Head], limit: int) -> dict[str, list[Head]]:
    """File name → its tensors; a tensor larger than the limit has a file of its own."""
    groups = list(in_groups(heads, limit))
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    total = len(groups)
    return {f"model-{i:05d}-of-{total:05d}.safetensors": g for i, g in enumerate(groups, start=1)}


def _write_shard(path: Path, heads: list[Head], source: Source) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(fd, header(heads))
        for group in in_groups(heads, GROUP_BYTES):
            names = [PREFIX + head.name for head in group]
            for head, name, data in zip(group, names, source.read(names), strict=True):
                write_all(fd, convert(data, source.tensor(name).dtype, head.dtype))
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
