"""How a life of a run can end, and the words in which a policy says what comes then.

The same words stand in the run file's ``[policy]``, in a site profile's, and in every record.
"""

from __future__ import annotations

from typing import Any, Literal

AFTER: dict[str, str] = {
    "walltime": "resume",
    "preempted": "resume",
    "node-failure": "resume",
    "rank-failure": "resume",
    "out-of-memory": "resume",
    "hang": "resume",
    "launch-failed": "resume",
    "unknown": "resume",
    "bad-numbers": "stop",
    "disk-full": "stop",
    "submit-refused": "stop",
    "stopped": "stop",
}
"""What exa does after each cause where nobody says otherwise. Numbers that are bad, a disk that
is full and a scheduler that refuses do not get better by trying; a person does something about
them. The others may pass, and how often they are tried is bounded."""

CAUSES = ("finished", *AFTER, "cancelled")

ACTIONS = ("resume", "stop")

UNSAID: dict[str, Any] = {
    "on": AFTER, "retries": 3, "no_progress": 2, "backoff_s": 30, "node_hours": None, "chain": 1,
    "shrink": False, "hang": {"watch": False, "fixed_s": None, "floor_s": 60.0},
}  # fmt: skip
"""The policy of runs that were frozen before there was one."""

Means = Literal["auto", "inside", "chain", "requeue", "watch", "never"]
"""Who hands in the next attempt: the supervisor as its last act; jobs queued ahead that wait for
this one's end; the batch system, which starts the same job again; ``exa watch`` or a waiting
``exa submit`` on the login node; nobody."""


def legal_actions(values: dict[str, Any]) -> str | None:
    """What is wrong with a table of cause = action, in words; None when nothing is."""
    for cause, action in values.items():
        if cause not in AFTER:
            return f"{cause!r} is no cause a policy can be stated for: {', '.join(AFTER)}"
        if action not in ACTIONS:
            return f"{action!r} is nothing that can follow {cause}: {' or '.join(ACTIONS)}"
    return None
