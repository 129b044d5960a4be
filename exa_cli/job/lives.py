"""The lives of an attempt: whether one is to begin, what follows it, how the next one begins.

The batch system's script begins the first; the supervisor itself begins another one after a
failure that its allocation can bear. Both are numbered alike, claim an epoch each, and leave
folders of the same form.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import clock, marks, proc
from exa_cli.base.errors import Damaged, ExaError
from exa_cli.base.talk import say
from exa_cli.job import twin
from exa_cli.job.allocation import Allocation
from exa_cli.job.notice import Notice
from exa_cli.policy import history
from exa_cli.policy import next as policies
from exa_cli.policy.next import Then
from exa_cli.runs import claims
from exa_cli.runs import journal as journals
from exa_cli.runs.journal import Event
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import by_life, place, then_before

HAND_OVER_S = 120.0
"""How long handing in the next attempt may take; a batch system that ends the job is quicker."""


@dataclass(frozen=True)
class Life:
    """Which life of which attempt."""

    run: RunDir
    attempt: str
    number: int


@dataclass(frozen=True)
class Needless:
    """Why a life has nothing to live for, as a journal event and for people."""

    kind: str
    fields: dict[str, Any]
    words: str


def needless(life: Life, environ: Mapping[str, str]) -> Needless | None:
    """Why a life ends before it claims anything; None when it is to go on.

    A job in whose place another one was accepted; and one that was queued ahead, or that the
    batch system starts again by itself, after the policy stopped the run.
    """
    events = journals.read(life.run.path)
    if other := twin.accepted_instead(events, life.attempt, environ):
        words = f"job {other} was accepted in place of this one, which ends"
        return Needless("twin", {"accepted": other}, words)
    if why := stopped(events, life):
        return Needless("needless", {"reason": why}, f"nothing to do: {why}")
    return None


def stopped(events: list[Event], life: Life) -> str | None:
    """Why the run must not go on by itself, if this life is nobody's wish but exa's own."""
    asked = next((e for e in events if e.kind == "intent" and _of(e, life.attempt)), None)
    by_policy = asked is not None and asked.fields.get("by") == "policy"
    if life.number == 1 and not by_policy:
        return None
    if by_policy and any(event.kind == "done" for event in events):
        return "the run is done"
    then = then_before(events, life.attempt, life.number)
    return str(then["reason"]) if then and then["action"] in ("stop", "nothing") else None


def _of(event: Event, attempt: str) -> bool:
    return bool(event.fields.get("attempt") == attempt)


def goes_back(here: Allocation) -> bool:
    """Whether the life before was decided to be followed from one checkpoint further back."""
    then = then_before(journals.read(here.run.path), here.attempt, here.life)
    return bool(then and then.get("back"))


def superseded(life: Life) -> bool:
    """Whether another copy has claimed the run since: one that its batch system started anew while
    this one ran on. To begin another life here would take the run from it."""
    me = (life.attempt, life.number)
    return any((c.attempt, c.life) > me for c in claims.read_claims(life.run.path))


def proven(here: Allocation) -> bool:
    """Whether ranks trained on these very nodes a moment ago: in the life before, in this
    allocation, which lost none of them. Then a probe tells nothing that ranks would not."""
    before = by_life(journals.read(here.run.path)).get((here.attempt, here.life - 1), [])
    kinds = {event.kind for event in before}
    ends = [event.fields for event in before if event.kind == "ended"]
    again = any((end.get("then") or {}).get("action") == "relaunch" for end in ends)
    lost = any(end.get("lost") for end in ends)
    return again and not lost and {"healthy", "training"} <= kinds


def decide(life: Life, record: dict[str, Any], here: Allocation | None, notice: Notice) -> Then:
    """What follows an end that is about to be recorded. ``here`` is None when the life had no
    allocation to work with; then what comes next is a person's to decide."""
    if superseded(life):
        return Then("nothing", "a newer life of the run has begun; it goes on, this one does not")
    if here is None:
        return Then("stop", f"{record['cause']}: there was no allocation to work with")
    role = f"job-{life.attempt}-{life.number}-0"
    ended = Event(clock.now(), role, 0, "ended", record)
    told = history.read([*_settled_events(life), ended])
    enough = here.can_lose(len(record.get("lost", ())))
    left = here.limits().stop_at - clock.now() if enough and not notice.signal else None
    return policies.decide(told, here.plan["policy"], policies.hands(here.request), left)


def _settled_events(life: Life) -> list[Event]:
    """The journal, without lives of this attempt that are younger than this one."""
    me = (life.attempt, life.number)
    return [e for e in journals.read(life.run.path) if (place(e) or me) <= me]


def begin(run: RunDir, attempt: str, after: int) -> int:
    """Take the next life's number, as the script does, and print into its folder from now on.

    Raises Damaged when the run directory cannot be written.
    """
    number = after + 1
    while not _made(run.life(attempt, number)):
        number += 1
    _print_into(run.life(attempt, number) / "stdout.log")
    return number


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise Damaged(f"cannot begin a life: {error.strerror}", where=str(folder)) from error
    return True


def _print_into(log: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for target in (1, 2):
        os.dup2(fd, target)
    os.close(fd)


def hand_over(run: RunDir, attempt: str, then: Then | None = None) -> None:
    """See to the attempts that follow: hand in the next one, queue jobs ahead, or take them back.

    By a process of its own, the same that a user would start. What it cannot do, exa watch or a
    person can: the decision is recorded. ``then`` is None while the attempt begins.
    """
    if _by(run, attempt) != "chain" and (then is None or then.action != "resubmit"):
        return
    argv = [sys.executable, "-m", "exa_cli", "watch", str(run.path), "--once", "--now"]
    plain = {name: value for name, value in os.environ.items() if name not in marks.ALL}
    try:
        done = proc.run(argv, timeout=HAND_OVER_S, env=plain, cwd=run.path)
        words = (done.err or done.out).strip()
    except ExaError as error:
        words = f"nothing was handed in: {error}"
    if words:
        say(words)


def _by(run: RunDir, attempt: str) -> str:
    """Who hands in the attempt after this one."""
    try:
        return policies.hands(run.request(attempt))["by"]
    except ExaError:
        return policies.NOBODY["by"]
