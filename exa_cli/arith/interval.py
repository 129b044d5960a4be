"""How often to save: the interval that loses least to saving and to work done twice.

With C seconds that a save holds up training and M seconds between interrupts, a run that saves
every W seconds loses about C/W of its time to saving and W/2M to steps computed again. Young's
W = √(2CM) makes the sum least for C ≪ M; Daly's formula holds up to C = 2M. J. T. Daly, "A higher
order estimate of the optimum checkpoint interval for restart dumps", Future Generation Computer
Systems 22 (2006) 303-312, equation 37.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PRIOR_NODE_S = 7.9 * 3600 * 128
"""Seconds a node trains between interrupts, before a run has seen one of its own."""

PRIOR_SOURCE = (
    "none seen yet: 1,011 node-hours, from 7.9 h for jobs of 128 nodes "
    "(Kokolis et al. 2024, arXiv:2410.21680)"
)

DIFFERENT = 0.2
"""A new interval is taken when it differs by more: what is measured is never twice the same."""


def daly(cost_s: float, mean_s: float) -> float:
    """Seconds of work between two saves. ``cost_s`` is C, ``mean_s`` M of the module's words."""
    if cost_s >= 2 * mean_s:
        return mean_s
    part = cost_s / (2 * mean_s)
    return math.sqrt(2 * cost_s * mean_s) * (1 + math.sqrt(part) / 3 + part / 9) - cost_s


def lost(every_s: float, cost_s: float, mean_s: float, recovery_s: float = 0.0) -> float:
    """The share of time that saving, work done twice and recoveries cost, to first order."""
    return cost_s / every_s + every_s / (2 * mean_s) + recovery_s / mean_s


def prior_s(nodes: int) -> float:
    """Seconds between interrupts of a job of so many nodes, before any was seen."""
    return PRIOR_NODE_S / nodes


@dataclass(frozen=True)
class Measured:
    """What a life has seen of its own saves, in seconds.

    Attributes:
        cost_s: how long a save holds up training.
        save_s: from when a save is due until it is over.
        step_s: a step.
        mean_s: between interrupts; ``source`` says by what.
    """

    cost_s: float
    save_s: float
    step_s: float
    mean_s: float
    source: str


@dataclass(frozen=True)
class Interval:
    """Steps between saves, and why so many."""

    every: int
    reason: str


def choose(seen: Measured, most: int) -> Interval:
    """Daly's interval in steps, between two bounds. Pure.

    At least what a save takes, or each would wait for the one before. At most ``most``, which is
    what the plan began with: however rare interrupts seem to be, no more than that is at risk.
    """
    best_s = daly(seen.cost_s, seen.mean_s)
    best = max(1, round(best_s / seen.step_s))
    least = min(most, max(1, math.ceil(seen.save_s / seen.step_s)))
    every = min(max(best, least), most)
    words = (
        f"a save holds up training for {seen.cost_s:.3g} s, an interrupt comes every "
        f"{seen.mean_s / 3600:.3g} h ({seen.source}): best is every {best_s:.3g} s, "
        f"{best} steps of {seen.step_s:.3g} s"
    )
    if every < best:
        words += f"; at most {most}, as planned"
    if every > best:
        words += f"; at least {least}, since a save takes {seen.save_s:.3g} s"
    return Interval(every, words)


def differs(every: int, before: int) -> bool:
    """Whether a new interval is worth a change."""
    return abs(every - before) > DIFFERENT * before
