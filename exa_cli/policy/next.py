"""What comes after an end.

This version never resubmits by itself: it says whether ``exa resume`` can go on and from
where, and whether anything has to be mended first.
"""

from __future__ import annotations

from dataclasses import dataclass

MEND = {
    "disk-full": "free space first",
    "bad-numbers": "look at the loss first; a lower train.lr or another seed may be needed",
    "launch-failed": "mend what the evidence names first",
    "out-of-memory": "use a smaller train.microbatch or more nodes",
    "stopped": "a person has to decide; see the evidence",
    "submit-refused": "mend what the scheduler refused first",
}


@dataclass(frozen=True)
class Next:
    """The next action: ``action`` is resume; ``reason`` tells what to mind."""

    action: str
    at: str | None
    reason: str


def after(cause: str | None, state: str, step: int | None) -> Next | None:
    """What the user can do next; None when there is nothing left to do.

    ``step`` is what the next attempt begins from; None = only the user's own program knows.
    """
    if state in ("done", "queued", "running", "resubmitting"):
        return None
    if state == "unknown":
        return Next(
            "resume", None, "looks the job up by its name and submits only if it is not there"
        )
    if state == "cancelled":
        return Next("resume", None, f"--force {begins(step)} after your cancel")
    reason = begins(step)
    if cause in MEND:
        reason += f"; {MEND[cause]}"
    return Next("resume", None, reason)


def begins(step: int | None) -> str:
    """What an attempt does first, in words."""
    return "starts the program again" if step is None else f"continues from step {step}"
