"""Keeping few: an older checkpoint goes only after a newer one was read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch.distributed as dist

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import folder, manifest, parity
from exa_cli.checkpoint.prune import removals
from exa_cli.checkpoint.read import open_data, scan_chunks
from exa_cli.checkpoint.select import Accepts
from exa_cli.checkpoint.verdict import Report
from exa_cli.checkpoint.verify import inspect, survey, verify
from exa_train.checkpoint.agree import Group, attempt
from exa_train.checkpoint.saving import Saved


@dataclass(frozen=True)
class Kept:
    """What `Keeper.after_save` did.

    ``faults`` is empty when the new checkpoint was read back unchanged; else nothing was
    removed, and the older ones are what a resume will take. ``unprotected`` says why it has no
    parity although it was to get some.
    """

    removed: tuple[str, ...]
    faults: tuple[str, ...]
    unprotected: str | None = None


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
        parity_bytes: int = 0,
        group: dist.ProcessGroup | None = None,
        verified: Iterable[str] = (),
    ) -> None:
        self.root = root
        self._keep = keep
        self._parity_bytes = parity_bytes
        self._accepts = accepts
        self._team = Group(group)
        self._verified = set(verified)

    def after_save(self, saved: Saved) -> Kept:
        """Read ``saved`` back, each rank its own file; then give it parity, and remove what is not
        needed any more.

        Collective. Raises CheckpointFailed when a peer is lost or removing fails.
        """
        found = self._team.gather(self._read_back(saved.name))
        faults = tuple(f"rank {rank}: {line}" for rank, line in enumerate(found) if line)
        if faults:
            return Kept((), faults)
        self._verified.add(saved.name)
        return self._team.leader_does(lambda: self._look_after(saved))

    def _read_back(self, name: str) -> str | None:
        _, fault = attempt(lambda: read_back(self.root / name, self._team.rank))
        return f"{fault.where}: {fault.what}" if fault else None

    def _look_after(self, saved: Saved) -> Kept:
        fault = None
        if saved.bytes <= self._parity_bytes:
            _, fault = attempt(lambda: parity.protect(self.root / saved.name))
        kept = self._remove(saved.name)
        return replace(kept, unprotected=fault.what if fault else None)

    def _remove(self, newest: str) -> Kept:
        # Each rank saw its own file; here one rank sees all of them, from another node perhaps.
        report = inspect(self.root / newest)
        if report.verdict != "good":
            return Kept((), (report.why,))
        return Kept(self._prune(survey(self.root)), ())

    def _prune(self, reports: list[Report]) -> tuple[str, ...]:
        old = removals(reports, keep=self._keep, verified=self._verified, accepts=self._accepts)
        for removal in old:
            folder.remove(self.root, removal.name)
        return tuple(removal.name for removal in old)

    def make_room(self, epoch: int) -> tuple[str, ...]:
        """Remove what is superfluous, after a save of ``epoch`` that met a full disk; its names.

        That is what this and earlier epochs began and never committed, and what is older than
        the newest ``keep`` checkpoints, which are read whole first if this life did not yet.
        Collective; no save may be in flight. Raises CheckpointFailed when removing fails.
        """
        return self._team.leader_does(lambda: self._make_room(epoch))

    def _make_room(self, epoch: int) -> tuple[str, ...]:
        swept = folder.sweep_incomplete(self.root, epoch + 1)
        reports = survey(self.root)
        self._vouch(reports)
        return (*swept, *self._prune(reports))

    def _vouch(self, reports: list[Report]) -> None:
        """Read checkpoints whole, the newest first, until as many as must stay are verified."""
        good = [r for r in reports if r.verdict == "good" and self._counts(r)]
        if len(good) <= self._keep:
            return
        sure = 0
        for report in sorted(good, key=lambda r: r.age, reverse=True):
            if report.name in self._verified or verify(self.root / report.name).verdict == "good":
                self._verified.add(report.name)
                sure += 1
            if sure == self._keep:
                return

    def _counts(self, report: Report) -> bool:
        return report.epoch is not None and self._accepts(report.name, report.epoch)


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
