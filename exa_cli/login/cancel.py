"""Cancel: the wish is recorded before the scheduler is told, so no later step can miss it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exa_cli.base.errors import NotFound, Unreachable
from exa_cli.login import observe, scheduler
from exa_cli.login.here import began_here
from exa_cli.runs import journal as journals
from exa_cli.runs.journal import Journal
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import Attempt
from exa_cli.schedulers.types import Scheduler


@dataclass(frozen=True)
class Cancelled:
    """What a cancel found and did. ``job_id`` is None when no job was there to end."""

    run: str
    attempt: str | None
    job_id: str | None
    words: str

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, "run": self.run, "attempt": self.attempt, "job_id": self.job_id}


def cancel(run: RunDir) -> Cancelled:
    """Record the wish, then end the job. Raises Unreachable when the scheduler is not reached."""
    view = observe.look([run], fresh=True)[0]
    last = view.state.current
    if last is None:
        return Cancelled(run.run_id, None, None, f"{run.run_id} was never submitted")
    if view.state.state in ("done", "cancelled", "failed"):
        words = f"{run.run_id} is {view.state.state} already: nothing to cancel"
        return Cancelled(run.run_id, last.attempt, None, words)
    live = [a for a in view.state.attempts if a.state != "ended" or a == last]
    with Journal(run.path, journals.writer_name("login")) as journal:
        for one in live:
            journal.append("cancelled", attempt=one.attempt)
    if began_here(run, last.attempt):
        words = f"cancelled {run.run_id}: it is asked to save and stop; the allocation stays"
        return Cancelled(run.run_id, last.attempt, last.job_id, words)
    if view.state.state == "resubmitting":
        words = f"cancelled {run.run_id}: no other attempt will follow"
        return Cancelled(run.run_id, last.attempt, None, words)
    # What is queued ahead goes first: it must not begin when the running one ends.
    batch = scheduler.of_run(run)
    for one in reversed([a for a in live if a != last]):
        _ended(run, batch, one)
    job_id, words = _ended(run, batch, last)
    return Cancelled(run.run_id, last.attempt, job_id, f"cancelled {run.run_id}{words}")


def _ended(run: RunDir, batch: Scheduler, one: Attempt) -> tuple[str | None, str]:
    """As `_end`. Raises Unreachable, saying that the wish is recorded."""
    try:
        return _end(batch, one)
    except Unreachable as error:
        raise Unreachable(
            f"your wish is recorded, but job {one.job_id or one.tag} may still run: {error.what}",
            where=error.where,
            hint=f"exa cancel {run.run_id} again when the scheduler answers",
        ) from error


def _end(batch: Scheduler, last: Attempt) -> tuple[str | None, str]:
    """End an attempt's job, or each that has its name; which it is, and what to say of it."""
    jobs = [last.job_id] if last.job_id else batch.find(last.tag)
    if not jobs:
        return None, ": it has no job"
    words = ""
    for job_id in jobs:
        try:
            batch.cancel(job_id)
        except NotFound:
            words = f", which {batch.kind} does not know any more"
    return jobs[0], f", job {jobs[0]}{words}"
