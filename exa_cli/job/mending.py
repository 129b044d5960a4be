"""Damaged checkpoints are repaired before a life chooses the one it begins from."""

from __future__ import annotations

from pathlib import Path

from exa_cli.base.talk import say
from exa_cli.checkpoint import verify
from exa_cli.checkpoint.repair import Mended, mend
from exa_cli.checkpoint.verdict import Report
from exa_cli.runs.journal import Journal

WHOLE_BYTES = 4 * 10**9
"""Up to this size the newest checkpoint is read whole: seconds, against the steps that beginning
from an older one costs. Ranks verify every chunk they load in any case."""


def repair_all(root: Path, journal: Journal) -> None:
    """Repair what can be repaired; tell what was and what could not be. Never raises for damage."""
    reports = verify.survey(root)
    newest = max(reports, key=lambda report: report.age, default=None)
    for report in reports:
        whole = report is newest and _bytes(report) <= WHOLE_BYTES
        if report.verdict == "repairable" or whole:
            mended = mend(root / report.name, verify.verify if whole else verify.inspect)
            _tell(report.name, mended, journal)


def _bytes(report: Report) -> int:
    return report.manifest.bytes if report.manifest else WHOLE_BYTES + 1


def _tell(name: str, mended: Mended, journal: Journal) -> None:
    if mended.fault:
        journal.append("not-repaired", name=name, reason=mended.fault)
        say(f"{name} could not be repaired: {mended.fault}")
    if mended.changes:
        files = sorted({change.file for change in mended.changes})
        journal.append("repaired", name=name, files=files, changes=len(mended.changes))
        say(f"{name} repaired from its parity: {', '.join(files)}")
