"""Look at runs: journals, checkpoints, and one question to each scheduler for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Unreachable
from exa_cli.checkpoint import select, verify
from exa_cli.login import metrics
from exa_cli.policy.cause import Seen, classify, exit_words
from exa_cli.policy.next import after
from exa_cli.runs import journal, state
from exa_cli.runs.claims import counts, read_claims
from exa_cli.runs.journal import Event
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import Observed, RunState
from exa_cli.schedulers.registry import make
from exa_cli.schedulers.types import JobState, Scheduler, Settings
from exa_cli.script.job import LIFE_TAKEN
from exa_cli.sites.load import read_frozen
from exa_cli.sites.schema import SiteProfile


@dataclass(frozen=True)
class View:
    """One run as seen now. ``trouble`` says why a scheduler could not be asked."""

    run: RunDir
    plan: dict[str, Any]
    events: list[Event]
    state: RunState
    trouble: str | None


def scheduler_of(site: SiteProfile) -> Scheduler:
    """The batch system of a profile."""
    options = asdict(site.scheduler)
    return make(site.scheduler.kind, Settings(options, dict(os.environ)))


def scheduler(run: RunDir) -> Scheduler:
    """The batch system a run was submitted to, from its frozen profile."""
    return scheduler_of(read_frozen(run.path / "site.toml"))


def look(runs: Iterable[RunDir]) -> list[View]:
    """The state of runs, with one query per batch system."""
    read = [(run, run.plan(), journal.read(run.path)) for run in runs]
    asked = {run.path: _open_jobs(events) for run, _, events in read}
    answers: dict[str, JobState] = {}
    trouble: dict[str, str] = {}
    for kind, (batch, ids) in _by_scheduler(run for run, _, _ in read if asked[run.path]).items():
        wanted = [job for run in ids for job in asked[run.path].values()]
        try:
            answers |= {f"{kind}\0{job}": s for job, s in batch.query(wanted).items()}
        except Unreachable as error:
            trouble[kind] = str(error)
    return [
        _view(run, plan, events, asked[run.path], answers, trouble) for run, plan, events in read
    ]


def _by_scheduler(runs: Iterable[RunDir]) -> dict[str, tuple[Scheduler, list[RunDir]]]:
    groups: dict[str, tuple[Scheduler, list[RunDir]]] = {}
    for run in runs:
        batch = scheduler(run)
        groups.setdefault(batch.kind, (batch, []))[1].append(run)
    return groups


def _open_jobs(events: list[Event]) -> dict[str, str]:
    """Jobs whose end the journal does not know: attempt → job id."""
    jobs = {e.fields["attempt"]: e.fields["job_id"] for e in events if e.kind == "accepted"}
    return {a: job for a, job in jobs.items() if not _ended(events, a)}


def _ended(events: list[Event], attempt: str) -> bool:
    own = [e for e in events if (where := state.place(e)) and where[0] == attempt]
    newest = max((state.place(e) or ("", 0))[1] for e in own) if own else 0
    return any(e.kind == "ended" and state.place(e) == (attempt, newest) for e in own)


def _view(
    run: RunDir,
    plan: dict[str, Any],
    events: list[Event],
    jobs: dict[str, str],
    answers: dict[str, JobState],
    trouble: dict[str, str],
) -> View:
    found = {key.partition("\0")[2]: s for key, s in answers.items()}
    observed = {a: _observed(found[job], events, a) for a, job in jobs.items() if job in found}
    newest = metrics.last(run.metrics / "metrics.jsonl")
    progress = newest["step"] if newest else 0
    folded = state.fold(run.run_id, plan["train"]["steps"], events, observed, progress)
    why = "; ".join(trouble.values()) if jobs and not observed else None
    return View(run, plan, events, folded, why)


def _observed(job: JobState, events: list[Event], attempt: str) -> Observed:
    """A scheduler's answer with the policy's reading of it, for jobs that left no word."""
    status = job.exit_code if job.signal is None else -job.signal
    ended = classify(Seen(scheduler_reason=job.reason))
    silence = "the job ended without a word from its supervisor"
    how = f"the scheduler saw {exit_words(status)}" if status is not None else (job.words or "")
    if status == LIFE_TAKEN:
        how += ": another copy of this job, started at the same moment, took its place"
    return Observed(
        state=job.state,
        cause=ended.cause if job.state == "ended" else None,
        evidence=tuple(line for line in (silence, how, *ended.evidence[:1]) if line),
        started=job.started,
        ended=job.ended,
        source=job.source,
        age_s=job.age_s,
    )


def checkpoint(run: RunDir) -> dict[str, Any] | None:
    """The newest checkpoint that counts, by structure; None while there is none."""
    claims = read_claims(run.path)
    reports = verify.survey(run.checkpoints)
    chosen = select.choose(reports, lambda name, epoch: counts(claims, name, epoch))
    if chosen.candidates:
        best = next(r for r in reports if r.name == chosen.candidates[0])
        return {"step": best.step, "verdict": best.verdict}
    broken = [r for r in reports if r.verdict == "damaged"]
    return {"step": broken[0].step, "verdict": "damaged"} if broken else None


def goodput(view: View) -> float | None:
    """Seconds spent in steps that were kept, over all seconds its jobs have run; None before."""
    kept = [r["step_s"] for r in metrics.read(view.run.metrics / "metrics.jsonl") if "step_s" in r]
    spent = sum(_spans(view))
    return min(1.0, round(sum(kept) / spent, 4)) if kept and spent > 0 else None


def _spans(view: View) -> Iterable[float]:
    for attempt in view.state.attempts:
        if attempt.started is not None:
            yield max(0.0, (attempt.ended or _last_sign(view, attempt.attempt)) - attempt.started)


def _last_sign(view: View, attempt: str) -> float:
    """When an attempt without a recorded end was last heard of; now while it runs."""
    if view.state.state == "running" and view.state.attempts[-1].attempt == attempt:
        return clock.now()
    return max((e.t for e in view.events if (state.place(e) or ("",))[0] == attempt), default=0.0)


def to_json(view: View) -> dict[str, Any]:
    """``exa status RUN --json``."""
    best = checkpoint(view.run)
    coming = after(view.state.cause, view.state.state, best["step"] if best else 0)
    record = state.to_json(view.state)
    record["checkpoint"] = best
    record["next"] = asdict(coming) if coming else None
    record["goodput"] = goodput(view)
    return record


def summary(view: View) -> dict[str, Any]:
    """A run's line in ``exa status --json``."""
    record = state.to_json(view.state)
    keys = ("run", "state", "cause", "step", "steps_total", "source", "age_s")
    return {key: record[key] for key in keys}


def require_answer(view: View) -> None:
    """Raise Unreachable when the run's state rests on a scheduler that did not answer."""
    if view.state.state == "unknown" and view.trouble:
        raise Unreachable(
            f"the scheduler of {view.run.run_id} did not answer, so its state is unknown",
            where=view.trouble,
            hint="nothing was assumed and nothing was changed; ask again",
        )
