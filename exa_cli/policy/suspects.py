"""Nodes that a run has lost, remembered with evidence, and forgotten again with time. Pure.

A node that failed often fails again, and a broken one that stands idle is given to every next
job. But blame can be wrong, and nodes get repaired: so suspicion halves with time, keeps the
words it rests on, and holds for the run that saw it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exa_cli.runs.journal import Event

HALF_LIFE_S = 12 * 3600.0
"""A site repairs or drains a broken node within a day or so: two half-lives."""

AVOIDED = 0.25
"""Suspicion from which on a node is avoided: one loss is, for a day."""


@dataclass(frozen=True)
class Suspect:
    """A node, how much it is suspected (one loss a moment ago = 1), and why."""

    node: str
    weight: float
    evidence: tuple[str, ...]


def suspects(events: Iterable[Event], now: float) -> tuple[Suspect, ...]:
    """The nodes to avoid, worst first.

    Args:
        events: the run's journal; lives tell in ``ended`` which nodes they lost.
        now: seconds since the epoch. A loss in the future, by another clock, counts as of now.
    """
    weights: dict[str, float] = {}
    words: dict[str, list[str]] = {}
    for event in events:
        for node in event.fields.get("lost", ()) if event.kind == "ended" else ():
            age = max(0.0, now - event.t)
            weights[node] = weights.get(node, 0.0) + 0.5 ** (age / HALF_LIFE_S)
            words.setdefault(node, []).append(f"{event.fields['cause']} in {event.writer}")
    found = [Suspect(n, w, tuple(words[n])) for n, w in weights.items() if w >= AVOIDED]
    return tuple(sorted(found, key=lambda s: (-s.weight, s.node)))


def last(nodes: Iterable[str], avoided: Iterable[str]) -> tuple[str, ...]:
    """Nodes in their order, but those to avoid at the end: with spares they stay unused."""
    bad = set(avoided)
    return tuple(sorted(nodes, key=lambda node: node in bad))
