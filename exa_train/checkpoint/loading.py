"""Loading: the best candidate that every rank can read whole and unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import state_dict_loader as dcp
from torch.distributed.checkpoint.api import CheckpointException

from exa_cli.base import clock
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.manifest import Manifest
from exa_cli.checkpoint.names import MANIFEST
from exa_cli.checkpoint.select import Skipped
from exa_train.checkpoint.agree import Group, answered, attempt
from exa_train.checkpoint.errors import Fault, NoReadableCheckpoint
from exa_train.checkpoint.planner import TensorLoadPlanner
from exa_train.checkpoint.reader import Reader
from exa_train.checkpoint.saving import first_failure, quiet
from exa_train.checkpoint.tensors import DTYPES


@dataclass(frozen=True)
class Loaded:
    """What was loaded.

    ``skipped`` lists better candidates that could not be used, ``nonfinite`` tensors that held
    NaN or infinity when saved (none unless they are allowed), ``bytes`` what this rank read and
    checked.
    """

    name: str
    step: int
    epoch: int
    meta: dict[str, Any]
    layout: dict[str, Any]
    versions: dict[str, str]
    skipped: tuple[Skipped, ...]
    nonfinite: tuple[str, ...]
    bytes: int
    seconds: float


Check = Callable[[Mapping[str, torch.Tensor], dict[str, Any]], Sequence[str]]
"""(state as read, the manifest's meta) → what is wrong with this rank's part, by tensor."""


def load(
    state: Mapping[str, torch.Tensor],
    *,
    root: Path,
    candidates: Sequence[str],
    group: dist.ProcessGroup | None = None,
    partial: bool = False,
    allow_nonfinite: bool = False,
    check: Check | None = None,
) -> Loaded | None:
    """Read the first of ``candidates`` that is whole into ``state``; collective over ``group``.

    Every chunk a rank touches is checked before it counts. Whatever any rank meets, all ranks
    agree to leave the candidate and try the next.

    Args:
        state: as for `save`; its tensors are written in place. They need not be spread as they
            were when saved: any mesh, any number of ranks, plain or DTensor.
        candidates: directory names in ``root``, the best first (`exa_cli.checkpoint.select`);
            rank 0's are used.
        partial: let the checkpoint hold tensors that ``state`` lacks.
        allow_nonfinite: take a checkpoint although it holds NaN or infinity.
        check: looks at what was read, on every rank; a candidate with a fault is left.

    Returns None when there are no candidates. Raises NoReadableCheckpoint when none of them
    can be used: the tensors are then undefined. Raises CheckpointFailed when a peer is lost.
    """
    began = clock.monotonic()
    team = Group(group)
    skipped: list[Skipped] = []
    for name in team.share(list(candidates)):
        found = _try(state, root / name, team, partial, allow_nonfinite, check)
        if isinstance(found, str):
            skipped.append(Skipped(name, found))
            continue
        manifest, read = found
        return Loaded(
            name=name,
            step=manifest.step,
            epoch=manifest.epoch,
            meta=manifest.meta,
            layout=manifest.layout,
            versions=manifest.versions,
            skipped=tuple(skipped),
            nonfinite=tuple(manifest.nonfinite),
            bytes=read,
            seconds=clock.monotonic() - began,
        )
    if not skipped:
        return None
    raise NoReadableCheckpoint(
        f"none of {len(skipped)} committed checkpoints can be used:\n"
        + "\n".join(f"- {one.name}: {one.reason}" for one in skipped),
        where=str(root),
        hint="exa ckpt verify shows the extent of the damage; nothing was deleted",
    )


def _try(
    state: Mapping[str, torch.Tensor],
    directory: Path,
    team: Group,
    partial: bool,
    allow_nonfinite: bool,
    check: Check | None,
) -> tuple[Manifest, int] | str:
    """The manifest and the bytes read, or the same reason on every rank why not."""
    manifest = _manifest(directory, team)
    if isinstance(manifest, str):
        return manifest
    ill = [name for name in manifest.nonfinite if name in state]
    if ill and not allow_nonfinite:
        return f"is not sound: {_some(ill)} held NaN or infinity when saved"
    misfits = [m for m in team.gather(misfit(state, manifest, partial=partial)) if m]
    if misfits:
        return misfits[0]
    reader = Reader(directory, manifest)
    fault = _through_dcp(state, reader, team) or reader.fault
    reasons = [_words(rank, f) for rank, f in enumerate(team.gather(fault)) if f is not None]
    if not reasons and check is not None:
        reasons = _unsound(team.gather(check(state, manifest.meta)))
    return reasons[0] if reasons else (manifest, reader.bytes)


def _unsound(found: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"is not sound: rank {rank}: {_some(lines)}" for rank, lines in enumerate(found) if lines
    ]


def _manifest(directory: Path, team: Group) -> Manifest | str:
    """Rank 0 reads and all ranks parse the same bytes: files may look different from nodes."""
    data: bytes | None = None
    fault: Fault | None = None
    if team.leads:
        data, fault = attempt(lambda: (directory / MANIFEST).read_bytes())
    data, fault = team.share((data, fault))
    if data is None or fault is not None:
        return _words(0, fault) if fault else "has no manifest"
    content = data
    manifest, fault = attempt(lambda: manifests.decode(content, directory.name))
    return manifest if manifest is not None else _words(0, fault)


def _words(rank: int, fault: Fault | None) -> str:
    if fault is None:
        return f"rank {rank}: failed without words"
    return (
        f"rank {rank}: {fault.where}: {fault.what}" if fault.where else f"rank {rank}: {fault.what}"
    )


def misfit(
    state: Mapping[str, torch.Tensor], manifest: Manifest, *, partial: bool = False
) -> str | None:
    """Why a checkpoint is not one of this state, or None if it is."""
    missing = [fqn for fqn in state if fqn not in manifest.tensors]
    if missing:
        return f"does not fit: it lacks {_some(missing)}"
    extra = [fqn for fqn in manifest.tensors if fqn not in state]
    if extra and not partial:
        return f"does not fit: nothing here takes {_some(extra)}"
    for fqn, value in state.items():
        tensor = manifest.tensors[fqn]
        here, there = tuple(value.shape), tensor.shape
        if here != there or value.dtype != DTYPES[tensor.dtype]:
            ours = f"{str(value.dtype).removeprefix('torch.')} {list(here)}"
            return f"does not fit: {fqn} is {ours} here and {tensor.dtype} {list(there)} there"
        if value.device.type == "meta":
            return f"cannot be loaded: {fqn} has no memory yet (meta device)"
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _through_dcp(state: Mapping[str, torch.Tensor], reader: Reader, team: Group) -> Fault | None:
    try:
        with answered(), quiet(team):
            dcp.load(
                dict(state),
                storage_reader=reader,
                planner=TensorLoadPlanner(),
                process_group=team.process_group,
            )
    except CheckpointException as error:
        return first_failure(error)
    return None
