"""PBS's letters for a job's state, its substates and exit statuses, in exa's words. Pure.

| letter | state |
|---|---|
| Q H W T | queued |
| B R E S U | running: E delivers output and runs the epilogue; S and U are suspended |
| F X | ended; X is a part of an array that has others left |
| M, anything else | unknown: moved to another server |

Why a job ended, first row that holds (recordings: openpbs/exit-status-table, state-substate-table):

| seen | reason |
|---|---|
| substate 91, "terminated by Scheduler" | preempted |
| substate 91 | cancelled |
| no exit status | launch-failed: never started, its dependency can never be met |
| -29 | walltime |
| -20, -14 | node-failure |
| -26, -27 | out-of-memory |
| -1 to -10, -16 to -23, -30 | launch-failed |
| 0 with substate 93, not an array | node-failure: a sister node was lost |
| 256 + n | exited, by signal n: of the login shell above the script |
| any other | exited |

-11, -12 and -15 are of a requeued job, which is queued. What a script's signal was is lost: its
shell reports 128 + n.
"""

from __future__ import annotations

from dataclasses import dataclass

from exa_cli.schedulers.pbs.read import Row
from exa_cli.schedulers.types import EndReason, JobState, Phase

PHASES: dict[str, Phase] = {
    **dict.fromkeys("QHWT", "queued"),
    **dict.fromkeys("BRESU", "running"),
    **dict.fromkeys("FX", "ended"),
}

DELETED, FAILED = 91, 93

_BY_STATUS: dict[int, EndReason] = {
    **dict.fromkeys((*range(-10, 0), *range(-23, -15), -30), "launch-failed"),
    **dict.fromkeys((-20, -14), "node-failure"),
    **dict.fromkeys((-26, -27), "out-of-memory"),
    -29: "walltime",
}

_STATUS_WORDS = {
    -1: "it could not be started",
    -2: "it could not be started: the prologue, or the home directory on the node",
    -3: "it could not be started: the prologue, or the directory of its output",
    -10: "the node does not know the user",
    -20: "its first node was lost",
    -14: "one of its nodes was lost",
    -26: "it exceeded its virtual memory",
    -27: "it exceeded its memory",
    -28: "it exceeded its CPU time",
    -29: "it exceeded its walltime",
    254: "its shell or program could not be started",
}


@dataclass(frozen=True)
class End:
    """How a job ended: why, the script's own exit status or the signal, and PBS's words."""

    reason: EndReason
    exit_code: int | None = None
    signal: int | None = None
    words: str = ""


def state(row: Row) -> JobState:
    """A row as an answer."""
    phase = PHASES.get(row.state, "unknown")
    if phase == "ended":
        return _ended(row)
    return JobState(
        state=phase,
        source="qstat",
        started=row.started if phase == "running" else None,
        words=_live_words(row),
    )


def _ended(row: Row) -> JobState:
    found = end(row)
    delivered = "its output could not be delivered" if row.stageout == 0 and row.obit else ""
    return JobState(
        state="ended",
        source="qstat",
        exit_code=found.exit_code,
        signal=found.signal,
        started=row.started if row.exit_status is not None else None,
        ended=row.obit,
        reason=found.reason,
        words="; ".join(part for part in (found.words, delivered) if part) or None,
    )


def end(row: Row) -> End:
    """The second table above."""
    status = row.exit_status
    if row.substate == DELETED:
        by_scheduler = "terminated by Scheduler" in row.comment
        return End("preempted" if by_scheduler else "cancelled", words=row.comment)
    if status is None:
        return End("launch-failed", words=row.comment or _NEVER)
    if reason := _BY_STATUS.get(status):
        return End(reason, words=_STATUS_WORDS.get(status, f"exit status {status}"))
    if status == 0 and row.substate == FAILED and not row.array:
        return End("node-failure", words="PBS calls it failed although its script did not fail")
    if status > 256:
        return End("exited", signal=status - 256, words=f"signal {status - 256}")
    return End("exited", exit_code=max(status, 0), words=_exit_words(status))


_NEVER = "PBS has discarded it: what it depends on can never happen"


def _exit_words(status: int) -> str:
    if status in _STATUS_WORDS:
        return _STATUS_WORDS[status]
    return f"exit {status}" if status else ""


def _live_words(row: Row) -> str | None:
    """What a person should know of a job that has not ended."""
    if row.state == "H":
        return _held(row)
    if row.state in "SU" and row.state:
        return "suspended: " + (row.comment or "nobody says why")
    if row.state == "M":
        return "moved to another server"
    if row.state == "Q" and row.exit_status is not None:
        why = {-11: "requeued", -20: "requeued: its first node was lost"}
        return f"{why.get(row.exit_status, 'requeued')}; {row.comment}".rstrip("; ")
    if row.state == "Q":
        return row.comment or None
    return None


def _held(row: Row) -> str:
    """PBS itself holds a job that did not start 21 times, and `qrls` cannot undo that."""
    if "too many failed attempts" in row.comment:
        why = _STATUS_WORDS.get(row.exit_status or 0, "it could not be started")
        return f"held for ever: {why}, 21 times; cancel it and mend that"
    if row.substate == 22:
        return "held: it waits for another job"
    if "u" in row.holds:
        return f"held until qrls {row.job_id}"
    return f"held: {row.comment or row.holds}"
