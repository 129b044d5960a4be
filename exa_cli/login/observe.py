"""Look at runs: journals, checkpoints, and one question to each scheduler for all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Damaged, ExaError, Unreachable
from exa_cli.login import scheduler
from exa_cli.policy.cause import Seen, classify, exit_words
from exa_cli.policy.next import Next, after, begins, hands
from exa_cli.runs import journal, metrics, state
from exa_cli.runs.journal import Event
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import Attempt, Observed, RunState
from exa_cli.schedulers import asked
from exa_cli.schedulers.types import JobState
from exa_cli.sites.schema import SiteProfile


@dataclass(frozen=True)
class View:
    """One run as seen now. ``trouble`` says why a scheduler could not be asked."""

    run: RunDir
    plan: dict[str, Any]
    events: list[Event]
    state: RunState
    trouble: str | None


@dataclass(frozen=True)
class _Read:
    """What a run's own files say. ``jobs``: attempt → id, of jobs whose end they do not tell."""

    run: RunDir
    plan: dict[str, Any]
    events: list[Event]
    jobs: dict[str, str]


@dataclass(frozen=True)
class _Heard:
    """What a batch system said: states by job, or why it said nothing."""

    states: dict[str, JobState] = field(default_factory=dict)
    fault: str | None = None


def look(runs: Iterable[RunDir], *, fresh: bool = False) -> list[View]:
    """The state of runs, with one query per batch system.

    Args:
        runs: any number of them.
        fresh: ask anew, for whoever decides by it whether something is submitted. Otherwise an
            answer younger than the site's ``scheduler.poll_s`` may be another exa's.
    """
    read = [_read(run) for run in runs]
    heard = _ask_all(read, fresh)
    return [_view(one, heard) for one in read]


@dataclass(frozen=True)
class Broken:
    """A run whose own files cannot be read, and why."""

    run: RunDir
    error: ExaError | OSError


def survey(runs: Iterable[RunDir]) -> tuple[list[View], list[Broken]]:
    """Many runs at a glance, as `look` sees them; one that is broken does not hide the others."""
    read: list[_Read] = []
    views: list[View] = []
    broken: list[Broken] = []
    for run in runs:
        try:
            read.append(_read(run, brief=True))
        except (ExaError, OSError) as error:
            broken.append(Broken(run, error))
    heard = _ask_all(read, fresh=False)
    for one in read:
        try:
            views.append(_view(one, heard))
        except (ExaError, OSError) as error:
            broken.append(Broken(one.run, error))
    return views, broken


def _ask_all(read: list[_Read], fresh: bool) -> dict[str, _Heard]:
    """What each kind of batch system says of these runs' open jobs."""
    return {kind: _ask(group, fresh) for kind, group in _by_scheduler(read).items()}


def _read(run: RunDir, *, brief: bool = False) -> _Read:
    if not (run.path / "journal").is_dir():
        hint = "what was submitted is not known any more: restore it, or submit a new run"
        raise Damaged("the journal is gone", where=str(run.path / "journal"), hint=hint)
    events = journal.read(run.path, brief=brief)
    return _Read(run, run.plan(), events, _open_jobs(events))


def _by_scheduler(read: Iterable[_Read]) -> dict[str, list[_Read]]:
    """Runs with open jobs, by the kind of their batch system."""
    groups: dict[str, list[_Read]] = {}
    for one in read:
        if one.jobs:
            groups.setdefault(one.plan["scheduler"], []).append(one)
    return groups


def _ask(group: list[_Read], fresh: bool) -> _Heard:
    """One question for all jobs of a batch system. A single profile says how, and how often."""
    jobs = [job for one in group for job in one.jobs.values()]
    try:
        profile = _any_profile(group)
        batch = scheduler.of_site(profile)
        name = batch.shared_as()
        floor = 0.0 if fresh else profile.scheduler.poll_s
        if name is None:
            return _Heard(batch.query(jobs))
        answers = asked.shared(batch.kind, name, os.environ)
        return _Heard(answers.query(jobs, floor, batch.query))
    except ExaError as error:
        return _Heard(fault=str(error))


def _any_profile(group: list[_Read]) -> SiteProfile:
    """A profile of these runs that can be read. Raises NotFound or Invalid when none can."""
    *others, last = group
    for one in others:
        with contextlib.suppress(ExaError):
            return scheduler.frozen(one.run)
    return scheduler.frozen(last.run)


def _open_jobs(events: list[Event]) -> dict[str, str]:
    """Jobs whose end the journal does not know: attempt → job id."""
    jobs = {e.fields["attempt"]: e.fields["job_id"] for e in events if e.kind == "accepted"}
    back = {e.fields["attempt"] for e in events if e.kind == "withdrawn"}
    return {a: job for a, job in jobs.items() if a not in back and not _ended(events, a)}


def _ended(events: list[Event], attempt: str) -> bool:
    own = [e for e in events if (where := state.place(e)) and where[0] == attempt]
    newest = max((state.place(e) or ("", 0))[1] for e in own) if own else 0
    last = [e for e in own if state.place(e) == (attempt, newest)]
    return any(e.kind == "needless" or (e.kind == "ended" and not state.goes_on(e)) for e in last)


def _view(read: _Read, all_heard: dict[str, _Heard]) -> View:
    run, events = read.run, read.events
    heard = all_heard.get(read.plan["scheduler"], _Heard())
    said = {a: heard.states[job] for a, job in read.jobs.items() if job in heard.states}
    observed = {a: _observed(state, events, a) for a, state in said.items()}
    total = read.plan["train"]["steps"]
    folded = state.fold(run.run_id, total, events, observed, _progress(read))
    return View(run, read.plan, events, folded, _trouble(read, heard, said))


def _progress(read: _Read) -> int:
    """The newest step the metrics show; of no interest where the journal knows the last."""
    if any(event.kind == "done" for event in read.events):
        return 0
    newest = metrics.last(read.run.metrics / "metrics.jsonl")
    return newest["step"] if newest else 0


def _trouble(read: _Read, heard: _Heard, said: dict[str, JobState]) -> str | None:
    """Why a run's jobs were not answered for, if they were not."""
    if read.jobs and heard.fault:
        return heard.fault
    silent = [s.words or "no answer" for s in said.values() if s.answer == "not-answered"]
    return "; ".join(dict.fromkeys(silent)) or None


def _observed(job: JobState, events: list[Event], attempt: str) -> Observed:
    """A scheduler's answer with the policy's reading of it, for jobs that left no word."""
    if job.state != "ended":
        return _observed_live(job)
    status = job.exit_code if job.signal is None else -job.signal
    ended = classify(Seen(scheduler_reason=job.reason))
    silence = "the job ended without a word from its supervisor"
    how = f"the scheduler saw {exit_words(status)}" if status is not None else (job.words or "")
    if _life_taken(status):
        how += ": another copy of this job, started at the same moment, took its place"
    return Observed(
        state=job.state,
        cause=ended.cause,
        evidence=tuple(line for line in (silence, how, *ended.evidence[:1]) if line),
        started=job.started,
        ended=job.ended,
        source=job.source,
        age_s=job.age_s,
    )


def _life_taken(status: int | None) -> bool:
    """Whether a script ended because another copy of its job had taken its life."""
    from exa_cli.script.job import LIFE_TAKEN

    return status == LIFE_TAKEN


def _observed_live(job: JobState) -> Observed:
    """A job that has not ended, with what the batch system says of it."""
    return Observed(
        state=job.state,
        evidence=(job.words,) if job.words else (),
        started=job.started,
        source=job.source,
        age_s=job.age_s,
    )


def checkpoint(run: RunDir) -> dict[str, Any] | None:
    """The newest checkpoint that counts, by structure; None while there is none."""
    from exa_cli.checkpoint import select, verify
    from exa_cli.runs.claims import counts, read_claims

    claims = read_claims(run.path)
    reports = verify.survey(run.checkpoints)
    chosen = select.choose(reports, lambda name, epoch: counts(claims, name, epoch))
    if chosen.candidates:
        best = next(r for r in reports if r.name == chosen.candidates[0])
        return {"step": best.step, "verdict": best.verdict}
    broken = [r for r in reports if r.verdict in ("damaged", "repairable")]
    return {"step": broken[0].step, "verdict": broken[0].verdict} if broken else None


def beginning(plan: dict[str, Any], best: dict[str, Any] | None) -> int | None:
    """The step that the next attempt begins from; None when only the user's own program knows."""
    if "program" in plan:
        return None
    return best["step"] if best else 0


def goodput(view: View) -> float | None:
    """Seconds spent in steps that were kept, over all seconds its jobs have run; None before."""
    kept = [r["step_s"] for r in metrics.read(view.run.metrics / "metrics.jsonl") if "step_s" in r]
    spent = sum(_spans(view))
    return min(1.0, round(sum(kept) / spent, 4)) if kept and spent > 0 else None


def _spans(view: View) -> Iterable[float]:
    for attempt in view.state.attempts:
        if attempt.started is not None:
            yield max(0.0, (attempt.ended or last_sign(view, attempt.attempt)) - attempt.started)


def last_sign(view: View, attempt: str) -> float:
    """When an attempt without a recorded end was last heard of; now while it runs."""
    current = view.state.current
    if view.state.state == "running" and current and current.attempt == attempt:
        return clock.now()
    return max((e.t for e in view.events if (state.place(e) or ("",))[0] == attempt), default=0.0)


def to_json(view: View) -> dict[str, Any]:
    """``exa status RUN --json``."""
    best = checkpoint(view.run)
    coming = coming_next(view, beginning(view.plan, best))
    record = state.to_json(view.state)
    record["checkpoint"] = best
    record["next"] = asdict(coming) if coming else None
    record["goodput"] = goodput(view)
    return record


def coming_next(view: View, step: int | None) -> Next | None:
    """What comes next: by exa itself where that was decided, else what the user can do."""
    last = view.state.current
    then = last.then if last and last.state == "ended" else None
    if last and then and view.state.state == "resubmitting":
        at = clock.iso(last.due(then["wait_s"], clock.now()))
        return Next("resubmit", at, f"after {then['reason']}, {begins(step)}; {_who(view, last)}")
    stopped = then["reason"] if then and then["action"] == "stop" else None
    return after(view.state.cause, view.state.state, step, stopped)


_WHO = {
    "inside": "the ended job hands it in, or exa watch where that could not",
    "chain": "it is queued ahead",
    "requeue": "the batch system starts the same job again",
    "watch": "exa watch hands it in, or exa resume",
}


def _who(view: View, last: Attempt | None) -> str:
    """Who hands in the next attempt, in words."""
    by = hands(view.run.request(last.attempt))["by"] if last else "watch"
    return _WHO.get(by, _WHO["watch"])


def summary(view: View) -> dict[str, Any]:
    """A run's line in ``exa status --json``."""
    record = state.to_json(view.state)
    keys = ("run", "state", "cause", "step", "steps_total", "source", "age_s")
    return {key: record[key] for key in keys}


def broken_summary(broken: Broken) -> dict[str, Any]:
    """The line in ``exa status --json`` of a run that cannot be read."""
    nothing = dict.fromkeys(("cause", "step", "steps_total", "source", "age_s"))
    return {"run": broken.run.run_id, "state": "damaged", **nothing}


def require_answer(view: View) -> None:
    """Raise Unreachable when the run's state rests on a scheduler that did not answer."""
    if view.state.state == "unknown" and view.trouble:
        raise Unreachable(
            f"the scheduler of {view.run.run_id} did not answer, so its state is unknown",
            where=view.trouble,
            hint="nothing was assumed and nothing was changed; ask again",
        )
