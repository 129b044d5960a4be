"""From what the spool and the process table say to a job's state. Pure.

| ended record | claimed | this machine | same boot | runner | script started | processes | state |
|---|---|---|---|---|---|---|---|
| yes | – | – | – | – | – | – | ended, as recorded |
| no | no | yes | – | – | – | – | queued: no runner yet |
| no | – | no | – | – | – | – | unknown: only its own machine can tell |
| no | yes | yes | no | – | – | – | ended, lost: the machine was restarted |
| no | yes | yes | yes | alive | no | – | queued: being started |
| no | yes | yes | yes | alive | yes | – | running |
| no | yes | yes | yes | gone | – | some | running, unattended |
| no | yes | yes | yes | gone | – | none | ended, lost: nobody saw how |

A lost job that somebody had cancelled has ended as cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass

from exa_cli.schedulers.types import EndReason, JobState, Phase


@dataclass(frozen=True)
class Ended:
    """The record of a job's end. ``left`` = pids that could not be killed."""

    at: float
    reason: EndReason
    exit_code: int | None = None
    signal: int | None = None
    words: str | None = None
    left: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was seen of one job. ``processes`` is counted only when the runner is gone."""

    ended: Ended | None = None
    cancelled: bool = False
    here: bool = True
    host: str = ""
    claimed: bool = False
    same_boot: bool = True
    runner_alive: bool = False
    started: float | None = None
    processes: int = 0


def state(facts: Facts) -> JobState:
    """The table above."""
    if facts.ended:
        return _ended(facts.ended, facts.started)
    if not facts.here:
        words = f"a job of the machine {facts.host}; ask there"
        return JobState(
            state="unknown",
            source="spool",
            started=facts.started,
            words=words,
            answer="not-answered",
        )
    if not facts.claimed:
        words = "its submitter ended before it was started; exa resume starts it"
        return JobState(state="queued", source="spool", words=words)
    if not facts.same_boot:
        return _lost(facts, "the machine was restarted")
    if facts.runner_alive:
        phase: Phase = "queued" if facts.started is None else "running"
        return JobState(state=phase, source="runner", started=facts.started)
    if facts.processes:
        words = f"its runner is gone, {facts.processes} of its processes are still there"
        return JobState(state="running", source="processes", started=facts.started, words=words)
    return _lost(facts, "its runner is gone, and so are its processes")


def _ended(ended: Ended, started: float | None) -> JobState:
    return JobState(
        state="ended",
        source="spool",
        exit_code=ended.exit_code,
        signal=ended.signal,
        started=None if ended.reason == "launch-failed" else started,
        ended=ended.at,
        reason=ended.reason,
        words=ended.words,
    )


def _lost(facts: Facts, words: str) -> JobState:
    # Asked to end, it must not look like one to be continued, whoever saw the end of it.
    reason: EndReason = "cancelled" if facts.cancelled else "lost"
    return JobState(
        state="ended", source="processes", started=facts.started, reason=reason, words=words
    )
