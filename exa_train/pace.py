"""Which steps are saved: every so many, and for "auto" as many as what was measured asks for.

Nothing here changes what is computed: a run that saves at other steps ends in the same bits.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from exa_cli.arith import interval
from exa_cli.base import clock
from exa_cli.runs.interrupts import History
from exa_train.plan import Saving

FIRST = 200
"""Steps after which an adaptive life saves at the latest for the first time: only a save tells
what one costs, and a tenth of a long run may be days."""

REMEMBERED = 5
"""Saves whose cost is looked at: the median of a few is not moved by one slow one."""


@dataclass(frozen=True)
class Seen:
    """What one rank saw of a save, in seconds; rank 0's pace and mean are those that count."""

    stall_s: float
    save_s: float
    step_s: float
    mean_s: float
    source: str


class Pace:
    """The rhythm of one life's saves; ``step`` is the one it was loaded from.

    ``every`` is the same on all ranks: it comes from the plan, then from what all of them saw.
    """

    def __init__(self, policy: Saving, step: int, past: History) -> None:
        self.every = policy.every
        self._policy, self._past = policy, past
        self._next = step + (min(self.every, FIRST) if policy.adaptive else 0)
        self._since = clock.monotonic()
        self._resumed: float | None = None
        self._steps, self._steps_s = 0, 0.0
        self._costs: list[float] = []
        self._told = False

    def due(self, step: int) -> bool:
        return step >= self._next if self._policy.adaptive else step % self.every == 0

    def began(self, step: int) -> None:
        """A save of ``step`` has begun."""
        self._next = step + self.every

    def step_ended(self, now: float) -> None:
        """A step has ended; the first of a life, which compiles and warms up, does not count."""
        if self._resumed is not None:
            self._steps += 1
            self._steps_s += now - self._resumed

    def goes_on(self, now: float) -> None:
        """Training goes on with the next step."""
        self._resumed = now

    def seen(self, stall_s: float, save_s: float) -> Seen:
        """This rank's part of `adapt`, after a save."""
        trained = self._past.trained_s + clock.monotonic() - self._since
        mean_s, source = self._policy.interrupt_s, self._policy.interrupt_source
        if self._past.interrupts:
            mean_s = trained / self._past.interrupts
            source = f"{self._past.interrupts} in {trained / 3600:.3g} h of training"
        return Seen(stall_s, save_s, self._steps_s / max(1, self._steps), mean_s, source)

    def adapt(self, seen: Sequence[Seen]) -> str | None:
        """Take up the interval that what all ranks saw asks for; the reason if it is told.

        Steps are counted anew from the save that was begun last.
        """
        self._costs = [*self._costs, max(one.stall_s for one in seen)][-REMEMBERED:]
        first = seen[0]
        if not first.step_s:
            return None
        measured = interval.Measured(
            cost_s=statistics.median(self._costs),
            save_s=max(one.save_s for one in seen),
            step_s=first.step_s,
            mean_s=first.mean_s,
            source=first.source,
        )
        wanted = interval.choose(measured, self._policy.every)
        if self._told and not interval.differs(wanted.every, self.every):
            return None
        self._next += wanted.every - self.every
        self.every, self._told = wanted.every, True
        return wanted.reason
