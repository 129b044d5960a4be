"""Continue a run: finish a cut-off submit, or submit the next attempt when the last has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exa_cli.base.errors import Damaged, Invalid, Unreachable
from exa_cli.base.talk import say
from exa_cli.login import observe, scheduler, submit
from exa_cli.login.here import began_here
from exa_cli.login.observe import View
from exa_cli.login.submit import Submission
from exa_cli.policy.next import begins
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.turn import turn


@dataclass(frozen=True)
class Resumed:
    """The run's submission, and whether this call made it."""

    submission: Submission
    submitted: bool
    why: str


def resume(
    run: RunDir, changes: dict[str, Any], *, force: bool, nodes: int | None = None
) -> Resumed:
    """Bring a run forward if that is what it needs; on another number of nodes if that is given.

    Raises Invalid (cancelled, and no force), Damaged (every checkpoint is, and no force),
    Unreachable (the scheduler did not say), Refused.
    """
    with turn(run, force=force):
        _recover(run)
        view = observe.look([run], fresh=True)[0]
        observe.require_answer(view)
        if settled := _settled(run, view):
            return settled
        if view.state.state == "cancelled" and not force:
            raise Invalid(
                f"you cancelled {run.run_id}",
                hint=f"exa resume {run.run_id} --force continues it all the same",
            )
        layout = {} if nodes is None else {"layout": nodes}
        return _bring_forward(run, view, changes, force, layout)


def _recover(run: RunDir) -> None:
    """Let the scheduler put right what a killed submit left half done."""
    view = observe.look([run], fresh=True)[0]
    last = view.state.current
    if last and last.job_id and last.state != "ended":
        scheduler.of_run(run).recover(last.job_id)


def _settled(run: RunDir, view: View) -> Resumed | None:
    """A live or finished run is left as it is."""
    if view.state.state not in ("done", "queued", "running"):
        return None
    last = view.state.current
    if last is None:
        return None
    kind = view.plan["scheduler"]
    known = Submission(run, last.attempt, kind, last.job_id or "", last.tag)
    words = "has finished" if view.state.state == "done" else f"is {view.state.state}"
    return Resumed(known, False, f"{run.run_id} {words}: nothing to do")


def _concede(run: RunDir, job_id: str, force: bool) -> None:
    """Let a job of unknown state be taken for ended if the user insists and the batch system
    itself says that it has no such job. Raises Unreachable otherwise."""
    found = scheduler.of_run(run).query([job_id])[job_id]
    if found.answer != "not-found":
        raise Unreachable(
            f"the scheduler does not say whether job {job_id} still runs",
            where=found.words,
            hint="nothing was submitted: a second copy would be worse than waiting",
        )
    if not force:
        raise Unreachable(
            f"nobody knows how job {job_id} ended",
            where=found.words,
            hint=f"exa resume {run.run_id} --force continues if you know that it runs no more",
        )


def _bring_forward(
    run: RunDir, view: View, changes: dict[str, Any], force: bool, layout: dict[str, int]
) -> Resumed:
    last = view.state.current
    here = bool(last and began_here(run, last.attempt))
    if last and last.state == "unknown" and not last.job_id and not here:
        say(f"attempt {last.attempt} was being submitted when exa was cut off; finishing that")
        return Resumed(submit.hand_in(run, last.attempt), True, "finished a cut-off submit")
    if last and last.state == "unknown" and last.job_id:
        _concede(run, last.job_id or "", force)
    best = observe.checkpoint(run)
    if best and best["verdict"] != "good" and not force:
        verb = "repair" if best["verdict"] == "repairable" else "verify"
        does = "brings one back" if verb == "repair" else "names the files"
        raise Damaged(
            f"every committed checkpoint of {run.run_id} is damaged",
            where=str(run.checkpoints),
            hint=f"exa ckpt {verb} {run.run_id} {does}; --force begins again at step 0",
        )
    made = submit.reopen(run, changes)
    attempt = submit.lay_down(run, made, from_scratch=force, **layout)
    good = best if best and best["verdict"] == "good" else None
    return Resumed(submit.hand_in(run, attempt), True, begins(observe.beginning(run.plan(), good)))
