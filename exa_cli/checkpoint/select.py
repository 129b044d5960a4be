"""Which checkpoint to take: a pure choice over reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exa_cli.checkpoint.verdict import Report

Accepts = Callable[[str, int], bool]
"""(name, epoch) → whether that checkpoint counts; see `exa_cli.runs.claims`."""


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that is not a candidate, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """``candidates``: names, the best first."""

    candidates: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def choose(reports: Iterable[Report], accepts: Accepts) -> Choice:
    """Order candidates from the newest step down; equal steps by epoch, then by name.

    Incomplete and damaged ones are skipped with their fault, and so is what a superseded copy
    of the run committed.
    """
    candidates: list[str] = []
    skipped: list[Skipped] = []
    for report in sorted(reports, key=lambda report: report.age, reverse=True):
        reason = _objection(report, accepts)
        if reason is None:
            candidates.append(report.name)
        else:
            skipped.append(Skipped(report.name, reason))
    return Choice(tuple(candidates), tuple(skipped))


def _objection(report: Report, accepts: Accepts) -> str | None:
    if report.verdict != "good" or report.epoch is None:
        return f"{report.verdict}: {report.why}"
    if not accepts(report.name, report.epoch):
        return f"does not count: epoch {report.epoch} was superseded before it was committed"
    return None
