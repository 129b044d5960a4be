"""A profile against the batch system that runs now: what of it is true no more. Pure.

Only what both sides say is compared; what one of them leaves open is listed as such, never as
drift. A limit of a QOS may be tighter than its partition's, so there only a profile that allows
more than the partition is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exa_cli.schedulers.queues import LiveQueue
from exa_cli.sites.batch import Limit, Queue
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN, nearest
from exa_cli.spec.toml import Path_, TomlDoc


@dataclass(frozen=True)
class Drift:
    """One thing that the profile says and the batch system does not."""

    what: str
    where: str
    hint: str

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "where": self.where, "hint": self.hint}


@dataclass(frozen=True)
class Compared:
    """The outcome: ``notes`` are what was not compared, and queues the profile leaves out."""

    drift: tuple[Drift, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """Limit rows as a whole: the least, the most, the longest; None = unknown."""

    min_nodes: int | None
    max_nodes: int | None
    walltime_s: int | None


def compare(profile: SiteProfile, doc: TomlDoc, live: Sequence[LiveQueue]) -> Compared:
    """Hold every queue of a profile against the running ones."""
    by_name = {queue.name: queue for queue in live}
    found: list[Drift | str] = []
    for number, queue in enumerate(profile.queue):
        where = _Where(doc, ("queue", str(number)))
        found += _queue(queue, by_name, where)
        found += _gpus(profile, queue, by_name, doc)
    known = {name for queue in profile.queue for name in _names(queue)}
    found += [f"the queue {name} is not in the profile" for name in by_name if name not in known]
    unique = dict.fromkeys(found)
    return Compared(
        tuple(each for each in unique if isinstance(each, Drift)),
        tuple(each for each in unique if isinstance(each, str)),
    )


@dataclass(frozen=True)
class _Where:
    doc: TomlDoc
    path: Path_

    def __call__(self, *more: str) -> str:
        return self.doc.where((*self.path, *more))


def _names(queue: Queue) -> tuple[str, ...]:
    own = queue.name if queue.partition is None else queue.partition
    return (own, *(route.name for route in queue.routes))


def _queue(queue: Queue, live: Mapping[str, LiveQueue], where: _Where) -> Iterator[Drift | str]:
    if queue.partition == "none":
        yield f"not compared: {queue.name}, which is a QOS only"
        return
    name = _names(queue)[0]
    if name not in live:
        yield _absent(name, live, where("name"))
        return
    found = live[name]
    if found.closed:
        hint = "a passing state, perhaps: ask the site, or leave the queue out"
        yield Drift(f"the queue {name} is closed: {found.closed}", where("name"), hint)
    yield from _limits(name, _whole(queue.limit), found, where, queue.qos is not None)
    yield from _routes(queue, found, live, where)


def _absent(name: str, live: Mapping[str, LiveQueue], where: str) -> Drift:
    return Drift(f"the batch system has no queue {name!r}", where, nearest(name, live))


def _routes(
    queue: Queue, found: LiveQueue, live: Mapping[str, LiveQueue], where: _Where
) -> Iterator[Drift | str]:
    said = {route.name: number for number, route in enumerate(queue.routes)}
    for name in found.routes:
        if said and name not in said:
            what = f"{queue.name} sends jobs to {name} too"
            yield Drift(what, where("routes"), "add a row of its name and limits")
    for name, number in said.items():
        here = _Where(where.doc, (*where.path, "routes", str(number)))
        if name not in found.routes:
            hint = f"it sends them to {', '.join(found.routes) or 'no other queue'}"
            yield Drift(f"{queue.name} sends no jobs to {name}", here("name"), hint)
        elif name not in live:
            yield f"not compared: {name}, which the batch system does not show"
        else:
            yield from _limits(name, _whole([queue.routes[number]]), live[name], here, False)


def _whole(rows: Sequence[Limit]) -> _Row:
    """What rows allow together; of what one of them does not say nothing is known."""

    def most(values: list[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return max(known) if known and len(known) == len(values) else None

    return _Row(
        min((row.min_nodes for row in rows), default=None),
        most([None if row.max_nodes == UNKNOWN else int(row.max_nodes) for row in rows]),
        most([None if row.walltime == UNKNOWN else times.seconds(row.walltime) for row in rows]),
    )


def _limits(
    name: str, said: _Row, found: LiveQueue, where: _Where, upper: bool
) -> Iterator[Drift | str]:
    """``upper``: what is found is only an upper bound."""
    rows: tuple[tuple[str, int | None, int | None, Callable[[int], str]], ...] = (
        ("the most nodes of a job", said.max_nodes, found.max_nodes, str),
        ("the longest walltime", said.walltime_s, found.walltime_s, times.text),
    )
    for what, ours, theirs, text in rows:
        if ours is None or theirs is None:
            silent = "the profile" if ours is None else "the batch system"
            yield f"not compared: {what} in {name}, which {silent} does not say"
        elif ours > theirs or (ours < theirs and not upper):
            says = f"{what} in {name} is {text(theirs)}, not {text(ours)}"
            hint = "jobs beyond that are refused" if ours > theirs else "larger jobs would run"
            yield Drift(says, where("limit"), hint)
    if said.min_nodes is not None and found.min_nodes and said.min_nodes < found.min_nodes:
        says = f"the fewest nodes of a job in {name} are {found.min_nodes}, not {said.min_nodes}"
        yield Drift(says, where("limit"), "smaller jobs are refused")
    if said.max_nodes is not None and found.nodes is not None and said.max_nodes > found.nodes:
        says = f"{name} has {found.nodes} nodes; the profile lets a job have {said.max_nodes}"
        yield Drift(says, where("limit"), "jobs beyond that never start")


def _gpus(
    profile: SiteProfile, queue: Queue, live: Mapping[str, LiveQueue], doc: TomlDoc
) -> Iterator[Drift]:
    found, said = live.get(_names(queue)[0]), profile.node.gpus
    if found is None or found.gpus is None or not isinstance(said, int) or found.gpus == said:
        return
    what = f"nodes of {found.name} have {found.gpus} GPUs, not {said}"
    yield Drift(what, doc.where(("node", "gpus")), "as Slurm's TRES of the partition say")
