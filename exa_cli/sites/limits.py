"""What the queues of a site take: how long so many nodes may run, and where. Pure.

A queue sets limits on several axes, and a job must fit on each of them: the queue's own rows,
the rows of the execution queues it routes to, those of the partition a QOS lies in, and the
nodes the site has. On one axis any row that takes the job will do; an axis without rows takes
all. A limit that is unknown refuses nothing: the batch system will say.

Times are in seconds; ``math.inf`` is "no limit that is known", 0 is "not at all".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exa_cli.sites.batch import Limit, Queue, Route
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN

Axis = Sequence[Limit]


@dataclass(frozen=True)
class Span:
    """From ``first`` to ``last`` nodes, the longest job and the queue that takes it.

    ``last`` and ``walltime_s`` are ``math.inf`` where no limit is known.
    """

    first: int
    last: float
    walltime_s: float
    queue: str

    def holds(self, nodes: int) -> bool:
        return self.first <= nodes <= self.last


def axes(profile: SiteProfile, queue: Queue) -> list[Axis]:
    """The axes on which a queue limits its jobs; those without rows are left out."""
    around = next((q for q in profile.queue if q.name == queue.within), None)
    rows = [queue.limit, queue.routes, (Limit(max_nodes=profile.node.total),)]
    return [axis for axis in rows if axis] + (axes(profile, around) if around else [])


def longest(profile: SiteProfile, queue: Queue, nodes: int) -> float:
    """The longest job of so many nodes that a queue takes."""
    return min((_longest_on(axis, nodes) for axis in axes(profile, queue)), default=math.inf)


def admits(profile: SiteProfile, queue: Queue, nodes: int, walltime_s: int) -> bool:
    """Whether a queue takes the job, as far as is known."""
    limit = longest(profile, queue, nodes)
    return limit > 0 and walltime_s <= limit


def route(queue: Queue, nodes: int, walltime_s: int) -> Route | None:
    """The execution queue that a routing queue sends the job to: the first that takes it."""
    fits = (r for r in queue.routes if _has(r, nodes) and walltime_s <= _walltime(r))
    return next(fits, None)


def ladder(profile: SiteProfile, queues: Sequence[Queue]) -> list[Span]:
    """What a job of each size can get at most from these queues, by rising node counts.

    Sizes that no queue takes are not in it. Of equally generous queues the first is named.
    """
    steps: list[Span] = []
    edges = _edges(row for queue in queues for axis in axes(profile, queue) for row in axis)
    for first, following in zip(edges, [*edges[1:], math.inf], strict=True):
        limits = [(longest(profile, queue, first), queue.name) for queue in queues]
        walltime, name = max(limits, key=lambda pair: pair[0], default=(0.0, ""))
        if walltime > 0:
            _extend(steps, Span(first, following - 1, walltime, name))
    return steps


def _extend(steps: list[Span], span: Span) -> None:
    """Add a span, as one with the last when only a row that does not matter parts them."""
    last = steps[-1] if steps else None
    same = last and (last.queue, last.walltime_s) == (span.queue, span.walltime_s)
    if last and same and last.last + 1 == span.first:
        steps[-1] = Span(last.first, span.last, span.walltime_s, span.queue)
    else:
        steps.append(span)


def _edges(rows: Iterable[Limit]) -> list[int]:
    """Node counts at which some row begins or has just ended."""
    edges = {1}
    for row in rows:
        edges.add(row.min_nodes)
        if row.max_nodes != UNKNOWN:
            edges.add(row.max_nodes + 1)
    return sorted(edges)


def _longest_on(axis: Axis, nodes: int) -> float:
    return max((_walltime(row) for row in axis if _has(row, nodes)), default=0)


def _has(row: Limit, nodes: int) -> bool:
    return row.min_nodes <= nodes and (row.max_nodes == UNKNOWN or nodes <= row.max_nodes)


def _walltime(row: Limit) -> float:
    return math.inf if row.walltime == UNKNOWN else times.seconds(row.walltime)


def walltime_words(seconds: float) -> str:
    """A limit for people."""
    return "unknown time" if seconds == math.inf else times.words(int(seconds))


def sizes_words(first: int, last: float) -> str:
    """A range of node counts for people: ``17–255``."""
    if last == math.inf:
        return f"{first:,} and more"
    return f"{first:,}" if first == last else f"{first:,}–{int(last):,}"
