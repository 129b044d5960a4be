"""Which queue a job goes to, why not to the others, and what is near when none takes it. Pure.

The best queue is one that takes the job; rather none that is preemptable or for debugging,
unless it is named or no other takes the job; rather one that gives whole nodes; and of those
the one with the shortest limit, which schedulers start first. A queue that the site has to
grant is taken when it is named, or when the site has no other kind: that it is the only one
to fit does not give a user the right to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.sites.batch import Queue
from exa_cli.sites.limits import (
    Span,
    admits,
    ladder,
    longest,
    route,
    sizes_words,
    walltime_words,
)
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN, nearest


@dataclass(frozen=True)
class Job:
    """What a queue is sought for: nodes, spare ones included, and seconds."""

    nodes: int
    walltime_s: int

    def __str__(self) -> str:
        plural = "" if self.nodes == 1 else "s"
        return f"{self.nodes:,} node{plural} for {times.words(self.walltime_s)}"


@dataclass(frozen=True)
class Rejected:
    """A queue that was not chosen, and why."""

    queue: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """The queue of a job.

    Attributes:
        queue: None where the profile lists none: the batch system's default.
        route: the execution queue behind it, when it is a routing queue.
        reason: why this one, in a sentence.
        remarks: what to know before using it.
        rejected: the others, in the profile's order.
    """

    queue: Queue | None
    route: str | None
    reason: str
    remarks: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Near:
    """A job near one that no queue takes. ``walltime_s`` is the longest it may run there."""

    nodes: int
    walltime_s: float
    queue: str
    words: str


def queue_for(
    profile: SiteProfile, nodes: int, walltime_s: int, asked: str | None = None
) -> Queue | None:
    """The queue of `choose` alone."""
    return choose(profile, Job(nodes, walltime_s), asked).queue


def choose(profile: SiteProfile, job: Job, asked: str | None = None) -> Choice:
    """The queue of a job: the one asked for, or the best that takes it.

    Raises:
        NotFound: the site has no queue of that name.
        Invalid: no queue, or not that one, takes the job; the nearest that are taken are named.
    """
    if not profile.queue:
        return _unlisted(profile, job, asked)
    named = _named(profile, asked) if asked is not None else None
    fits = _fitting(profile, [named] if named else _open(profile), job)
    if not fits:
        raise _refusal(profile, job, named)
    best = min(fits, key=lambda queue: _rank(profile, queue, job.nodes))
    others = [queue for queue in profile.queue if queue != best]
    sent = route(best, job.nodes, job.walltime_s)
    return Choice(
        best,
        sent.name if sent else None,
        _reason(best, fits, named is not None) + (f"; it routes to {sent.name}" if sent else ""),
        tuple(_remarks(profile, best, job.nodes)),
        tuple(Rejected(q.name, _why_not(profile, q, best, job, asked)) for q in others),
    )


def refusals(profile: SiteProfile, job: Job, asked: str | None = None) -> tuple[Rejected, ...]:
    """Why not, for every queue, where `choose` finds none."""
    return tuple(Rejected(q.name, _why_not(profile, q, None, job, asked)) for q in profile.queue)


def near(profile: SiteProfile, job: Job, queues: Sequence[Queue]) -> list[Near]:
    """The jobs nearest to one that these queues do not take, by rising node counts.

    As many nodes for as long as they may run; and, with fewer and with more nodes, the first
    count that may run as long as was asked. Where that many nodes are never taken, the counts
    next to it stand for them.
    """
    spans = ladder(profile, queues)
    below = [span for span in spans if span.last < job.nodes]
    above = [span for span in spans if span.first > job.nodes]
    same = [span for span in spans if span.holds(job.nodes)] or [*below[-1:], *above[:1]]
    fewer = [span for span in below if span.walltime_s >= job.walltime_s][-1:]
    more = [span for span in above if span.walltime_s >= job.walltime_s][:1]
    found = {span.first: span for span in (*fewer, *same, *more)}
    return [_near(found[first], job) for first in sorted(found)]


def _near(span: Span, job: Job) -> Near:
    longest_s = walltime_words(span.walltime_s)
    if span.holds(job.nodes):
        words = f"{sizes_words(span.first, span.last)} nodes: {span.queue}, {longest_s}"
        return Near(job.nodes, span.walltime_s, span.queue, words)
    nodes = int(span.last) if span.last < job.nodes else span.first
    plural = "" if nodes == 1 else "s"
    words = f"{nodes:,} node{plural} in {span.queue}, {longest_s}"
    return Near(nodes, span.walltime_s, span.queue, words)


def _named(profile: SiteProfile, asked: str) -> Queue:
    queues = {queue.name: queue for queue in profile.queue}
    if asked in queues:
        return queues[asked]
    for queue in profile.queue:
        if asked in [way.name for way in queue.routes]:
            raise Invalid(
                f"{asked} is an execution queue: jobs reach it through {queue.name} only",
                hint=f"ask for the queue {queue.name}",
            )
    hint = nearest(asked, queues)
    raise NotFound(f"{profile.site.name} has no queue {asked!r}", hint=hint)


def _unlisted(profile: SiteProfile, job: Job, asked: str | None) -> Choice:
    """A profile that lists no queue leaves it to the user and the batch system."""
    queue = Queue(name=asked or "")
    if not admits(profile, queue, job.nodes, job.walltime_s):
        raise Invalid(f"{profile.site.name} has {profile.node.total:,} nodes, not {job.nodes:,}")
    unlisted = "the profile lists no queues, so their limits are unknown"
    if asked is None:
        return Choice(None, None, f"the batch system's default: {unlisted}")
    return Choice(queue, None, "it was asked for", (unlisted,))


def _open(profile: SiteProfile) -> list[Queue]:
    """Queues that a user needs no grant for; all of them where the site has no other kind."""
    free = [queue for queue in profile.queue if not queue.by_request]
    return free or list(profile.queue)


def _fitting(profile: SiteProfile, queues: Sequence[Queue], job: Job) -> list[Queue]:
    return [queue for queue in queues if admits(profile, queue, job.nodes, job.walltime_s)]


def _rank(profile: SiteProfile, queue: Queue, nodes: int) -> tuple[bool, int, float]:
    whole = {True: 0, UNKNOWN: 1, False: 2}[queue.whole_node]
    return _special(queue), whole, longest(profile, queue, nodes)


def _special(queue: Queue) -> bool:
    return queue.preemptable or queue.debug


def _kinds(queue: Queue) -> list[str]:
    """What sets a queue apart from an ordinary one, in words."""
    kinds = {
        "preemptable": queue.preemptable,
        "for debugging": queue.debug,
        "by request": queue.by_request,
    }
    return [words for words, holds in kinds.items() if holds]


def _reason(best: Queue, fits: list[Queue], named: bool) -> str:
    if named:
        return "it was asked for"
    if len(fits) == 1:
        return "the only queue that takes this job"
    plain = [queue for queue in fits if not _special(queue)]
    if plain == [best]:
        return "the only one that takes this job and is neither preemptable nor for debugging"
    return f"the shortest limit of the {len(plain or fits)} that take this job" + (
        " in whole nodes" if best.whole_node is True else ""
    )


def _remarks(profile: SiteProfile, queue: Queue, nodes: int) -> list[str]:
    said = [f"it is {kind}" for kind in _kinds(queue)]
    if queue.max_jobs_per_user != UNKNOWN:
        most = queue.max_jobs_per_user
        said.append(f"it takes {most} job{'' if most == 1 else 's'} of a user at a time")
    if longest(profile, queue, nodes) == math.inf:
        said.append("its longest walltime is unknown")
    return said


def _why_not(
    profile: SiteProfile, queue: Queue, best: Queue | None, job: Job, asked: str | None
) -> str:
    limit = longest(profile, queue, job.nodes)
    if limit == 0:
        return f"takes {_sizes(profile, queue)}"
    if job.walltime_s > limit:
        return f"{job.nodes:,} nodes may run {walltime_words(limit)}"
    if asked is not None:
        return "takes it, but another was asked for"
    if best is None or queue.by_request or (_special(queue) and not _special(best)):
        return ", ".join(_kinds(queue))
    return _worse(profile, queue, best, job.nodes)


def _worse(profile: SiteProfile, queue: Queue, best: Queue, nodes: int) -> str:
    """Why a queue of the same kind that takes the job as well comes after the best."""
    if _rank(profile, queue, nodes)[1] > _rank(profile, best, nodes)[1]:
        return "shares its nodes" if queue.whole_node is False else "may share its nodes"
    limit = longest(profile, queue, nodes)
    if limit == longest(profile, best, nodes):
        return f"takes the same jobs; {best.name} stands first"
    if limit == math.inf:
        return "takes it, but its limit is unknown"
    return f"takes longer jobs too ({walltime_words(limit)})"


def _sizes(profile: SiteProfile, queue: Queue) -> str:
    """The node counts a queue takes, in words."""
    runs: list[tuple[int, float]] = []
    for span in ladder(profile, [queue]):
        first = span.first
        if runs and runs[-1][1] + 1 == first:
            first = runs.pop()[0]
        runs.append((first, span.last))
    return ", ".join(sizes_words(*run) for run in runs) + " nodes" if runs else "no job at all"


def _refusal(profile: SiteProfile, job: Job, named: Queue | None) -> Invalid:
    """What is wrong, and the nearest that is right: in the queue named, and elsewhere."""
    who = f"the queue {named.name}" if named else f"no queue of {profile.site.name}"
    does = "does not take" if named else "takes"
    said = [spot.words for spot in near(profile, job, [named] if named else _open(profile))]
    others = [q for q in profile.queue if admits(profile, q, job.nodes, job.walltime_s)]
    said += [f"as it is: {', '.join([q.name, *_kinds(q)])}" for q in others]
    hint = "nearest that can run: " + "; or ".join(said) if said else "it takes no job at all"
    return Invalid(f"{who} {does} {job}", hint=hint)
