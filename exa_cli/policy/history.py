"""What a run has been through, as its policy sees it: one `Try` for each life. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exa_cli.runs.journal import Event
from exa_cli.runs.state import by_life

KEPT = ("committed", "stopped", "done")
"""Events whose ``step`` will not be lost any more."""


@dataclass(frozen=True)
class Try:
    """One life.

    Attributes:
        attempt, life: which it was.
        cause: why it ended; ``unknown`` when it left no word.
        step: the last step that is known of it, None when none is.
        progress: whether it kept a step beyond all that were kept before; None for a program of
            the user's own that does not tell its steps.
        back: whether it was to begin one checkpoint further back than it could have.
        rise_s: seconds from its start to its first training, None when it did not get there.
    """

    attempt: str
    life: int
    cause: str
    step: int | None
    progress: bool | None
    back: bool = False
    rise_s: float | None = None


@dataclass(frozen=True)
class History:
    """All lives since a user last handed the run in; node-hours since its beginning."""

    tries: tuple[Try, ...]
    node_hours: float


def read(events: Iterable[Event], causes: Mapping[str, str] | None = None) -> History:
    """The history that a journal tells.

    Args:
        events: the whole journal, in its order.
        causes: attempt → cause, for lives that left no word of their own end and attempts that
            never began one.
    """
    events = list(events)
    lives, (since, nodes) = by_life(events), _handed_in(events)
    told = _tries(lives, causes or {})
    tries = tuple(t for t in told if t.attempt >= since)
    begun = {t.attempt for t in tries}
    for attempt, cause in (causes or {}).items():
        if attempt not in begun and attempt >= since:
            tries = (*tries, Try(attempt, 0, cause, None, False))
    spent = sum(_seconds(own) * nodes.get(where[0], 0) for where, own in lives.items())
    return History(tuple(sorted(tries, key=lambda t: (t.attempt, t.life))), spent / 3600)


def _handed_in(events: list[Event]) -> tuple[str, dict[str, int]]:
    """The attempt that a user handed in last; the nodes of each."""
    intents = [event.fields for event in events if event.kind == "intent"]
    by_user = [each["attempt"] for each in intents if each.get("by", "user") == "user"]
    return max(by_user, default=""), {e["attempt"]: e.get("nodes") or 0 for e in intents}


def _tries(
    lives: Mapping[tuple[str, int], list[Event]], causes: Mapping[str, str]
) -> Iterable[Try]:
    best, back = 0, False
    for (attempt, life), events in lives.items():
        end = next((e for e in reversed(events) if e.kind == "ended"), None)
        cause = end.fields["cause"] if end else causes.get(attempt, "unknown")
        kept, told = _kept(events, end), [s for e in events if (s := _step(e)) is not None]
        progress = None if kept is None else kept > best
        yield Try(attempt, life, cause, max(told, default=None), progress, back, _rise(events))
        best = max(best, kept or 0)
        back = bool(end and (end.fields.get("then") or {}).get("back"))


def _kept(events: list[Event], end: Event | None) -> int | None:
    """The newest step that will not be lost; 0 when there is none, None when nobody can know."""
    if end and end.fields.get("own_program"):
        return _step(end)
    return max((_step(e) or 0 for e in events if e.kind in KEPT), default=0)


def _step(event: Event) -> int | None:
    step = event.fields.get("step")
    return step if isinstance(step, int) else None


def _rise(events: list[Event]) -> float | None:
    began = next((e.t for e in events if e.kind == "training"), None)
    return None if began is None else max(0.0, began - events[0].t)


def _seconds(events: list[Event]) -> float:
    return max(0.0, max(e.t for e in events) - min(e.t for e in events))
