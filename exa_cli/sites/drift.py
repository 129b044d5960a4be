"""A profile against the batch system that runs now: what of it is true no more. Pure.

Only what both sides say is compared; what one of them leaves open is listed as such, never as
drift. A limit of a QOS may be tighter than its partition's, so there only a profile that allows
more than the partition is wrong. Of CPUs a profile may leave some out, for a site reserves some and
batch systems count cores or threads: fewer are drift only where the profile accounts for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.sites.batch import Limit, Queue
from exa_cli.sites.cpus import cpus as cpu_list
from exa_cli.sites.machine import Node
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


def compare(
    profile: SiteProfile, doc: TomlDoc, live: Sequence[LiveQueue], nodes: Sequence[LiveNode] = ()
) -> Compared:
    """Hold every queue of a profile, and its node, against the running ones. Without ``nodes``
    only queues are compared."""
    by_name = {queue.name: queue for queue in live}
    found: list[Drift | str] = []
    for number, queue in enumerate(profile.queue):
        where = _Where(doc, ("queue", str(number)))
        found += _queue(queue, by_name, where)
    found += _nodes(profile, _of_profile(profile, nodes), doc) if nodes else ()
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
    yield from _qos(queue, found, where)
    yield from _limits(name, _whole(queue.limit), found, where, queue.qos is not None)
    yield from _routes(queue, found, live, where)


def _absent(name: str, live: Mapping[str, LiveQueue], where: str) -> Drift:
    return Drift(f"the batch system has no queue {name!r}", where, nearest(name, live))


def _qos(queue: Queue, found: LiveQueue, where: _Where) -> Iterator[Drift | str]:
    if queue.qos is None or queue.qos in found.qos:
        return
    if found.qos or queue.qos in found.refused_qos:
        taken = f"only {', '.join(found.qos)}" if found.qos else "it is denied there"
        hint = "jobs are refused: take another QOS, or ask the site"
        yield Drift(f"{found.name} does not take the QOS {queue.qos}: {taken}", where("qos"), hint)
    else:
        yield f"not compared: the QOS {queue.qos} of {queue.name}, which no partition singles out"


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


def _of_profile(profile: SiteProfile, nodes: Sequence[LiveNode]) -> list[LiveNode]:
    """Nodes of the profile's queues; all of them where one is a QOS in an unnamed partition."""
    names = {name for queue in profile.queue for name in _names(queue)}
    if not names or "none" in names:
        return list(nodes)
    return [node for node in nodes if not node.queues or names.intersection(node.queues)]


def _nodes(profile: SiteProfile, nodes: Sequence[LiveNode], doc: TomlDoc) -> Iterator[Drift | str]:
    if not nodes:
        yield "not compared: nodes, none of which is in a queue of the profile"
        return
    yield from _count(profile.node, nodes, doc)
    yield from _cpus(profile, {node.cpus for node in nodes}, doc)
    yield from _gpus(profile, {node.gpus for node in nodes}, doc)


def _count(node: Node, nodes: Sequence[LiveNode], doc: TomlDoc) -> Iterator[Drift | str]:
    count = len(nodes)
    if node.count > count:
        what = f"the batch system has {count} nodes; a run that does not say gets {node.count}"
        yield Drift(what, doc.where(("node", "count")), "such runs never start")
    if node.total == UNKNOWN:
        yield "not compared: the number of nodes, which the profile does not say"
    elif len({(each.cpus, each.gpus) for each in nodes}) > 1:
        yield f"not compared: the number of nodes, for the {count} there are differ"
    elif node.total != count:
        what = f"the batch system has {count} nodes, not {node.total}"
        yield Drift(what, doc.where(("node", "total")), "count anew, with as_of and source")


def _cpus(profile: SiteProfile, found: set[int | None], doc: TomlDoc) -> Iterator[Drift | str]:
    """Where nodes differ the profile may mean any of them."""
    said, known = profile.node.cpus, sorted(each for each in found if each is not None)
    if not isinstance(said, int) or not known:
        silent = "the batch system" if isinstance(said, int) else "the profile"
        yield f"not compared: CPUs of a node, which {silent} does not say"
        return
    asked, whole = _asked_cpus(profile, said), _whole_cpus(profile.node, said)
    has, where = " or ".join(map(str, known)), doc.where(("node", "cpus"))
    if asked > known[-1]:
        what = f"nodes have {has} CPUs; the profile lets a job ask for {asked}"
        yield Drift(what, where, "such jobs are refused, or never start")
    elif whole is not None and not whole.intersection(known):
        what = f"nodes have {has} CPUs, not {' or '.join(map(str, sorted(whole)))}"
        yield Drift(what, where, "with no CPU reserved the others would be left idle")
    elif whole is None and said not in known:
        yield (
            f"not compared: CPUs of a node, {has}; of the profile's {said} it is not known what "
            "it leaves out"
        )


def _asked_cpus(profile: SiteProfile, cores: int) -> int:
    """What a job asks for, in CPUs of the batch system; at least that."""
    threads = profile.node.threads_per_core
    by_thread = profile.scheduler.cpu_is == "thread" and isinstance(threads, int)
    return cores * int(threads) if by_thread else cores


def _whole_cpus(node: Node, cores: int) -> set[int] | None:
    """What a node has in all by the profile: in cores, in threads. None = it leaves that open."""
    if node.threads_per_core == UNKNOWN or node.reserved == UNKNOWN:
        return None
    kept = 0 if node.reserved == "none" else len(cpu_list(node.reserved))
    threads = int(node.threads_per_core)
    return {cores, cores * threads, cores * threads + kept, cores + kept // threads}


def _gpus(profile: SiteProfile, found: set[int | None], doc: TomlDoc) -> Iterator[Drift | str]:
    said, known = profile.node.gpus, sorted(each for each in found if each is not None)
    if not isinstance(said, int) or not known:
        silent = "the batch system" if isinstance(said, int) else "the profile"
        yield f"not compared: GPUs of a node, which {silent} does not say"
    elif said == 0 and any(_asks_gpus(*each) for each in profile.directives.items()):
        yield "not compared: GPUs of a node, which the profile's directives ask for themselves"
    elif said not in known:
        what = f"nodes have {' or '.join(map(str, known))} GPUs, not {said}"
        hint = "jobs that ask for more never start" if said > known[-1] else "some stay idle"
        yield Drift(what, doc.where(("node", "gpus")), hint)


def _asks_gpus(directive: str, value: str | bool) -> bool:
    if value is False:
        return False
    return "gpu" in directive or (directive.startswith(("gres", "tres")) and "gpu" in str(value))
