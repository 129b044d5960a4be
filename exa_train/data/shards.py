"""Token shards: HDF5 files with one contiguous little-endian dataset "tokens" each.

The documents of a split follow each other, each ended by the end-of-sequence token; a shard
ends where its size says, also within a document. The bytes of a file depend on its tokens
only: no times are stored and the format version is fixed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from exa_cli.base import files
from exa_cli.base.errors import Damaged
from exa_train.data.documents import checksum
from exa_train.data.manifest import Shard

DATASET = "tokens"
LIBVER = ("earliest", "v108")

Block = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Extent:
    """Where a shard's tokens lie in its file: they can be read without HDF5."""

    offset: int
    tokens: int
    dtype: np.dtype[np.generic]


def dtype_for(vocab: int) -> str:
    """The narrowest type that holds every token id."""
    return "uint16" if vocab <= 1 << 16 else "uint32"


def shard_sizes(total: int, limit: int) -> list[int]:
    """Tokens of each shard: full ones, then the rest. At least one shard, even if empty."""
    full, rest = divmod(total, limit)
    return [limit] * full + ([rest] if rest or not full else [])


def write_shards(
    split: str, blocks: Iterable[Block], sizes: list[int], dtype: str, directory: Path
) -> list[Shard]:
    """Write ``blocks``, one after the other, as the shards of a split; durable on return.

    Args:
        sizes: tokens of each shard; they add up to the tokens in ``blocks``.
    """
    cursor = _Cursor(iter(blocks))
    shards = []
    for number, size in enumerate(sizes):
        path = directory / f"{split}-{number:05d}.h5"
        _write_shard(path, cursor.take(size), size, dtype)
        length, digest = checksum(path)
        shards.append(Shard(path.name, size, length, digest))
    files.fsync_dir(directory)
    return shards


def _write_shard(path: Path, blocks: Iterable[Block], size: int, dtype: str) -> None:
    stored = np.dtype(dtype).newbyteorder("<")
    with h5py.File(path, "w", libver=LIBVER, locking=False) as file:
        tokens = file.create_dataset(DATASET, shape=(size,), dtype=stored, track_times=False)
        position = 0
        for block in blocks:
            tokens[position : position + len(block)] = block
            position += len(block)
    with open(path, "rb") as written:
        os.fsync(written.fileno())


class _Cursor:
    """A stream of blocks from which exact numbers of tokens are taken."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._left: Block | None = None

    def take(self, count: int) -> Iterator[Block]:
        while count:
            block = next(self._blocks) if self._left is None else self._left
            yield block[:count]
            self._left = block[count:] if len(block) > count else None
            count -= min(len(block), count)


def find_extent(path: Path) -> Extent:
    """Where a shard's tokens lie.

    Raises:
        Damaged: no HDF5 file, or not one that exa wrote.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            tokens = file[DATASET]
            # None where nothing was ever stored, as in an empty dataset.
            offset = 0 if tokens.size == 0 else tokens.id.get_offset()
            extent = Extent(offset, int(tokens.size), tokens.dtype)
    except FileNotFoundError:
        raise _unreadable(path, "it is missing") from None
    except (OSError, KeyError, AttributeError) as error:
        raise _unreadable(path, str(error)) from error
    if offset is None:
        raise _unreadable(path, "its tokens are not stored in one piece")
    return extent


def _unreadable(path: Path, why: str) -> Damaged:
    return Damaged(
        f"a token shard cannot be read: {why}",
        where=str(path),
        hint="copy or prepare the data again",
    )
