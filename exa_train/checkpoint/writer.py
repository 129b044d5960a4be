"""A DCP StorageWriter over our data files and manifest.

It never raises for what can go wrong on a disk: a failure travels to the coordinator as a
value among the write results, and the coordinator then commits nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from exa_cli.base.errors import ExaError
from exa_cli.checkpoint.datafile import ALIGN_BYTES, FileRecord, Identity, Slice
from exa_cli.checkpoint.manifest import Stats
from exa_cli.checkpoint.write import DataFileWriter
from exa_train.checkpoint.agree import attempt
from exa_train.checkpoint.errors import Fault
from exa_train.checkpoint.tensors import Measure, dtype_name, flat, raw

# What footers, alignment and the manifest may add to the tensors' bytes, generously.
_OVERHEAD = 1.01
_OVERHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Written:
    """One slice that is on the disk: its file, its place, what its values look like."""

    file: FileRecord
    piece: Slice
    stats: Stats | None


class Writer(StorageWriter):
    """Writes one rank's part of a checkpoint into ``directory``.

    ``commit`` is called on the coordinator with everything that was written, once every rank
    has its file in place. ``faults`` holds, on the coordinator, what went wrong anywhere.
    """

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        commit: Callable[[Metadata, list[Written]], None],
    ) -> None:
        self._directory = directory
        self._identity = identity
        self._commit = commit
        self._file: DataFileWriter | None = None
        self.faults: list[Fault] = []

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """One writer serves one save; there is nothing to reset."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any) -> None:
        """No ``**kwargs`` on purpose: DCP changes its collectives when it sees them."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Refuse, through the plans, a checkpoint that the filesystem has no room for."""
        full, error = attempt(lambda: lacks_room(self._directory, planned_bytes(plans)))
        return [dataclasses.replace(plan, storage_data=full or error) for plan in plans]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        results: list[Written] | None = None
        fault = plan.storage_data
        if fault is None:
            results, fault = attempt(lambda: self._write(plan.items, planner))
            if fault is not None and fault.where is None:
                fault = dataclasses.replace(fault, where=str(self._directory))
        done: Future[list[WriteResult]] = Future()
        done.set_result(_results(results or [], fault))
        return done

    def _write(self, items: list[WriteItem], planner: SavePlanner) -> list[Written]:
        wanted = [item for item in items if _elements(item)]
        if not wanted:
            return []
        self._file = DataFileWriter(self._directory, self._identity, self._identity.writer)
        pieces = [_append(self._file, item, planner) for item in wanted]
        record = self._file.commit()
        return [Written(record, piece, stats) for piece, stats in pieces]

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        found = [result.storage_data for of_rank in results for result in of_rank]
        self.faults = [entry for entry in found if isinstance(entry, Fault)]
        if not self.faults:
            _, fault = attempt(lambda: self._commit(metadata, found))
            self.faults = [fault] if fault else []

    def discard(self, *, uncommitted: bool) -> None:
        """Remove this rank's file; also under its final name if surely nobody committed it."""
        if self._file is not None:
            if uncommitted:
                self._file.discard()
            else:
                self._file.abandon()

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


def planned_bytes(plans: list[SavePlan]) -> int:
    """Bytes that a global plan puts on the disk, rounded up."""
    items = [item for plan in plans for item in plan.items]
    stored = sum((item.tensor_storage_size() or 0) + ALIGN_BYTES for item in items)
    return int(stored * _OVERHEAD) + _OVERHEAD_BYTES


def lacks_room(directory: Path, needed: int) -> Fault | None:
    """A fault if the filesystem says that ``needed`` bytes do not fit.

    Quotas and single full storage targets do not show here; writing finds those.
    """
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free >= needed:
        return None
    what = f"the checkpoint needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free"
    hint = "make room, keep fewer checkpoints, or move the run directory"
    return Fault("disk-full", what, str(directory), hint)


def _tensor_data(item: WriteItem) -> Any:
    if item.tensor_data is None:
        raise ExaError(f"{item.index.fqn!r} is not a tensor")
    return item.tensor_data


def _elements(item: WriteItem) -> int:
    return torch.Size(_tensor_data(item).chunk.sizes).numel()


def _append(
    file: DataFileWriter, item: WriteItem, planner: SavePlanner
) -> tuple[Slice, Stats | None]:
    values = planner.resolve_data(item)
    if not isinstance(values, torch.Tensor):
        raise ExaError(f"{item.index.fqn!r} is not a tensor")
    values = flat(values)
    measure = Measure(values)
    box = _tensor_data(item).chunk
    start, size = tuple(box.offsets), tuple(box.sizes)
    name = dtype_name(values.dtype)
    piece = file.append(item.index.fqn, name, start, size, raw(values), measure.see)
    return piece, measure.stats()


def _results(written: list[Written], fault: Fault | None) -> list[WriteResult]:
    if fault is not None:
        return [WriteResult(MetadataIndex("fault"), 0, fault)]
    return [
        WriteResult(MetadataIndex(one.piece.fqn, one.piece.start), one.piece.bytes, one)
        for one in written
    ]
