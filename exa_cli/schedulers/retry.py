"""When a question to a busy batch system is put again. Pure: seconds in, seconds out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long to go on trying, in seconds.

    Attributes:
        bound: no new try starts later than this after the first.
        first: the pause after the first try; each further one is twice as long.
        longest: no pause is longer.
        settle: after an answer that leaves open whether there is a job, how long its name is
            looked up before the job is submitted again.
    """

    bound: float
    first: float = 1.0
    longest: float = 30.0
    settle: float = 30.0


def pause(patience: Patience, tries: int, elapsed: float, dice: float) -> float | None:
    """Seconds to wait after the ``tries``-th try, or None when it was the last.

    Args:
        tries: how many were made, from 1 on.
        elapsed: seconds since the first began.
        dice: from 0 to 1, evenly. Half of the pause is left to it, so that what failed at the
            same moment does not come back at the same moment.
    """
    doubled = patience.first * 2.0 ** min(tries - 1, 30)
    wanted = min(patience.longest, doubled) * (0.5 + 0.5 * dice)
    left = patience.bound - elapsed
    return min(wanted, left) if left > 0 else None
