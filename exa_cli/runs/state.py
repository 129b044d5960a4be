"""A run's state: a pure fold over its journal, its checkpoints and the scheduler's answers.

Nothing here is stored. Losing any index loses nothing; asking twice gives the same answer.
Unknown is a value: a scheduler that does not answer never turns into "the job is gone".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from exa_cli.base import clock
from exa_cli.runs.journal import Event

_ROLE = re.compile(r"(job|rank)-(\d{3,})-(\d+)-[0-9a-f]+")


@dataclass(frozen=True)
class Observed:
    """What a scheduler said about one attempt's job, and when.

    ``cause`` and ``evidence`` are the policy's reading of it; they serve where the supervisor
    left no word of its own.
    """

    state: str
    cause: str | None = None
    evidence: tuple[str, ...] = ()
    started: float | None = None
    ended: float | None = None
    source: str = "scheduler"
    age_s: float = 0.0


@dataclass(frozen=True)
class Attempt:
    """One submission and all its lives.

    Attributes:
        then: what its supervisor, or an exa on the login node, decided to come after its end.
        decided: when that was said.
        ahead: whether it was queued ahead of time, to wait for the end of the one before.
        withdrawn: whether exa took it back before it began.
    """

    attempt: str
    tag: str
    state: str
    cause: str | None = None
    job_id: str | None = None
    nodes: int | None = None
    started: float | None = None
    ended: float | None = None
    first_step: int | None = None
    last_step: int | None = None
    evidence: tuple[str, ...] = ()
    lives: int = 0
    source: str = "journal"
    age_s: float = 0.0
    then: dict[str, Any] | None = None
    decided: float | None = None
    ahead: bool = False
    withdrawn: bool = False

    def due(self, wait_s: float, now: float) -> float:
        """When the next one may begin: so many seconds after the end. Where nobody knows when that
        was, after it was decided, or after ``now`` while nothing is."""
        known = (t for t in (self.ended, self.decided) if t is not None)
        return next(known, now) + wait_s


@dataclass(frozen=True)
class RunState:
    """Where a run stands. ``attempts`` holds all, jobs that are queued ahead of time too."""

    run: str
    state: str
    cause: str | None
    step: int
    steps_total: int
    attempts: tuple[Attempt, ...]
    source: str = "journal"
    age_s: float = 0.0

    @property
    def current(self) -> Attempt | None:
        """The attempt that tells how the run stands: the one that runs, else the newest that is
        not queued ahead of another's end or was taken back."""
        return current(self.attempts)


@dataclass(frozen=True)
class _Facts:
    """The events of one attempt, sorted by who wrote them."""

    name: str
    login: list[Event] = field(default_factory=list)
    lives: dict[int, list[Event]] = field(default_factory=dict)

    def last(self, kind: str) -> Event | None:
        found = [e for e in self.login if e.kind == kind]
        return found[-1] if found else None

    def of_lives(self, kind: str) -> list[Event]:
        return [e for life in sorted(self.lives) for e in self.lives[life] if e.kind == kind]


def place(event: Event) -> tuple[str, int] | None:
    """The attempt and life whose process wrote an event; None for the login node's."""
    return _place(event.writer)


@lru_cache(maxsize=4096)
def _place(writer: str) -> tuple[str, int] | None:
    found = _ROLE.fullmatch(writer)
    return (found[2], int(found[3])) if found else None


def by_life(events: Iterable[Event]) -> dict[tuple[str, int], list[Event]]:
    """The events of each life, by attempt and number. A life that ended itself at once, as a late
    twin or because there was nothing to do, is none."""
    lives: dict[tuple[str, int], list[Event]] = {}
    for event in events:
        if where := place(event):
            lives.setdefault(where, []).append(event)
    return {w: own for w, own in sorted(lives.items()) if not any(map(_is_needless, own))}


def _is_needless(event: Event) -> bool:
    return event.kind in ("twin", "needless")


def then_before(events: Iterable[Event], attempt: str, life: int) -> dict[str, Any] | None:
    """What the newest life before this one decided to come after itself, if it said so."""
    ends = [e for own in by_life(events).values() for e in own if e.kind == "ended"]
    before = [e for e in ends if (place(e) or ("", 0)) < (attempt, life)]
    return before[-1].fields.get("then") if before else None


def _by_attempt(events: Iterable[Event]) -> dict[str, _Facts]:
    facts: dict[str, _Facts] = {}
    for event in events:
        where = place(event)
        name = where[0] if where else event.fields.get("attempt")
        if name is None:
            continue
        mine = facts.setdefault(name, _Facts(name))
        if where:
            mine.lives.setdefault(where[1], []).append(event)
        else:
            mine.login.append(event)
    for mine in facts.values():
        _forget_needless(mine)
    return dict(sorted(facts.items()))


def _forget_needless(facts: _Facts) -> None:
    """A life that ended itself before it did anything was none of the attempt's: a late twin's,
    for which the accepted job's counts, or one of a job queued ahead that found nothing to do."""
    for life, events in list(facts.lives.items()):
        ends = [event for event in events if event.kind in ("twin", "needless")]
        if ends:
            del facts.lives[life]
            facts.login.extend(event for event in ends if event.kind == "needless")


def fold(
    run: str,
    steps_total: int,
    events: list[Event],
    observed: dict[str, Observed],
    progress: int = 0,
) -> RunState:
    """The state of a run.

    Args:
        run: its id.
        steps_total: optimizer steps it was asked for.
        events: the whole journal.
        observed: by attempt, what the scheduler said; an attempt that is missing was not asked
            about, which is the same as unknown.
        progress: the newest completed step that the metrics show.
    """
    attempts = tuple(_attempt(f, observed.get(f.name)) for f in _by_attempt(events).values())
    done = any(e.kind == "done" for e in events)
    state, cause = _run_state(attempts, done, events)
    last = current(attempts)
    steps = [progress, *(a.last_step or 0 for a in attempts)]
    finished = [e.fields.get("step") for e in events if e.kind == "done"]
    return RunState(
        run,
        state,
        cause,
        next((s for s in finished if isinstance(s, int)), steps_total) if done else max(steps),
        steps_total,
        attempts,
        last.source if last else "journal",
        last.age_s if last else 0.0,
    )


def current(attempts: tuple[Attempt, ...]) -> Attempt | None:
    """As `RunState.current`. Pure."""
    begun = [a for a in attempts if not a.withdrawn]
    running = [a for a in begun if a.state == "running"]
    waiting = [a for a in begun if a.ahead and a.state == "queued"]
    others = [a for a in begun if a not in waiting]
    if running or (others and others[-1].state != "ended"):
        return (running or others)[-1]
    return next(iter(waiting or others[-1:]), None)


def _run_state(
    attempts: tuple[Attempt, ...], done: bool, events: list[Event]
) -> tuple[str, str | None]:
    last = current(attempts)
    if last is None:
        return "unknown", None
    if last.state == "running" or (last.state == "queued" and not done):
        return last.state, None
    if done:
        return "done", "finished"
    if was_cancelled(events, last.attempt):
        return "cancelled", "cancelled"
    if last.state == "unknown":
        return "unknown", None
    if last.cause == "cancelled":
        return "cancelled", last.cause
    waits = last.then is not None and last.then["action"] == "resubmit"
    return ("resubmitting" if waits else "failed"), last.cause


def was_cancelled(events: Iterable[Event], attempt: str) -> bool:
    """Whether the user cancelled an attempt, or one before it that exa itself made it follow:
    the wish may come while the next one is handed in. Pure."""
    wishes, since = set(), ""
    for event in events:
        if event.kind == "cancelled":
            wishes.add(event.fields["attempt"])
        by_user = event.kind == "intent" and event.fields.get("by", "user") == "user"
        if by_user and event.fields["attempt"] <= attempt:
            since = max(since, event.fields["attempt"])
    return any(since <= wish <= attempt for wish in wishes)


def _attempt(facts: _Facts, seen: Observed | None) -> Attempt:
    intent, accepted, decided = (facts.last(k) for k in ("intent", "accepted", "decided"))
    ended, closed = _last_end(facts), _closed(facts, accepted)
    state, source, age = _attempt_state(closed, ended, seen)
    starts = facts.of_lives("life")
    began = starts[0].t if starts else (seen.started if seen else None)
    cause, evidence = _cause(facts, closed, ended, seen, state)
    told = decided or ended
    return Attempt(
        attempt=facts.name,
        tag=intent.fields.get("tag", "") if intent else "",
        state=state,
        cause=cause,
        job_id=accepted.fields.get("job_id") if accepted else None,
        nodes=intent.fields.get("nodes") if intent else None,
        started=began,
        ended=_end_time(ended, seen, state),
        first_step=_first_step(facts),
        last_step=_last_step(facts),
        evidence=evidence,
        lives=len(facts.lives),
        source=source,
        age_s=age,
        then=told.fields.get("then") if told else None,
        decided=told.t if told and told.fields.get("then") else None,
        ahead=bool(accepted and accepted.fields.get("ahead")),
        withdrawn=closed is not None and not _final(closed, intent),
    )


def _closed(facts: _Facts, accepted: Event | None) -> Event | None:
    """What says that an attempt never began: the scheduler refused it, exa took it back, or it
    found nothing to do."""
    if facts.lives:
        return None
    refused = None if accepted else facts.last("refused")
    return facts.last("needless") or facts.last("withdrawn") or refused


def _final(closed: Event, intent: Event | None) -> bool:
    """Whether an attempt that never began tells how the run stands: its refusal does, but not
    that exa itself could not reach the scheduler, which it will try again."""
    by = intent.fields.get("by") if intent else None
    return closed.kind == "refused" and (by != "policy" or closed.fields.get("reached", True))


def _last_end(facts: _Facts) -> Event | None:
    """The end that the newest life recorded; an older life's end does not end the attempt."""
    newest = max(facts.lives, default=0)
    ends = [e for e in facts.lives.get(newest, []) if e.kind == "ended"]
    return ends[-1] if ends and not goes_on(ends[-1]) else None


def goes_on(ended: Event) -> bool:
    """Whether the end of a life is not that of its attempt: the next one follows in its
    allocation."""
    then = ended.fields.get("then")
    return then is not None and then["action"] == "relaunch"


def _attempt_state(
    closed: Event | None, ended: Event | None, seen: Observed | None
) -> tuple[str, str, float]:
    if word := ended or closed:
        return "ended", "journal", max(0.0, clock.now() - word.t)
    if seen:
        return seen.state, seen.source, seen.age_s
    return "unknown", "journal", 0.0


def _end_time(ended: Event | None, seen: Observed | None, state: str) -> float | None:
    if state != "ended":
        return None
    return ended.t if ended else (seen.ended if seen else None)


def _cause(
    facts: _Facts, closed: Event | None, ended: Event | None, seen: Observed | None, state: str
) -> tuple[str | None, tuple[str, ...]]:
    if state != "ended":
        return None, seen.evidence if seen else ()
    if ended:
        return ended.fields["cause"], tuple(ended.fields.get("evidence", ()))
    if closed:
        words = str(closed.fields.get("message") or closed.fields.get("reason", ""))
        return ("submit-refused" if closed.kind == "refused" else None), (words,)
    if seen is None:
        return "unknown", ()
    silence = "" if facts.lives else "no life of this attempt ever started"
    return seen.cause or "unknown", tuple(line for line in (*seen.evidence, silence) if line)


def _first_step(facts: _Facts) -> int | None:
    loaded = facts.of_lives("loaded")
    return loaded[0].fields["step"] + 1 if loaded else None


def _last_step(facts: _Facts) -> int | None:
    kinds = ("loaded", "committed", "stopped", "done", "ended")
    steps = [e.fields.get("step") for kind in kinds for e in facts.of_lives(kind)]
    known = [s for s in steps if isinstance(s, int)]
    return max(known, default=None)


def to_json(state: RunState) -> dict[str, Any]:
    """The part of ``exa status RUN --json`` that the fold knows."""
    return {
        "schema": 1,
        "run": state.run,
        "state": state.state,
        "cause": state.cause,
        "step": state.step,
        "steps_total": state.steps_total,
        "attempts": [_attempt_json(a) for a in state.attempts],
        "source": state.source,
        "age_s": round(state.age_s, 3),
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "job_id": attempt.job_id,
        "state": attempt.state,
        "cause": attempt.cause,
        "nodes": attempt.nodes,
        "started": clock.iso(attempt.started) if attempt.started else None,
        "ended": clock.iso(attempt.ended) if attempt.ended else None,
        "first_step": attempt.first_step,
        "last_step": attempt.last_step,
        "lives": attempt.lives,
        "evidence": list(attempt.evidence),
        "source": attempt.source,
        "age_s": round(attempt.age_s, 3),
    }
