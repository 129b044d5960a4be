"""What becomes of a step whose numbers are not finite. Pure.

Truth table of `decide`, first row that holds wins; every row is a test:

| the step | tried | the state | policy.bad_step | skipped before it in a row | then |
|---|---|---|---|---|---|
| finite | once or twice | | | | update |
| not finite | once | | | | retry |
| not finite | twice | | stop | | stop |
| not finite | twice | | roll-back | | roll-back |
| not finite | twice | not sound | skip | | roll-back |
| not finite | twice | sound | skip | fewer than policy.skip_at_most | skip |
| not finite | twice | sound | skip | policy.skip_at_most | stop |

A second try from the same state tells a device's slip from arithmetic: the first comes out
otherwise, the second comes out again. A state that is not sound fails in every step, so
skipping would not help it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Action = Literal["update", "retry", "skip", "roll-back", "stop"]

NAMED = 8
"""Tensors that an event names; of more it says how many."""


@dataclass(frozen=True)
class Case:
    """What the choice rests on, the same on every rank.

    Attributes:
        bad: the quantity that is not finite, in words; None = all are finite.
        tries: how often the step was tried from this state.
        sound: weights and moments are finite and such as AdamW makes, on every rank.
        skipped: steps in a row, before this one, that made no update.
    """

    bad: str | None
    tries: int
    sound: bool = True
    skipped: int = 0


def decide(case: Case, bad_step: str, skip_at_most: int) -> Action:
    """The action for a step; the truth table is the module's docstring."""
    if case.bad is None:
        return "update"
    if case.tries < 2:
        return "retry"
    if bad_step == "stop":
        return "stop"
    if bad_step == "roll-back" or not case.sound:
        return "roll-back"
    return "skip" if case.skipped < skip_at_most else "stop"


@dataclass(frozen=True)
class Skips:
    """Steps that made no update: ``row`` of them just now, ``total`` in the whole run."""

    row: int = 0
    total: int = 0

    def after(self, action: Action) -> Skips:
        """The count after a step that was skipped or did update."""
        return Skips(self.row + 1, self.total + 1) if action == "skip" else Skips(0, self.total)


@dataclass(frozen=True)
class Sighting:
    """A quantity that was not finite, and where it was seen.

    Attributes:
        quantity: in words.
        ranks: whose own part of it was not finite. Gradients are averaged before anyone looks,
            so there the ranks tell who holds them and not who made them.
        tensors: parameters whose gradient was not finite.
    """

    quantity: str
    ranks: tuple[int, ...]
    tensors: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """For the journal."""
        return {**asdict(self), "ranks": list(self.ranks), "tensors": some(self.tensors)}

    @property
    def where(self) -> str:
        """In words, for people."""
        return f"on {ranks_in_words(self.ranks)}" if self.ranks else "in the sum over ranks"


def ranks_in_words(ranks: Sequence[int]) -> str:
    """``rank 3``, or ``ranks 0, 1``."""
    return f"rank{'s' if len(ranks) != 1 else ''} {', '.join(map(str, ranks))}"


def some(names: Sequence[str]) -> list[str]:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return [*names[:NAMED], *([f"and {more} more"] if more > 0 else [])]


@dataclass(frozen=True)
class Back:
    """The last roll-back: from which step, to which. Each failure goes further back.

    When a run that went back fails again before it has passed the step where it failed, the
    checkpoint it went to did not help, and only an older one may.
    """

    failed: int = 0
    to: int = 0

    def below(self, failed: int) -> int | None:
        """Checkpoints must be of steps before this one; None = any will do. Pure."""
        return self.to if failed <= self.failed else None

    def then(self, failed: int, to: int) -> Back:
        """After going from ``failed`` back to ``to``."""
        return Back(max(failed, self.failed), to)
