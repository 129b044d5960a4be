"""From what squeue, sacct and scontrol said to one answer for each job. Pure.

| the controller | accounting | the answer |
|---|---|---|
| lists it | – | as the controller says, with accounting's exit code if need be |
| does not know it | an end | ended, as accounting says |
| does not know it | no end | unknown, not found: accounting missed the end |
| does not know it | does not know it, or there is none | unknown, not found |
| does not know it | does not answer | unknown, not answered |
| does not answer | an end that is final | ended, as accounting says |
| does not answer | anything else | unknown, not answered: the job may be running again |

The controller goes first because accounting lags: a job that runs was recorded as PENDING
there, and a restarted one as NODE_FAIL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exa_cli.schedulers.slurm import states
from exa_cli.schedulers.slurm.read import Row
from exa_cli.schedulers.types import EndReason, JobState


@dataclass(frozen=True)
class Heard:
    """What one source said: rows by job, or why it said nothing.

    ``absent`` is set where the source is not there at all: a cluster without accounting.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    fault: str = ""
    absent: bool = False


NOTHING = Heard()

NO_ACCOUNTING = "this cluster keeps no accounting"

_HELD = ("JobHeldUser", "JobHeldAdmin", "held state", "requeued held")
_NEVER = (
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionConfig",
    "DependencyNeverSatisfied",
    "BadConstraints",
)


@dataclass(frozen=True)
class Sources:
    """All that was heard. ``scontrol`` was asked last, about single jobs."""

    squeue: Heard
    sacct: Heard = NOTHING
    scontrol: Heard = NOTHING

    def controller(self, job: str) -> tuple[Row | None, str]:
        """What the controller said last about a job, and through which command."""
        if row := self.scontrol.rows.get(job):
            return row, "scontrol"
        return self.squeue.rows.get(job), "squeue"


def whole(job_id: str) -> str:
    """The job that an id of a part belongs to: 14 of ``14_2`` and ``14+1``."""
    return re.split(r"[_+.]", job_id, maxsplit=1)[0]


def for_accounting(jobs: Iterable[str], squeue: Heard) -> list[str]:
    """Jobs whose end, or whose exit code, the queue does not tell."""
    return [j for j in jobs if not _lives(squeue.rows.get(j))]


def for_scontrol(jobs: Iterable[str], sources: Sources) -> list[str]:
    """Jobs that accounting does not tell about either, or not exactly."""
    if sources.squeue.fault:
        return []
    return [j for j in for_accounting(jobs, sources.squeue) if not _told(sources, j)]


def answer(job: str, sources: Sources) -> JobState:
    """The table above, for one job."""
    row, source = sources.controller(job)
    kept = sources.sacct.rows.get(job)
    if row:
        return _state(row, source, kept)
    silence = sources.squeue.fault or sources.scontrol.fault
    forgotten = not silence
    if kept and _over(kept) and (states.meaning(kept.state).final or forgotten):
        return _state(kept, "sacct", None)
    if not forgotten:
        last = f"; accounting last said {kept.state}" if kept else ""
        return _unknown("squeue", f"the controller does not answer: {silence}{last}")
    if sources.sacct.fault:
        words = f"accounting does not answer: {sources.sacct.fault}"
        return _unknown("sacct", f"the controller does not know the job; {words}")
    return _not_found(sources, kept)


def _not_found(sources: Sources, kept: Row | None) -> JobState:
    words = "the controller does not know the job"
    if sources.sacct.absent:
        words += f", and {NO_ACCOUNTING}"
    elif kept:
        words += f"; accounting has no end of it and says {kept.state}"
    else:
        words += ", nor does accounting"
    return JobState(state="unknown", source="scontrol", words=words, answer="not-found")


def _unknown(source: str, words: str) -> JobState:
    return JobState(state="unknown", source=source, words=words, answer="not-answered")


def _lives(row: Row | None) -> bool:
    return row is not None and states.meaning(row.state).phase != "ended"


def _over(kept: Row) -> bool:
    """Whether accounting has an end of a job, with its time. After an outage of slurmdbd one was
    seen as FAILED, exit 0:0, End Unknown: half of what was still to come."""
    return states.meaning(kept.state).phase == "ended" and kept.ended is not None


def _told(sources: Sources, job: str) -> bool:
    """Whether accounting has the end of a job, and what is known of its exit status there is."""
    kept = sources.sacct.rows.get(job)
    if kept is None or not _over(kept):
        return False
    return job not in sources.squeue.rows or (kept.code is not None and kept.code.certain)


def _state(row: Row, source: str, kept: Row | None) -> JobState:
    """A row as an answer. ``kept`` is accounting's of the same job; only an end of it counts."""
    phase = states.meaning(row.state).phase
    if phase != "ended":
        started = row.started if phase == "running" else None
        return JobState(state=phase, source=source, started=started, words=_live_words(row))
    code = row.code
    if code is None and kept and _over(kept):
        code = kept.code
    reason = states.reason(row.state, code)
    return JobState(
        state="ended",
        source=source,
        exit_code=states.exit_code(reason, code),
        signal=states.end_signal(code),
        started=None if _never_started(row, reason) else row.started,
        ended=row.ended,
        reason=reason,
        words=_end_words(row, code),
    )


def _never_started(row: Row, reason: EndReason | None) -> bool:
    """A job that was cancelled in the queue has one time for its start and its end (recorded)."""
    return reason == "launch-failed" or (reason == "cancelled" and row.started == row.ended)


def _end_words(row: Row, code: states.Code | None) -> str:
    """Slurm's Reason is left out where the code says more: it is wrong after a signal."""
    parts = [row.state, code.text if code and code.text else row.why]
    return ", ".join(part for part in parts if part)


def _live_words(row: Row) -> str | None:
    if states.word(row.state) in ("RUNNING", "PENDING") and not row.why:
        return None
    words = ", ".join(part for part in (row.state, row.why) if part)
    if any(held in row.why for held in _HELD):
        return f"{words}: held until scontrol release {row.job_id}"
    if row.why.startswith(_NEVER):
        return f"{words}: as it stands it will never start"
    return words
