"""How a run goes on after an end: its policy frozen, and who hands in the next attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exa_cli.base.errors import Invalid
from exa_cli.sites.batch import Preemption, Queue, SitePolicy
from exa_cli.spec import times
from exa_cli.spec.declare import AUTO, UNKNOWN, Unknown
from exa_cli.spec.ends import AFTER, Means
from exa_cli.spec.runfile import Policy

REQUEUES = ("slurm",)
"""Batch systems in which a job's owner may have it started again under the same id (slurm:
scontrol(1), requeue; PBS's qrerun is its operators')."""


@dataclass(frozen=True)
class Way:
    """Who hands in the next attempt, and why it is that one."""

    means: Means
    reason: str


HANG_FLOOR_S = 60.0
"""What healthy ranks may stand still for where the site does not say: parallel filesystems pause
for tens of seconds when a server fails over."""


def hang(run: Policy, floor_s: float | Unknown) -> dict[str, Any]:
    """Whether hangs are looked for, a step's limit if the user gives one, and the least that is
    learnt, in seconds."""
    fixed = None if run.hang in (AUTO, "never") else float(times.seconds(run.hang))
    floor = HANG_FLOOR_S if floor_s == UNKNOWN else float(floor_s)
    return {"watch": run.hang != "never", "fixed_s": fixed, "floor_s": floor}


def frozen(run: Policy, site: SitePolicy, hang_floor_s: float | Unknown) -> dict[str, Any]:
    """What plan.json says of the policy: every value settled, the run file's word before the
    site's, that before exa's. Seconds, node-hours."""
    return {
        "on": {**AFTER, **site.on, **run.on},
        "retries": run.retries,
        "no_progress": run.no_progress,
        "backoff_s": times.seconds(run.backoff),
        "node_hours": None if run.node_hours == "none" else run.node_hours,
        "shrink": run.shrink,
        "hang": hang(run, hang_floor_s),
        "chain": run.chain,
    }


def asked_for(run: Policy, site: SitePolicy) -> Means:
    """What run file and profile ask for; the run file's word counts first."""
    return site.resubmit if run.resubmit == AUTO else run.resubmit


def way(
    asked: Means,
    kind: str,
    site: Preemption,
    queue: Queue | None,
    where: str = "policy.resubmit",
) -> Way:
    """Who hands in the next attempt.

    | asked | what the site says | who |
    |---|---|---|
    | never, watch, inside | – | as asked |
    | chain | jobs cannot wait for another's end; the queue takes one job a user | refused |
    | chain | else | chain |
    | requeue | its batch system is one of `REQUEUES` | requeue |
    | requeue | else | refused |
    | auto | a job can hand in another one | inside |
    | auto | it cannot, or that is unknown; jobs can wait, the queue takes several | chain |
    | auto | that is unknown, and there can be no chain | inside, as far as that goes |
    | auto | it cannot, and there can be no chain | watch |

    Raises Invalid; ``where`` is the place that asks.
    """
    no_chain = _no_chain(site, queue)
    if asked == "chain" and no_chain:
        raise Invalid(
            f"no job can be queued ahead here: {no_chain}",
            where=where,
            hint='"inside", "watch", or "auto"',
        )
    if asked == "requeue" and kind not in REQUEUES:
        raise Invalid(
            f"the batch system {kind} does not let a job's owner have it started again",
            where=where,
            hint='"inside", "chain", "watch", or "auto"',
        )
    if asked != AUTO:
        return Way(asked, "policy.resubmit asks for it")
    return _automatic(site, no_chain)


def _automatic(site: Preemption, no_chain: str | None) -> Way:
    if site.submit_from_job is True:
        return Way("inside", "on this site a job can hand in another one")
    cannot = "a job cannot hand in another one here"
    if site.submit_from_job == UNKNOWN:
        cannot = "whether a job can hand in another one here is unknown"
    if no_chain is None:
        return Way("chain", f"{cannot}, but one can wait for another's end")
    if site.submit_from_job == UNKNOWN:
        return Way("inside", f"{cannot}, and {no_chain}: it is tried; exa watch does it otherwise")
    return Way("watch", f"{cannot}, and {no_chain}")


def _no_chain(site: Preemption, queue: Queue | None) -> str | None:
    """Why no job can be queued ahead; None when one can."""
    if site.chaining is not True:
        unknown = "whether one can wait for another's end is unknown"
        return unknown if site.chaining == UNKNOWN else "no job waits for another's end"
    if queue and queue.max_jobs_per_user == 1:
        return f"the queue {queue.name} takes one job of a user at a time"
    return None
