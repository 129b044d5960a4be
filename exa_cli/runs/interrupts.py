"""How often a run was interrupted: a fold over its journal.

An interrupt is what may come at any moment and takes the work since the last checkpoint along. A
stop that saved first is none, nor is an end that a person has to mend.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from exa_cli.runs.journal import Event
from exa_cli.runs.state import by_life

NO_INTERRUPTS = frozenset(
    {
        "finished",
        "walltime",
        "cancelled",
        "stopped",
        "disk-full",
        "bad-numbers",
        "submit-refused",
        "launch-failed",
    }
)
"""Causes of an end that are none. The end of a life that nobody recorded is one."""


@dataclass(frozen=True)
class History:
    """What a run has behind it: interrupts, and seconds of training in which they came."""

    interrupts: int
    trained_s: float


@dataclass
class _Stretch:
    """Training by one set of processes: from rank 0's ``training`` to its last word."""

    began: float
    last: float
    saved: bool = False


@dataclass
class _Life:
    """How a life ended, as far as its supervisor tells, and its stretches by beginning."""

    cause: str | None = None
    ended: float = 0.0
    stretches: list[_Stretch] = field(default_factory=list)


def history(events: Iterable[Event], attempt: str, life: int) -> History:
    """The history before the present training of a life, which itself does not count. Pure."""
    found = sorted(events, key=lambda e: e.t)
    cancelled = {e.fields.get("attempt") for e in found if e.kind == "cancelled"}
    interrupts, trained = 0, 0.0
    for where, own in by_life(found).items():
        past = _life(own)
        for stretch in past.stretches:
            newest = stretch is past.stretches[-1]
            if newest and where == (attempt, life):
                continue
            trained += max(stretch.last, past.ended if newest else 0.0) - stretch.began
            mended = newest and (past.cause in NO_INTERRUPTS or where[0] in cancelled)
            interrupts += not (stretch.saved or mended)
    return History(interrupts, trained)


def _life(events: Iterable[Event]) -> _Life:
    life, stretches = _Life(), dict[str, _Stretch]()
    for event in events:
        if event.kind == "ended":
            life.cause, life.ended = event.fields["cause"], event.t
        elif event.kind == "training":
            stretches[event.writer] = _Stretch(event.t, event.t)
            life.stretches.append(stretches[event.writer])
        elif event.writer in stretches:
            stretch = stretches[event.writer]
            stretch.last = event.t
            stretch.saved = stretch.saved or event.kind in ("stopped", "done")
    return life
