"""A DCP StorageReader over our data files: every chunk is checked before it counts."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.storage import StorageReader
from torch.futures import Future

from exa_cli.checkpoint.manifest import Manifest, Placed
from exa_cli.checkpoint.read import Want, open_data, read_ranges
from exa_train.checkpoint.agree import attempt
from exa_train.checkpoint.errors import Fault
from exa_train.checkpoint.tensors import DTYPES, raw


class Reader(StorageReader):
    """Reads one rank's part of the checkpoint that ``manifest`` describes.

    It does not raise for damage or I/O errors: ``fault`` holds what this rank met, and the
    tensors' contents are then undefined. ``bytes`` counts what was read and checked.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._directory = directory
        self._manifest = manifest
        self._records = {record.writer: record for record in manifest.files}
        self.fault: Fault | None = None
        self.bytes = 0

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """One reader serves one load; there is nothing to reset."""

    def read_metadata(self) -> Metadata:
        """No ``**kwargs`` on purpose: with them DCP retries without collectives after a failure,
        and the other ranks wait for a rank that has left."""
        return metadata_of(self._manifest)

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any) -> None:
        """Everything is known from the manifest."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        _, self.fault = attempt(lambda: self._read(plan.items, planner))
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _read(self, items: list[ReadItem], planner: LoadPlanner) -> None:
        placed = {
            (fqn, piece.start): piece
            for fqn, tensor in self._manifest.tensors.items()
            for piece in tensor.slices
        }
        wants: dict[int, list[Want]] = defaultdict(list)
        for item in items:
            source = item.storage_index
            piece = placed[source.fqn, tuple(source.offset or ())]
            wants[piece.writer].append(_Landing(item, piece, planner).want())
        for writer, of_file in sorted(wants.items()):
            record = self._records[writer]
            path = self._directory / record.name
            data = open_data(path, record, self._manifest.identity(writer))
            self.bytes += read_ranges(data, of_file)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


def metadata_of(manifest: Manifest) -> Metadata:
    """What DCP plans a load from."""
    return Metadata(
        {
            fqn: TensorStorageMetadata(
                properties=TensorProperties(dtype=DTYPES[tensor.dtype]),
                size=torch.Size(tensor.shape),
                chunks=[
                    ChunkStorageMetadata(torch.Size(piece.start), torch.Size(piece.size))
                    for piece in tensor.slices
                ],
            )
            for fqn, tensor in manifest.tensors.items()
        }
    )


class _Landing:
    """Where one read of a plan ends up.

    A read is a box inside a stored slice. Its rows are contiguous in the file: when the box has
    whole rows and the target lies in one piece of host memory, bytes go straight there; else
    the rows are read into memory of their own and the box is copied out of them.
    """

    def __init__(self, item: ReadItem, piece: Placed, planner: LoadPlanner) -> None:
        self._item = item
        self._piece = piece
        self._planner = planner
        self._target = planner.resolve_tensor(item).detach()
        self._rows: torch.Tensor | None = None

    def want(self) -> Want:
        size, lengths = self._piece.size, tuple(self._item.lengths)
        row_bytes = math.prod(size[1:]) * self._target.element_size()
        first, count = (self._item.storage_offsets[0], lengths[0]) if size else (0, 1)
        at = self._piece.at + first * row_bytes
        return Want(at, count * row_bytes, self._buffer, self._done)

    def _buffer(self) -> memoryview:
        size, lengths = self._piece.size, tuple(self._item.lengths)
        direct = self._target.device.type == "cpu" and self._target.is_contiguous()
        if direct and lengths[1:] == size[1:]:
            return raw(self._target.reshape(-1))
        self._rows = torch.empty((*lengths[:1], *size[1:]), dtype=self._target.dtype)
        return raw(self._rows.reshape(-1))

    def _done(self) -> None:
        if self._rows is not None:
            box = self._rows
            for dim in range(1, box.dim()):
                box = box.narrow(dim, self._item.storage_offsets[dim], self._item.lengths[dim])
            self._target.copy_(box)
            self._rows = None
        self._planner.commit_tensor(self._item, self._target)
