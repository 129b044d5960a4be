"""Which checkpoints may go: a pure decision; `folder.remove` carries it out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from exa_cli.checkpoint.select import Accepts
from exa_cli.checkpoint.verdict import Report


@dataclass(frozen=True)
class Removal:
    """A checkpoint to remove, and why that is safe."""

    name: str
    reason: str


def removals(
    reports: Iterable[Report], *, keep: int, verified: Collection[str], accepts: Accepts
) -> list[Removal]:
    """What may be removed, the oldest first.

    ``verified`` names the checkpoints whose every chunk was read back. The newest ``keep`` of
    those that count stay, with everything younger than the oldest of them; while there are
    fewer than ``keep``, nothing goes. A superseded copy's checkpoints never count again: they
    go once the newest verified one is younger. Incomplete directories are not touched:
    somebody may be writing them (`folder.sweep_incomplete`).
    """
    if keep < 1:
        raise ValueError("at least one verified checkpoint must stay")
    found = sorted(reports, key=lambda report: report.age)
    safe = [r for r in found if r.name in verified and r.verdict == "good" and _counts(r, accepts)]
    if len(safe) < keep:
        return []
    floor, newest = safe[-keep], safe[-1]
    removable: list[Removal] = []
    for report in found:
        if report.verdict == "incomplete" or report.name == newest.name:
            continue
        if report.age < floor.age:
            removable.append(Removal(report.name, f"{keep} newer ones are verified"))
        elif report.age < newest.age and report.manifest and not _counts(report, accepts):
            removable.append(Removal(report.name, "written by a superseded copy of the run"))
    return removable


def _counts(report: Report, accepts: Accepts) -> bool:
    return report.epoch is not None and accepts(report.name, report.epoch)
