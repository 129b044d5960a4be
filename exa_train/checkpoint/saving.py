"""Saving: all ranks write, one commits, every rank hears the same outcome."""

from __future__ import annotations

import contextlib
import json
import platform
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import state_dict_saver as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.tensor import DTensor

from exa_cli import __version__
from exa_cli.base import clock
from exa_cli.base.errors import Invalid
from exa_cli.base.files import fsync_dir
from exa_cli.checkpoint import folder, manifest
from exa_cli.checkpoint.datafile import Identity
from exa_cli.checkpoint.manifest import Manifest, Placed, Tensor
from exa_cli.checkpoint.names import MANIFEST, new_generation
from exa_cli.runs import claims
from exa_train.checkpoint.agree import Group, answered, attempt
from exa_train.checkpoint.errors import CheckpointFailed, Fault
from exa_train.checkpoint.planner import TensorSavePlanner
from exa_train.checkpoint.tensors import dtype_name, merge
from exa_train.checkpoint.writer import Writer, Written


@dataclass(frozen=True)
class Saved:
    """A committed checkpoint: its directory's name, bytes on the disk, seconds it took."""

    name: str
    step: int
    epoch: int
    bytes: int
    seconds: float


def save(
    state: Mapping[str, torch.Tensor],
    *,
    root: Path,
    step: int,
    epoch: int,
    meta: dict[str, Any],
    group: dist.ProcessGroup | None = None,
    generation: str | None = None,
    allow_nonfinite: bool = False,
    copies: Mapping[str, torch.Tensor] | None = None,
) -> Saved:
    """Write ``state`` as a new directory of ``root`` and commit it; collective over ``group``.

    Args:
        state: flat; a value is a plain tensor (the same on every rank, written once) or a
            DTensor (each rank holds its part). No other types, no nesting. Names that start
            with ``model.`` are what `exa ckpt export` takes; the rest of a name is the
            trainer's.
        step: the state is the one after this many optimizer steps.
        epoch: of the life that saves (`exa_cli.runs.claims`).
        meta: JSON: everything that is not a tensor. Rank 0's is kept.
        group: a private gloo group whose timeout ends the wait for a dead rank; None stands
            for the default group, or for this process alone.
        generation: hex; by default drawn anew, so saving a step again makes another directory.
        allow_nonfinite: commit although the state holds NaN or infinity.
        copies: what is written in place of ``state``'s own values: this rank's parts by name,
            as `exa_train.checkpoint.staging` took them; ``state`` may then change meanwhile.

    Raises CheckpointFailed, with the same words on every rank; then nothing was committed and
    what this rank wrote is removed (but see cause ``rank-failure``).
    """
    began = clock.monotonic()
    team = Group(group)
    team.all_or_none(_objection(state, meta))
    drawn = generation or new_generation()
    drawn, name = team.leader_does(lambda: (drawn, folder.begin(root, step, drawn, epoch).name))
    job = _Job(root / name, step, drawn, epoch, meta, _layout(state, team.world), allow_nonfinite)
    writer = Writer(job.directory, Identity(drawn, step, team.rank), job.commit)
    try:
        fault = _through_dcp(state, writer, TensorSavePlanner(copies), team)
        fault, stored = team.share((fault or next(iter(writer.faults), None), job.bytes))
    except CheckpointFailed:
        # A peer went silent, perhaps after rank 0 had committed: leave what has its name.
        with contextlib.suppress(OSError):
            writer.discard(uncommitted=False)
        raise
    if fault is not None:
        # What went wrong matters more than leftovers: those are incomplete and get swept.
        with contextlib.suppress(OSError, CheckpointFailed):
            _discard(job.directory, writer, team)
        raise CheckpointFailed.because(fault)
    return Saved(name, step, epoch, stored, clock.monotonic() - began)


def _objection(state: Mapping[str, torch.Tensor], meta: dict[str, Any]) -> Fault | None:
    _, fault = attempt(lambda: _check(state, meta))
    return fault


def _check(state: Mapping[str, torch.Tensor], meta: dict[str, Any]) -> None:
    for fqn, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise Invalid(f"{fqn!r} is a {type(value).__name__}", hint="scalars go into meta")
        dtype_name(value.dtype)
    try:
        json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"meta is not JSON: {error}") from error


def _through_dcp(
    state: Mapping[str, torch.Tensor], writer: Writer, planner: TensorSavePlanner, team: Group
) -> Fault | None:
    """Run DCP's protocol. The fault, if any, is the same on all ranks, or only on rank 0."""
    try:
        with answered(), quiet(team):
            dcp.save(
                dict(state),
                storage_writer=writer,
                planner=planner,
                process_group=team.process_group,
            )
    except CheckpointException as error:
        return first_failure(error)
    return None


@contextlib.contextmanager
def quiet(team: Group) -> Iterator[None]:
    """Without DCP's warning that a process alone is alone.

    Filters of warnings belong to all threads: several ranks, which save beside their training,
    leave them as they are.
    """
    if not team.alone:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.distributed is disabled.*")
        yield


def first_failure(error: CheckpointException) -> Fault:
    """The lowest failing rank's error; DCP gives every rank the same list."""
    rank = min(error.failures)
    cause = error.failures[rank][0]
    fault = Fault.of(cause) if isinstance(cause, Exception) else Fault("unknown", repr(cause))
    return Fault(fault.cause, fault.what, fault.where or f"rank {rank}", fault.hint)


@dataclass
class _Job:
    """What rank 0 needs to turn the ranks' files into a checkpoint."""

    directory: Path
    step: int
    generation: str
    epoch: int
    meta: dict[str, Any]
    layout: dict[str, Any]
    allow_nonfinite: bool
    bytes: int = 0

    def commit(self, metadata: Metadata, written: list[Written]) -> None:
        whole = Manifest(
            step=self.step,
            generation=self.generation,
            epoch=self.epoch,
            written=clock.iso(),
            layout=self.layout,
            files=tuple({one.file.writer: one.file for one in written}.values()),
            tensors=tensors(metadata, written),
            meta=self.meta,
            versions=versions(),
        )
        if whole.nonfinite and not self.allow_nonfinite:
            raise CheckpointFailed.because(_bad_numbers(whole))
        if claims.is_fenced(self.directory.parents[1], self.epoch):
            raise CheckpointFailed.because(_fenced(self.epoch))
        manifest.commit(self.directory, whole)
        self.bytes = whole.bytes


def tensors(metadata: Metadata, written: list[Written]) -> dict[str, Tensor]:
    """The manifest's table of tensors, from DCP's global plan and what the ranks wrote."""
    slices: dict[str, list[Written]] = {fqn: [] for fqn in metadata.state_dict_metadata}
    for one in sorted(written, key=lambda one: one.piece.start):
        slices[one.piece.fqn].append(one)
    return {fqn: _tensor(metadata.state_dict_metadata[fqn], slices[fqn]) for fqn in sorted(slices)}


def _tensor(planned: Any, parts: list[Written]) -> Tensor:
    stats = [part.stats for part in parts if part.stats is not None]
    return Tensor(
        dtype=dtype_name(planned.properties.dtype),
        shape=tuple(planned.size),
        slices=tuple(Placed.of(part.file.writer, part.piece) for part in parts),
        stats=merge(stats) if stats else None,
    )


def _fenced(epoch: int) -> Fault:
    """A commit after a newer claim would never count; this copy of the run is to end."""
    return Fault(
        "unknown",
        "a newer life has claimed this run: nothing more of this one is committed",
        where=f"epoch {epoch}",
        hint="nothing is lost: the newer life goes on from the last checkpoint that counts",
    )


def _bad_numbers(whole: Manifest) -> Fault:
    names = ", ".join(whole.nonfinite[:3])
    more = f" and {len(whole.nonfinite) - 3} more" if len(whole.nonfinite) > 3 else ""
    return Fault("bad-numbers", f"the state holds NaN or infinity: {names}{more}")


def _layout(state: Mapping[str, torch.Tensor], world: int) -> dict[str, Any]:
    """How the state is spread: the number of ranks and the device meshes in use."""
    meshes = {
        (tuple(value.device_mesh.shape), value.device_mesh.mesh_dim_names)
        for value in state.values()
        if isinstance(value, DTensor)
    }
    listed = [{"shape": list(s), "names": list(n) if n else None} for s, n in meshes]
    return {"world": world, "meshes": sorted(listed, key=str)}


def versions() -> dict[str, str]:
    return {
        "exa": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def _discard(directory: Path, writer: Writer, team: Group) -> None:
    """Remove a checkpoint that failed. The manifest, if rank 0 got that far, goes first: while
    it stands, so must the files."""
    team.leader_does(lambda: _withdraw(directory))
    with contextlib.suppress(OSError):  # the others wait for this rank below
        writer.discard(uncommitted=True)
    team.gather(None)
    team.leader_does(lambda: folder.remove(directory.parent, directory.name))


def _withdraw(directory: Path) -> None:
    (directory / MANIFEST).unlink(missing_ok=True)
    fsync_dir(directory)
