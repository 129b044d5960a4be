"""Whether ranks hang: no progress for longer than the run itself has ever needed. Pure.

Ranks train in lockstep: when one hangs, all stand still. So the job hangs when no rank that is
heard of goes forward any more, and who is to blame is another question.

| what is seen | verdict |
|---|---|
| no rank is heard of | none: silence is not known to be standing still |
| one of those heard of went forward within what the hindmost of them may take | none |
| none did | hang |

The hindmost are whom all wait for: those furthest back in the order step, its validation, next
step. Another's validation takes long because they never came to it. A save is in no such order,
since each rank waits for its own: of ranks equally far the one that may take longest counts.

| who is blamed | when |
|---|---|
| ranks that nobody hears of while others stand still | there are some |
| ranks that are behind, in the same order | not all are equally far |
| ranks in another phase than most | not all are in the same |
| all | else |

The limit of a step: what the user says; else three times the 99th percentile of the run's own
steps, once 200 are known, and never less than the floor; before that, what a first step may take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

FIRST_S = 1800.0
"""What coming up, compiling and the first steps may take: what others wait for in any step."""

PART_S = 600.0
"""What a part of a validation or of a save may take: a filesystem that stands still is no hang."""

LEARNT = 200
"""Steps from which on a 99th percentile means something."""

TIMES = 3.0
"""How many times the 99th percentile a step may take."""

HEARD_S = 15.0
"""After how long without a sign of its node a rank is not heard of."""


@dataclass(frozen=True)
class Mark:
    """A rank's progress. ``moved`` and ``heard``: when it was last seen to go forward, and when
    its node was last heard of, in seconds of one clock that only goes forward."""

    step: int
    phase: str
    moved: float
    heard: float


@dataclass(frozen=True)
class Limit:
    """Seconds without progress, and where that number is from."""

    seconds: float
    why: str


@dataclass(frozen=True)
class Hang:
    """Who stands still, and the sentence that says so."""

    ranks: tuple[int, ...]
    words: str


def limit(steps_s: Sequence[float], fixed_s: float | None, floor_s: float) -> Limit:
    """How long a step may take.

    Args:
        steps_s: durations of the run's steps so far.
        fixed_s: what the user says.
        floor_s: what it is at least.
    """
    if fixed_s is not None:
        return Limit(fixed_s, "policy.hang")
    if len(steps_s) < LEARNT:
        return Limit(max(FIRST_S, floor_s), f"{len(steps_s)} steps are known, of {LEARNT} wanted")
    p99 = sorted(steps_s)[int(0.99 * (len(steps_s) - 1))]
    if TIMES * p99 < floor_s:
        return Limit(floor_s, f"the floor; 99 of 100 steps took {p99:.3g} s at most")
    return Limit(TIMES * p99, f"{TIMES:g} × {p99:.3g} s, which 99 of 100 steps took at most")


def limits(step: Limit) -> dict[str, Limit]:
    """The limit of each phase. Validation and checkpoints go forward in parts, of which each is
    to be shorter than a slow step; coming up has stages of unknown length."""
    longer = Limit(max(step.seconds, FIRST_S), "what coming up may take")
    parts = Limit(max(step.seconds, PART_S), "what a part of it may take")
    return {"start": longer, "step": step, "validate": parts, "checkpoint": parts}


def judge(marks: Mapping[int, Mark], now: float, allowed: Mapping[str, Limit]) -> Hang | None:
    """The verdict; see the module's tables."""
    heard = {rank: m for rank, m in marks.items() if now - m.heard <= HEARD_S}
    if not heard:
        return None
    last = max(heard, key=lambda rank: heard[rank].moved)
    still, mark = now - heard[last].moved, _hindmost(heard.values(), allowed)
    most = _allowed(mark, allowed)
    if still <= most.seconds:
        return None
    blamed = _blamed(marks, heard)
    who = "all ranks" if len(blamed) == len(marks) else f"rank {', '.join(map(str, blamed))}"
    words = f"no progress for {still:.0f} s in {mark.phase} after step {mark.step}"
    words += f" (limit {most.seconds:.0f} s: {most.why}); {who}"
    if unheard := sorted(set(marks) - set(heard)):
        words += f"; no sign of rank {', '.join(map(str, unheard))}"
    return Hang(blamed, f"{words} stood still, the last to move was rank {last}")


def _position(mark: Mark) -> tuple[int, bool]:
    """How far a rank has come: what follows a step carries the step's number."""
    return mark.step, mark.phase == "validate"


def _hindmost(marks: Collection[Mark], allowed: Mapping[str, Limit]) -> Mark:
    """Of those furthest back, the one whose phase may take longest."""
    back = min(map(_position, marks))
    return max(
        (mark for mark in marks if _position(mark) == back),
        key=lambda mark: _allowed(mark, allowed).seconds,
    )


def _allowed(mark: Mark, allowed: Mapping[str, Limit]) -> Limit:
    return allowed.get(mark.phase, allowed["step"])


def _blamed(marks: Mapping[int, Mark], heard: Mapping[int, Mark]) -> tuple[int, ...]:
    if unheard := sorted(set(marks) - set(heard)):
        return tuple(unheard)
    newest = max(map(_position, marks.values()))
    if behind := sorted(rank for rank, mark in marks.items() if _position(mark) < newest):
        return tuple(behind)
    usual = Counter(mark.phase for mark in marks.values()).most_common(1)[0][0]
    apart = sorted(rank for rank, mark in marks.items() if mark.phase != usual)
    return tuple(apart or sorted(marks))
