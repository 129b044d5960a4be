"""What comes after an end: go on in the allocation, hand in another attempt, or stop.

Truth table of `decide` about the last life; the first row that holds wins, and every row is a
test. "In a row" goes back to the last new committed step; nothing counts that was before the
user last handed the run in.

| what holds | then |
|---|---|
| it finished, or the user cancelled | nothing |
| the policy says stop after its cause | stop |
| it failed as the life before did, at the same step, from one checkpoint further back | stop |
| the run has used the node-hours it may | stop |
| the last `no_progress` attempts kept no new step, this one included | stop |
| more failures in a row than `retries` | stop |
| it failed, and the allocation is good for another life | relaunch |
| nobody is to hand in another attempt | stop |
| it failed | resubmit, after the back-off |
| its time was over, or others took its place | resubmit at once |

A life that failed as the one before did, at the same step, is followed by one that begins one
checkpoint further back, once: what was saved may be what it fails of.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from exa_cli.policy.history import History, Try

MEND = {
    "disk-full": "free space first",
    "bad-numbers": "look at the loss first; a lower train.lr or another seed may be needed",
    "launch-failed": "mend what the evidence names first",
    "out-of-memory": "use a smaller train.microbatch or more nodes",
    "stopped": "a person has to decide; see the evidence",
    "submit-refused": "mend what the scheduler refused first",
}

TAKEN = ("walltime", "preempted")
"""Causes that are no failure: time or nodes were taken away, as they may be."""

LONGEST_BACKOFF_S = 3600.0

SPARE_S = 10.0
"""What another life in the allocation must have left for training, beside coming up."""

NOBODY = {"by": "never", "why": "its request does not say who would hand it in"}
"""For requests of an exa that resubmitted nothing."""


def hands(request: Mapping[str, Any]) -> Mapping[str, str]:
    """Who hands in the attempt after this one, and why: of request.json, ``next``."""
    said: Mapping[str, str] = request.get("next", NOBODY)
    return said


Action = Literal["nothing", "relaunch", "resubmit", "stop"]


@dataclass(frozen=True)
class Then:
    """What comes next. ``wait_s``: before an attempt begins; ``back``: one checkpoint further
    back than it could."""

    action: Action
    reason: str
    wait_s: float = 0.0
    back: bool = False

    @property
    def words(self) -> str:
        """For people."""
        wait = f" in {self.wait_s:.0f} s" if self.wait_s else ""
        back = ", one checkpoint further back" if self.back else ""
        return f"{self.action}{wait}{back}: {self.reason}"

    def record(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "reason": self.reason,
            "wait_s": self.wait_s,
            "back": self.back,
        }


def decide(
    history: History,
    policy: Mapping[str, Any],
    next_by: Mapping[str, str],
    left_s: float | None = None,
) -> Then:
    """What comes after the last life of a history; see the module's table.

    Args:
        history: at least one life.
        policy: of plan.json.
        next_by: who hands in the next attempt, and why (`hands`).
        left_s: seconds until ranks have to stop, where the allocation can be used again.
    """
    last = history.tries[-1]
    if last.cause in ("finished", "cancelled"):
        return Then("nothing", f"the run is {_SETTLED[last.cause]}")
    if why := _stops(history, policy):
        return Then("stop", why)
    back, failed = _repeats(history.tries), last.cause not in TAKEN
    if failed and left_s is not None and left_s >= _needed(history):
        return Then("relaunch", f"{last.cause}; the allocation lasts", back=back)
    if next_by["by"] == "never":
        return Then("stop", f"{last.cause}; no attempt follows: {next_by['why']}")
    wait = _backoff(history.tries, policy["backoff_s"]) if failed else 0.0
    return Then("resubmit", last.cause, wait, back)


def affordable(
    history: History, policy: Mapping[str, Any], nodes: int, walltime_s: int
) -> int | None:
    """Seconds of walltime that the node-hours left allow an attempt, at most what it asks for;
    None when they do not even allow it to start, save and stop."""
    cap = policy.get("node_hours")
    if cap is None:
        return walltime_s
    left = int((cap - history.node_hours) * 3600 / nodes)
    least = policy["stop_before_s"] + _needed(history)
    return min(walltime_s, left) if left >= least else None


_SETTLED = {"finished": "done", "cancelled": "cancelled by its user"}


def _stops(history: History, policy: Mapping[str, Any]) -> str | None:
    """Why the run must not go on by itself."""
    tries, last = history.tries, history.tries[-1]
    if policy["on"].get(last.cause, "stop") == "stop":
        return f"{last.cause}: {MEND.get(last.cause, 'policy.on says stop')}"
    if last.back and _same(tries[-2:]):
        return f"{last.cause} at step {last.step} again, from an older checkpoint too"
    cap = policy.get("node_hours")
    if cap is not None and history.node_hours >= cap:
        return f"{history.node_hours:.2f} node-hours are used, policy.node_hours = {cap:g}"
    idle = _idle_attempts(tries)
    if idle >= policy["no_progress"]:
        return f"{idle} attempts in a row kept no new step: {last.cause}"
    failures = len(_in_a_row(tries))
    if failures > policy["retries"]:
        return f"{failures} failures in a row, with no step kept between: {last.cause}"
    return None


def _in_a_row(tries: tuple[Try, ...]) -> list[Try]:
    """The failures since the last kept step, newest first. One that kept a step is the first."""
    row: list[Try] = []
    for one in reversed(tries):
        if one.cause not in TAKEN:
            row.append(one)
        if one.progress:
            break
    return row


def _idle_attempts(tries: tuple[Try, ...]) -> int:
    """Attempts in a row, up to the last, of which no life kept a new step."""
    by_attempt = [list(own) for _, own in itertools.groupby(tries, key=lambda t: t.attempt)]
    idle = itertools.takewhile(lambda own: not any(map(_moved, own)), reversed(by_attempt))
    return len(list(idle))


def _moved(one: Try) -> bool:
    """Whether a life brought the run forward. Of a program that does not tell, one that used its
    time is taken to have."""
    return one.progress or (one.progress is None and one.cause in TAKEN)


def _repeats(tries: tuple[Try, ...]) -> bool:
    return len(tries) >= 2 and not tries[-1].back and _same(tries[-2:])


def _same(pair: tuple[Try, ...]) -> bool:
    """Whether two lives failed alike at the same step."""
    first, second = pair
    known = second.step is not None and second.step > 0
    return known and first.cause == second.cause not in TAKEN and first.step == second.step


def _needed(history: History) -> float:
    """Seconds that another life takes at least, by the slowest start that was seen."""
    rises = [t.rise_s for t in history.tries if t.rise_s is not None]
    return max(rises, default=SPARE_S) + SPARE_S


def _backoff(tries: tuple[Try, ...], first: float) -> float:
    row = max(1, len(_in_a_row(tries)))
    return float(min(first * 2 ** min(row - 1, 20), LONGEST_BACKOFF_S))


@dataclass(frozen=True)
class Next:
    """What ``exa status`` says comes next: ``action`` is resubmit (by exa) or resume (by you)."""

    action: str
    at: str | None
    reason: str


def after(cause: str | None, state: str, step: int | None, then: str | None = None) -> Next | None:
    """What the user can do next; None when there is nothing left to do.

    Args:
        cause, state: of the run.
        step: what the next attempt begins from; None = only the user's own program knows.
        then: why exa itself does not go on, where it has decided so.
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
    if then:
        reason += f"; exa stopped: {then}"
    elif cause in MEND:
        reason += f"; {MEND[cause]}"
    return Next("resume", None, reason)


def begins(step: int | None) -> str:
    """What an attempt does first, in words."""
    return "starts the program again" if step is None else f"continues from step {step}"
