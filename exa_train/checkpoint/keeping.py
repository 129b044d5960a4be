"""Keeping few: an older checkpoint goes only after a newer one was read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import folder, manifest
from exa_cli.checkpoint.prune import removals
from exa_cli.checkpoint.read import open_data, scan_chunks
from exa_cli.checkpoint.select import Accepts
from exa_cli.checkpoint.verify import inspect, survey
from exa_train.checkpoint.agree import Group, attempt
from exa_train.checkpoint.saving import Saved


@dataclass(frozen=True)
class Kept:
    """What `Keeper.after_save` did.

    ``faults`` is empty when the new checkpoint was read back unchanged; else nothing was
    removed, and the older ones are what a resume will take.
    """

    removed: tuple[str, ...]
    faults: tuple[str, ...]


class Keeper:
    """Keeps at least ``keep`` checkpoints that were read back whole, and removes older ones.

    What counts as verified is what this process saw: checkpoints it read back after saving,
    and those named in ``verified`` (the one it was loaded from). So a fresh life removes
    nothing of the past before it has as many verified ones as must stay.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep: int,
        accepts: Accepts,
        group: dist.ProcessGroup | None = None,
        verified: Iterable[str] = (),
    ) -> None:
        self._root = root
        self._keep = keep
        self._accepts = accepts
        self._team = Group(group)
        self._verified = set(verified)

    def after_save(self, saved: Saved) -> Kept:
        """Read ``saved`` back, each rank its own file; then remove what is not needed any more.

        Collective. Raises CheckpointFailed when a peer is lost or removing fails.
        """
        found = self._team.gather(self._read_back(saved.name))
        faults = tuple(f"rank {rank}: {line}" for rank, line in enumerate(found) if line)
        if faults:
            return Kept((), faults)
        self._verified.add(saved.name)
        return self._team.leader_does(lambda: self._remove(saved.name))

    def _read_back(self, name: str) -> str | None:
        _, fault = attempt(lambda: read_back(self._root / name, self._team.rank))
        return f"{fault.where}: {fault.what}" if fault else None

    def _remove(self, newest: str) -> Kept:
        # Each rank saw its own file; here one rank sees all of them, from another node perhaps.
        report = inspect(self._root / newest)
        if report.verdict != "good":
            return Kept((), (report.why,))
        old = removals(
            survey(self._root), keep=self._keep, verified=self._verified, accepts=self._accepts
        )
        for removal in old:
            folder.remove(self._root, removal.name)
        return Kept(tuple(removal.name for removal in old), ())


def read_back(directory: Path, writer: int) -> None:
    """Check every chunk of one writer's file. Raises Damaged with the first fault."""
    found = manifest.read(directory)
    if found is None:
        raise Damaged("has no manifest", where=directory.name)
    for record in found.files:
        if record.writer == writer:
            data = open_data(directory / record.name, record, found.identity(writer))
            for line in scan_chunks(data):
                raise Damaged(line, where=record.name)
