"""Keep a run alive: do what its policy says comes next, once, whoever notices first.

`exa watch`, a waiting `exa submit`, and the supervisor as its last act all come here. The run's
turn lets one of them at a time; each looks anew, so that what one has done is left alone by the
next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from exa_cli.base import clock
from exa_cli.base.errors import ExaError, Refused
from exa_cli.base.talk import say
from exa_cli.login import observe, scheduler, submit
from exa_cli.login.observe import View
from exa_cli.login.submit import Submission
from exa_cli.policy import history as histories
from exa_cli.policy.history import History
from exa_cli.policy.next import Then, affordable, begins, decide, hands
from exa_cli.runs import journal as journals
from exa_cli.runs.journal import Journal
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import Attempt, was_cancelled
from exa_cli.runs.turn import turn
from exa_cli.schedulers.types import NotSubmitted, Restarts
from exa_cli.spec import times

AGAIN_S = 60.0
"""After how long a batch system that was not reached is tried again."""


@dataclass(frozen=True)
class Kept:
    """What was done for a run.

    ``settled`` = nothing is left to be done for it; ``live`` = its job is; ``submitted`` = this
    call handed one in; ``waits`` = something is to be done at ``at``, seconds since the epoch.
    """

    action: Literal["settled", "live", "submitted", "waits"]
    words: str
    at: float | None = None


def keep(run: RunDir, *, now: bool = False) -> Kept:
    """Do what a run's policy says comes next. Idempotent.

    Args:
        now: hand in at once what is due later, to begin then: for a supervisor, which will not be
            there.

    Raises Unreachable when the scheduler does not tell how the run stands, or somebody else is
    submitting for it; Refused when it takes no other attempt.
    """
    with turn(run):
        view = observe.look([run], fresh=True)[0]
        observe.require_answer(view)
        last, state = view.state.current, view.state.state
        if last is None or state == "unknown":
            return Kept("settled", f"nobody knows how {run.run_id} stands; exa resume helps")
        if state in ("queued", "running"):
            _link(view, last)
            return Kept("live", f"{run.run_id} is {state}")
        then = None if state in ("done", "cancelled") else _then(view, last)
        if then is None or then["action"] != "resubmit":
            _withdraw(view)
            return Kept("settled", then["reason"] if then else f"{run.run_id} is {state}")
        return _go_on(view, last, then, now)


def _then(view: View, last: Attempt) -> dict[str, Any]:
    """What was decided to come after an attempt, decided now where its supervisor did not."""
    if last.then is not None and last.then["action"] != "relaunch":
        return last.then
    then = decide(_history(view), view.plan["policy"], _hands(view.run, last))
    return _decided(view.run, last, then)


def _decided(run: RunDir, last: Attempt, then: Then) -> dict[str, Any]:
    """Write down what is to come after an attempt, in place of its supervisor."""
    record = then.record()
    with Journal(run.path, journals.writer_name("login")) as journal:
        journal.append("decided", attempt=last.attempt, cause=last.cause, then=record)
    return record


def _history(view: View) -> History:
    """The run's history, with what the scheduler told of ends that left no word."""
    silent = {a.attempt: a.cause for a in view.state.attempts if a.cause and not a.withdrawn}
    return histories.read(view.events, silent)


def _hands(run: RunDir, last: Attempt) -> Mapping[str, str]:
    return hands(run.request(last.attempt))


def _go_on(view: View, last: Attempt, then: dict[str, Any], now: bool) -> Kept:
    run, due = view.run, last.due(then["wait_s"], clock.now())
    if again := _started_again(view, last, now):
        return again
    if due > clock.now() and not now:
        return Kept("waits", f"{then['reason']}: another attempt is due", due)
    made = submit.reopen(run, {})
    walltime = affordable(
        _history(view), view.plan["policy"], last.nodes or view.plan["parallel"]["nodes"],
        times.seconds(made.run.resources.walltime),
    )  # fmt: skip
    if walltime is None:
        stop = Then("stop", f"{then['reason']}; the node-hours left allow no other attempt")
        return Kept("settled", _decided(run, last, stop)["reason"])
    made = submit.reopen(run, {"walltime": times.text(walltime)})
    begin = {"begin": int(due) + 1} if due > clock.now() else {}
    if was_cancelled(journals.read(run.path), last.attempt):
        return Kept("settled", f"{run.run_id} was cancelled")
    try:
        attempt = submit.lay_down(run, made, by="policy", **begin)
        done = submit.hand_in(run, attempt)
    except NotSubmitted as error:
        return Kept("waits", str(error), clock.now() + AGAIN_S)
    step = observe.beginning(view.plan, observe.checkpoint(run))
    return Kept("submitted", f"job {done.job_id} after {then['reason']}: {begins(step)}")


def _started_again(view: View, last: Attempt, now: bool) -> Kept | None:
    """Let the batch system start the same job again, where that is the run's way and can be."""
    batch = scheduler.of_run(view.run)
    if _hands(view.run, last)["by"] != "requeue" or not last.job_id:
        return None
    if now and isinstance(batch, Restarts):
        try:
            batch.requeue(last.job_id)
        except Refused as error:
            say(f"job {last.job_id} cannot be started again: {error}")
            return None
    elif batch.query([last.job_id])[last.job_id].state == "ended":
        return None
    return Kept("live", f"job {last.job_id} is started again by the batch system")


def lacks_links(view: View, last: Attempt) -> bool:
    """Whether jobs are to be queued ahead of an attempt's end and are not."""
    return _hands(view.run, last)["by"] == "chain" and _links_wanted(view) > 0


def _links_wanted(view: View) -> int:
    wanted: int = view.plan["policy"]["chain"] - len(_links(view))
    return wanted


def _links(view: View) -> list[Attempt]:
    return [a for a in view.state.attempts if a.ahead and a.state == "queued" and a.job_id]


def _link(view: View, last: Attempt) -> None:
    """Queue jobs ahead that wait for this one's end, as many as the policy wants."""
    if last.job_id is None or not lacks_links(view, last):
        return
    before = (_links(view) or [last])[-1].job_id or ""
    _chain(view.run, before, _links_wanted(view))


def _chain(run: RunDir, before: str, count: int) -> None:
    """Hand in so many attempts, each to wait for the end of the one before."""
    for _ in range(count):
        attempt = submit.lay_down(run, submit.reopen(run, {}), by="policy", after=before)
        done = submit.hand_in(run, attempt)
        say(f"job {done.job_id} is queued ahead: it waits for the end of job {before}")
        before = done.job_id


def ahead(done: Submission) -> None:
    """Queue jobs ahead of a submission's end, if that is its run's way. What cannot be queued is
    said: the submission stands, and exa watch can do the rest."""
    run = done.run
    if hands(run.request(done.attempt))["by"] != "chain":
        return
    try:
        with turn(run):
            _chain(run, done.job_id, run.plan()["policy"]["chain"])
    except ExaError as error:
        say(f"no job could be queued ahead: {error}")


def _withdraw(view: View) -> None:
    """Take back the jobs that were queued ahead: the last first, lest one starts meanwhile."""
    links = [a for a in view.state.attempts if a.ahead and a.state in ("queued", "unknown")]
    for link in reversed(links):
        try:
            if link.job_id:
                scheduler.of_run(view.run).cancel(link.job_id)
        except ExaError as error:
            say(f"job {link.job_id} could not be taken back: {error}; it will end itself")
            continue
        with Journal(view.run.path, journals.writer_name("login")) as journal:
            journal.append("withdrawn", attempt=link.attempt, reason="the run had ended before")
