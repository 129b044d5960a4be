"""A checkpoint's tensors, whole and row-major, every chunk checked on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.boxes import runs
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.manifest import Manifest, Placed, Tensor
from exa_cli.checkpoint.read import DataFile, Want, open_data, read_ranges

# Tensors are read in groups of about this size, so that a chunk which many small tensors
# share is read once and not once for each of them.
GROUP_BYTES = 256 << 20


class Source:
    """The tensors of a committed checkpoint, by name."""

    def __init__(self, checkpoint: Path, manifest: Manifest) -> None:
        self.checkpoint = checkpoint
        self._manifest = manifest
        self._files: dict[int, DataFile] = {}
        self._records = {record.writer: record for record in manifest.files}

    @classmethod
    def open(cls, checkpoint: Path) -> Source:
        """Raises Damaged when the manifest is not there or not what was sealed."""
        manifest = manifests.read(checkpoint)
        if manifest is None:
            raise Damaged("this checkpoint was never committed", where=str(checkpoint))
        return cls(checkpoint, manifest)

    @property
    def names(self) -> list[str]:
        return sorted(self._manifest.tensors)

    def tensor(self, name: str) -> Tensor:
        return self._manifest.tensors[name]

    def read(self, names: Sequence[str]) -> list[memoryview]:
        """The tensors, each row-major in its stored dtype. Raises Damaged and OSError."""
        targets = [memoryview(bytearray(self.tensor(name).bytes)) for name in names]
        wants: dict[int, list[Want]] = {}
        for name, target in zip(names, targets, strict=True):
            tensor = self.tensor(name)
            for piece in tensor.slices:
                wants.setdefault(piece.writer, []).extend(_wants(tensor, piece, target))
        for writer, of_file in wants.items():
            read_ranges(self._open(writer), of_file)
        return targets

    def _open(self, writer: int) -> DataFile:
        if writer not in self._files:
            record = self._records[writer]
            path = self.checkpoint / record.name
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


class _Sized(Protocol):
    @property
    def bytes(self) -> int: ...


_T = TypeVar("_T", bound=_Sized)


def in_groups(things: Iterable[_T], limit: int) -> Iterator[list[_T]]:
    """Cut a list where its bytes would exceed ``limit``; what is larger stands alone."""
    group: list[_T] = []
    size = 0
    for thing in things:
        if group and size + thing.bytes > limit:
            yield group
            group, size = [], 0
        group.append(thing)
        size += thing.bytes
    yield group
