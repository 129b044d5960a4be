"""Run in the allocation one is in (``salloc``, ``qsub -I``): the job script starts at once, here.

Nothing is handed to the batch system. The run's attempt is the allocation's job, so that status
asks for it as for any other; a cancel asks the supervisor alone, and the allocation stays.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from exa_cli.base import clock
from exa_cli.base.errors import Invalid, Unreachable
from exa_cli.login import submit
from exa_cli.login.draft import Draft
from exa_cli.login.submit import Submission
from exa_cli.runs import journal as journals
from exa_cli.runs.journal import Journal
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.turn import turn
from exa_cli.schedulers.inside import OWN_ID, told_nodes
from exa_cli.schedulers.inside import end as job_end
from exa_cli.spec import runfile, times, toml
from exa_cli.spec.declare import AUTO

ASK = {"slurm": "salloc", "pbs": "qsub -I"}


@dataclass(frozen=True)
class Present:
    """The allocation this process is in: ``left_s`` is how long it lasts, None = unknown."""

    job_id: str
    nodes: int
    left_s: int | None


def present(kind: str, environ: Mapping[str, str]) -> Present:
    """The present allocation. Raises Invalid outside of one, or where there are none."""
    if kind not in OWN_ID:
        raise Invalid(
            f"the batch system {kind} has no allocations to be in",
            where="--here",
            hint="leave --here out",
        )
    job_id = environ.get(OWN_ID[kind])
    if not job_id:
        raise Invalid(
            f"this is no allocation: {OWN_ID[kind]} is not set",
            where="--here",
            hint=f"{ASK[kind]} gives one; without --here exa submits a job",
        )
    now = clock.now()
    end = job_end(kind, environ, now)
    left = None if end is None else int(end - now)
    return Present(job_id, len(told_nodes(kind, environ)), left)


def fitted(made: Draft, found: Present) -> Draft:
    """The run as the allocation lets it be: its nodes, and no longer than it lasts. Pure.

    Raises Invalid for another number of nodes than it has, for what only a job of its own could
    wait for, and when its time is over.
    """
    asked = made.run.resources
    if asked.nodes not in (AUTO, found.nodes):
        what = f"the allocation has {found.nodes} nodes, the run asks for {asked.nodes}"
        where = made.doc.where(("resources", "nodes"))
        raise Invalid(what, where=where, hint=f"resources.nodes = {found.nodes}, or leave it out")
    if asked.after:
        where = made.doc.where(("resources", "after"))
        raise Invalid("what runs here waits for no other job", where=where, hint="leave it out")
    if found.left_s is not None and found.left_s <= 0:
        raise Invalid("the time of this allocation is over", where=f"job {found.job_id}")
    origin = f"the allocation, job {found.job_id}"
    doc = toml.put(made.doc, ("resources", "nodes"), found.nodes, origin)
    if found.left_s is not None and found.left_s < times.seconds(asked.walltime):
        doc = toml.put(doc, ("resources", "walltime"), times.text(found.left_s), origin)
    return dataclasses.replace(made, doc=doc, run=runfile.read(doc), here=found.job_id)


def begin(made: Draft) -> Submission:
    """Make a new run whose first attempt is this allocation's job. Raises as `submit.new_run`."""
    run = submit.new_run(made)
    with turn(run):
        attempt = submit.lay_down(run, made)
        request = run.request(attempt)
        with Journal(run.path, journals.writer_name("login")) as journal:
            said = {"tag": request["tag"], "nodes": request["nodes"], "here": True}
            journal.append("intent", attempt=attempt, **said)
            return submit.accept(run, attempt, request, made.here or "", journal)


def began_here(run: RunDir, attempt: str) -> bool:
    """Whether an attempt was to run in an allocation of the user's own, so that no batch system
    was handed a job of it."""
    return any(
        event.kind == "intent" and event.fields["attempt"] == attempt and event.fields.get("here")
        for event in journals.read(run.path)
    )


def start(done: Submission) -> subprocess.Popen[bytes]:
    """Start the attempt's script, as the batch system would. It has Ctrl-C of this terminal.
    Raises Unreachable when there is no bash."""
    script = done.run.attempt(done.attempt) / "script.sh"
    try:
        return subprocess.Popen(["bash", "-l", str(script)], cwd=done.run.path)
    except OSError as error:
        raise Unreachable(f"bash cannot be started: {error.strerror}") from error
