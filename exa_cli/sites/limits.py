"""Which queues of a site take a job of so many nodes and so long. Pure.

A limit that is unknown refuses nothing: the batch system will say. So does a profile that names
no queue at all.
"""

from __future__ import annotations

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.sites.schema import Limit, Queue, SiteProfile
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN, nearest


def takes(limit: Limit, nodes: int, walltime_s: int) -> bool:
    """Whether a row admits the job."""
    few = limit.max_nodes == UNKNOWN or nodes <= limit.max_nodes
    short = limit.walltime == UNKNOWN or walltime_s <= times.seconds(limit.walltime)
    return limit.min_nodes <= nodes and few and short


def fitting(profile: SiteProfile, nodes: int, walltime_s: int) -> list[Queue]:
    """Queues that admit the job, in the profile's order. One without rows admits any."""
    return [
        queue
        for queue in profile.queue
        if not queue.limit or any(takes(row, nodes, walltime_s) for row in queue.limit)
    ]


def queue_for(
    profile: SiteProfile, nodes: int, walltime_s: int, asked: str | None = None
) -> Queue | None:
    """The queue of a job: the one asked for, or the first that fits; None = the site's default.

    Raises:
        NotFound: the site has no queue of that name.
        Invalid: the job fits none, or not that one; the limits are listed.
    """
    names = [queue.name for queue in profile.queue]
    if asked is not None and asked not in names:
        if not names:
            return Queue(name=asked)
        raise NotFound(f"{profile.site.name} has no queue {asked!r}", hint=nearest(asked, names))
    if not names:
        return None
    fits = [q for q in fitting(profile, nodes, walltime_s) if asked in (None, q.name)]
    if not fits:
        raise Invalid(
            f"no queue of {profile.site.name} takes {nodes} nodes for {times.text(walltime_s)}"
            if asked is None
            else f"the queue {asked} does not take {nodes} nodes for {times.text(walltime_s)}",
            hint="there is: " + "; ".join(_row(q, r) for q in profile.queue for r in q.limit),
        )
    return fits[0]


def _row(queue: Queue, limit: Limit) -> str:
    most = "?" if limit.max_nodes == UNKNOWN else str(limit.max_nodes)
    longest = "unknown time" if limit.walltime == UNKNOWN else limit.walltime
    return f"{queue.name}, {limit.min_nodes}–{most} nodes, {longest}"
