"""Submit exactly once: write down the intent, submit, write down the answer.

A crash between the two is mended by looking the job's name up before anything is submitted
again. Every step can be repeated; none is taken twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Damaged, ExaError, Invalid, Refused
from exa_cli.base.files import fsync_dir, write_json, write_text
from exa_cli.base.talk import say
from exa_cli.login import draft as drafts
from exa_cli.login import scheduler
from exa_cli.login.draft import Draft
from exa_cli.login.preflight import preview
from exa_cli.plan.relayout import relaid
from exa_cli.runs import journal as journals
from exa_cli.runs.journal import Journal
from exa_cli.runs.rundir import RunDir, attempt_name, attempts, create, new_id, runs_root
from exa_cli.runs.turn import turn
from exa_cli.schedulers.types import NotSubmitted, Request, Scheduler
from exa_cli.sites.load import load_site
from exa_cli.spec import runfile, toml


@dataclass(frozen=True)
class Submission:
    """What ``submit`` and ``resume`` answer."""

    run: RunDir
    attempt: str
    scheduler: str
    job_id: str
    tag: str

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "run": self.run.run_id,
            "dir": str(self.run.path),
            "attempt": self.attempt,
            "scheduler": self.scheduler,
            "job_id": self.job_id,
            "tag": self.tag,
        }


def new_run(made: Draft) -> RunDir:
    """Check everything, prepare the data if need be, decide, and make the run directory.

    Raises Invalid with every fault that the pre-flight finds, before anything is created.
    """
    root = runs_root()
    run_id = new_id(made.name, unique=made.named)
    run = RunDir(root / run_id)
    seen = preview(made, run)
    seen.accepted()
    seen.warn()
    plan = made.plan(run_id, drafts.prepared_data(made))
    drafts.script(made, run, drafts.request(made, run, "001", plan), plan)
    files = {
        "run.toml": runfile.dump({**made.doc.values, "name": made.name}),
        "site.toml": made.site.text,
        "plan.json": plan,
        "origin.json": {"schema": 1, "run_file": made.doc.name, "origins": _origins(made)},
    }
    return create(root, run_id, files)


def _origins(made: Draft) -> dict[str, str]:
    return {".".join(path): origin for path, origin in made.doc.origins.items()}


def reopen(run: RunDir, changes: dict[str, Any] | None = None) -> Draft:
    """The draft of an existing run, from its frozen files and the command line's changes."""
    doc = toml.load(run.path / "run.toml")
    for flag, value in (changes or {}).items():
        if value is not None:
            doc = toml.put(doc, drafts.FLAGS[flag], value, f"--{flag}")
    site = load_site(str(run.path / "site.toml"), os.environ)
    return Draft(doc, runfile.read(doc), site, run.name, True, run.path)


def next_attempt(run: RunDir) -> str:
    """The attempt to lay down: a new one, or one whose submit was cut off before its intent was
    recorded. That comes before anything is said to the scheduler, so such a one has no job.

    Raises Damaged when the attempt was accepted and the journal does not know it.
    """
    names = attempts(run)
    intended = {e.fields["attempt"] for e in journals.read(run.path) if e.kind == "intent"}
    if names and names[-1] not in intended:
        if (accepted := run.attempt(names[-1]) / "submission.json").exists():
            what = f"attempt {names[-1]} was submitted, but the journal does not say so"
            raise Damaged(
                what, where=str(accepted), hint="restore the journal, or submit a new run"
            )
        return names[-1]
    return attempt_name(len(names) + 1)


def lay_down(run: RunDir, made: Draft, **asked: Any) -> str:
    """Write the next attempt's script and request; its name. The caller holds the run's turn.

    ``asked`` goes into the request: ``from_scratch``, ``begin`` (seconds since the epoch before
    which it must not start), ``after`` (the job whose end it waits for), ``by`` (policy, where
    no user asked for this attempt), ``layout`` (nodes, where they are others than before). The
    request comes last: an attempt that has one can be submitted.
    """
    attempt = next_attempt(run)
    plan = relaid(run.plan(), layout(run, asked.get("layout")))
    request = drafts.request(made, run, attempt, plan) | {"from_scratch": False, **asked}
    request |= {"layout": plan["parallel"]["nodes"]}
    folder = run.attempt(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    fsync_dir(folder.parent)
    write_text(folder / "script.sh", drafts.script(made, run, request, plan).text)
    write_json(folder / "request.json", request)
    return attempt


def layout(run: RunDir, asked: int | None) -> int:
    """Nodes of the next attempt: as asked, else as many as the last one had, spares apart."""
    names = attempts(run)
    frozen: int = run.plan()["parallel"]["nodes"]
    last = run.attempt(names[-1]) / "request.json" if names else None
    if asked is not None or last is None or not last.exists():
        return frozen if asked is None else asked
    before: int = run.request(names[-1]).get("layout", frozen)
    return before


def hand_in(run: RunDir, attempt: str) -> Submission:
    """Submit a laid-down attempt, or find the job that an interrupted submit left.

    The caller holds the run's turn. Raises Refused or NotSubmitted (recorded; there is no job)
    or Unreachable (there may be one: the next resume looks for it by name).
    """
    request = run.request(attempt)
    batch = _usable(scheduler.of_run(run))
    since = _first_intent(run, attempt)
    if since is None:
        _refuse_namesake(run, request["tag"], batch)
    with Journal(run.path, journals.writer_name("login")) as journal:
        by = request.get("by", "user")
        journal.append("intent", attempt=attempt, tag=request["tag"], nodes=request["nodes"], by=by)
        job_id = _job_of(run, request, batch, journal, since)
        return accept(run, attempt, request, job_id, journal)


def _usable(batch: Scheduler) -> Scheduler:
    """A batch system that can be used from here. Raises NotSubmitted for another."""
    if why_not := batch.usable():
        raise NotSubmitted(
            f"the batch system {batch.kind} cannot be used here: {why_not}",
            hint="on its login node, perhaps after loading its module, exa finds its commands",
        )
    return batch


def _first_intent(run: RunDir, attempt: str) -> float | None:
    """When an attempt was first meant to be submitted; None when it never was.

    The intent is on the disk before anything is submitted: without one there is no job of it.
    """
    return min(
        (
            event.t
            for event in journals.read(run.path)
            if event.kind == "intent" and event.fields["attempt"] == attempt
        ),
        default=None,
    )


def _refuse_namesake(run: RunDir, tag: str, batch: Scheduler) -> None:
    """Refuse to submit beside a live job of an earlier run of the same name, whose directory is
    gone: both would write into this one. Raises Invalid."""
    found = batch.find(tag, clock.now())
    live = [j for j, s in batch.query(found).items() if s.state != "ended"] if found else []
    if live:
        raise Invalid(
            f"job {live[0]} of an earlier run named {run.name} has not ended",
            where=str(run.path),
            hint="end that job first, or choose another --name",
        )


def _job_of(
    run: RunDir, request: dict[str, Any], batch: Scheduler, journal: Journal, since: float | None
) -> str:
    attempt = request["attempt"]
    if since is not None and (found := batch.find(request["tag"], since)):
        newest = found[-1]
        say(f"found job {newest} of an interrupted submission; nothing is submitted again")
        batch.recover(newest)
        return newest
    script = (run.attempt(attempt) / "script.sh").read_text()
    wanted = Request(name=request["tag"], script=script, workdir=run.path)
    try:
        answer = batch.submit(wanted)
    except (Refused, NotSubmitted) as error:
        reached = not isinstance(error, NotSubmitted)
        journal.append("refused", attempt=attempt, message=str(error), reached=reached)
        raise
    if answer.message:
        say(answer.message)
    return answer.job_id


def accept(
    run: RunDir, attempt: str, request: dict[str, Any], job_id: str, journal: Journal
) -> Submission:
    """Write down which job an attempt is."""
    kind = request["scheduler"]
    said = {"tag": request["tag"], "job_id": job_id, "scheduler": kind}
    ahead = {"ahead": True} if request.get("after") else {}
    journal.append("accepted", attempt=attempt, **said, **ahead)
    record = {"schema": 1, "job_id": job_id, "scheduler": kind, "tag": request["tag"]}
    write_json(run.attempt(attempt) / "submission.json", record)
    return Submission(run, attempt, kind, job_id, request["tag"])


def submit(made: Draft) -> Submission:
    """Make a new run and submit its first attempt.

    When that fails the run is there all the same, and this is said. Raises NotSubmitted before
    anything is made where the site's commands are not to be had.
    """
    _usable(scheduler.of_site(made.profile))
    run = new_run(made)
    try:
        with turn(run):
            return hand_in(run, lay_down(run, made))
    except ExaError:
        say(f"the run {run.run_id} exists now; exa resume {run.run_id} goes on with its submit")
        raise
