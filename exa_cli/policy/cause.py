"""Why a life ended: one word out of everything that was seen.

Truth table of `classify`, first row that holds wins; every row is a test:

| seen | cause |
|---|---|
| rank 0 recorded `done` | finished |
| the user cancelled | cancelled |
| a health check failed for lack of space | disk-full |
| a health check failed | launch-failed |
| a rank's own record names a cause | that cause, disk-full and bad-numbers first |
| the ranks failed or hung, and a node gave no sign any more | node-failure |
| the supervisor killed ranks that made no progress | hang |
| ranks only noticed another one's end | the cause they name |
| the kernel killed for memory while it ran | out-of-memory |
| ranks stopped as asked before the walltime's end | walltime |
| ranks stopped as asked, on a signal from outside | preempted |
| the scheduler says: walltime | walltime |
| the scheduler says: cancelled | cancelled |
| the scheduler says: preempted | preempted |
| the scheduler says: node-failure | node-failure |
| the scheduler says: out-of-memory | out-of-memory |
| the scheduler says: launch-failed | launch-failed |
| a signal ended a rank or the launcher | rank-failure |
| the launcher failed before any rank trained | launch-failed |
| the launcher failed after that | rank-failure |
| none of these | unknown |
"""

from __future__ import annotations

from dataclasses import dataclass, field

_RANKED = ("disk-full", "bad-numbers", "out-of-memory", "stopped", "launch-failed", "rank-failure")
_SCHEDULER = {
    "walltime": "walltime",
    "cancelled": "cancelled",
    "preempted": "preempted",
    "node-failure": "node-failure",
    "out-of-memory": "out-of-memory",
    "launch-failed": "launch-failed",
}


@dataclass(frozen=True)
class RankError:
    """What a failing rank wrote about itself before it left.

    ``echo`` marks a rank that only noticed another one's end.
    """

    rank: int
    cause: str
    what: str
    step: int | None = None
    echo: bool = False


@dataclass(frozen=True)
class Health:
    """A failed check before the launch. ``cause`` is launch-failed or disk-full."""

    check: str
    what: str
    cause: str = "launch-failed"


@dataclass(frozen=True)
class Seen:
    """Everything known about how a life ended; None and empty mean: not seen."""

    done: bool = False
    cancelled: bool = False
    health: Health | None = None
    hang: str | None = None
    rank_errors: tuple[RankError, ...] = ()
    memory_kill: bool = False
    stopped_for: str | None = None
    launcher_exit: int | None = None
    signal: int | None = None
    trained: bool = False
    scheduler_reason: str | None = None
    lost_nodes: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Ended:
    """A cause with the sentences that led to it, most telling first."""

    cause: str
    evidence: tuple[str, ...]


def classify(seen: Seen) -> Ended:
    """The cause of an end. Pure; the truth table is the module's docstring."""
    cause, reason = _verdict(seen)
    lines = [reason, *_rank_lines(seen.rank_errors), *seen.notes]
    return Ended(cause, tuple(dict.fromkeys(line for line in lines if line)))


def _verdict(seen: Seen) -> tuple[str, str]:
    if seen.done:
        return "finished", "the last step is committed"
    if seen.cancelled:
        return "cancelled", "the user cancelled"
    if seen.health:
        return seen.health.cause, f"{seen.health.check}: {seen.health.what}"
    named = sorted(seen.rank_errors, key=_weight)
    if named and not named[0].echo:
        return _named(named)
    if seen.lost_nodes and _went_wrong(seen):
        return "node-failure", f"no sign any more of the agent on {', '.join(seen.lost_nodes)}"
    if seen.hang:
        return "hang", seen.hang
    return _named(named) if named else _from_outside(seen)


def _went_wrong(seen: Seen) -> bool:
    """Whether the ranks ended otherwise than they were asked to."""
    return seen.stopped_for is None and (bool(seen.hang) or bool(seen.launcher_exit))


def _named(errors: list[RankError]) -> tuple[str, str]:
    same = [e for e in errors if e.what == errors[0].what]
    return errors[0].cause, _rank_lines(tuple(same))[0]


def _weight(error: RankError) -> tuple[bool, int]:
    known = error.cause in _RANKED
    return error.echo, _RANKED.index(error.cause) if known else len(_RANKED)


def _rank_lines(errors: tuple[RankError, ...]) -> list[str]:
    """One line for each thing that was said, with all the ranks that said it."""
    said: dict[str, list[str]] = {}
    for error in sorted(errors, key=lambda e: (e.echo, e.rank)):
        said.setdefault(error.what, []).append(str(error.rank))
    word = {True: "rank", False: "ranks"}
    return [f"{word[len(who) == 1]} {', '.join(who)}: {what}" for what, who in said.items()]


def _from_outside(seen: Seen) -> tuple[str, str]:
    if seen.memory_kill:
        return "out-of-memory", "the kernel killed a process for memory during this life"
    if seen.stopped_for:
        cause = "walltime" if seen.stopped_for == "walltime" else "preempted"
        return cause, f"saved and stopped as asked: {seen.stopped_for}"
    if known := _SCHEDULER.get(seen.scheduler_reason or ""):
        return known, f"the scheduler says: {seen.scheduler_reason}"
    return _from_launcher(seen)


def _from_launcher(seen: Seen) -> tuple[str, str]:
    status = seen.launcher_exit
    if status is None or status == 0:
        return "unknown", "no process left a word about its end"
    words = f"the launcher ended with {exit_words(status)}"
    if seen.signal is not None or status < 0:
        killed = exit_words(-seen.signal) if seen.signal is not None else exit_words(status)
        who = "a rank" if seen.signal is not None else "the launcher"
        return "rank-failure", f"{who} was ended by a signal: {killed}"
    if not seen.trained:
        return "launch-failed", f"{words} before any rank trained"
    return "rank-failure", words


def exit_words(status: int) -> str:
    """An exit status in words. Negative, or above 128 as shells and launchers fold it: a signal."""
    import signal

    number = -status if status < 0 else status - 128
    try:
        return f"status {status} ({signal.Signals(number).name})"
    except ValueError:
        return f"status {status}"
