"""When a job is told to end and when it is killed. Pure: seconds in, an action out.

| cancelled, stopped or over walltime | SIGTERM sent | kill delay over | action |
|---|---|---|---|
| no | no | – | wait for the walltime |
| yes | no | – | terminate, with that reason |
| – | yes | no | wait for the kill delay |
| – | yes | yes | kill, and again until it is gone |

A cancel counts before the walltime when both are there: that is what the user did, and a
cancelled job must never look like one that may be continued.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exa_cli.schedulers.types import EndReason

KILL_AGAIN = 0.1
"""Seconds between two rounds of SIGKILL, for what was being forked during the first."""


@dataclass(frozen=True)
class Limits:
    """Seconds. ``walltime`` None = no limit."""

    walltime: float | None
    kill_delay: float


@dataclass(frozen=True)
class Seen:
    """Seconds since the script started, and what has been asked or done.

    Attributes:
        now: seconds since the start.
        cancelled: somebody cancelled the job.
        stopped: the runner itself was told to stop.
        terminated: when SIGTERM was sent, or None.
    """

    now: float
    cancelled: bool = False
    stopped: bool = False
    terminated: float | None = None


@dataclass(frozen=True)
class Action:
    """``wait`` up to ``seconds`` (None = as long as nothing happens), ``terminate``, ``kill``."""

    do: Literal["wait", "terminate", "kill"]
    seconds: float | None = None
    reason: EndReason | None = None


def next_action(limits: Limits, seen: Seen) -> Action:
    """What the runner does now."""
    if seen.terminated is not None:
        left = seen.terminated + limits.kill_delay - seen.now
        return Action("wait", left) if left > 0 else Action("kill", KILL_AGAIN)
    if seen.cancelled:
        return Action("terminate", reason="cancelled")
    if limits.walltime is not None and seen.now >= limits.walltime:
        return Action("terminate", reason="walltime")
    if seen.stopped:
        return Action("terminate", reason="stopped")
    return Action("wait", None if limits.walltime is None else limits.walltime - seen.now)
