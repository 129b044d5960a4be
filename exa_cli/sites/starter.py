"""A profile to begin with, from what a batch system said of its queues. Pure.

What was seen is written with its day and its source. What only a person can know stands there as in
the starter that the profile inherits: to be filled in, with a way to find it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from exa_cli.schedulers.queues import LiveQueue
from exa_cli.sites.nodelines import Looked, node_lines, plain
from exa_cli.sites.schema import FILL_IN
from exa_cli.spec import times
from exa_cli.spec.document import toml_value
from exa_cli.spec.toml import key_lines, parse

LONGEST_S = 9999 * 3600 + 59 * 60 + 59
"""A walltime in HH:MM:SS has four digits of hours at most (`exa_cli.spec.times`)."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found out on the machine.

    Attributes:
        name, kind: the new site, and its batch system.
        parent: the text of the starter that it inherits.
        day: YYYY-MM-DD. source: the command that told of the queues.
        queues: None when it did not answer; ``fault`` then says why.
        nodes: the same of its nodes.
        remarks: lines of other commands, for the reader of the profile.
        scratch: directories that may be a node's own storage.
    """

    name: str
    kind: str
    parent: str
    day: str
    source: str
    queues: tuple[LiveQueue, ...] | None
    fault: str = ""
    nodes: Looked = field(default_factory=Looked)
    remarks: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()


def starter(seen: Seen) -> str:
    """The text of the profile."""
    head = [
        f"# The site {seen.name}, begun by `exa site new` on {seen.day}.",
        f"# `exa site check {seen.name}` names what is still to be filled in (docs/add-a-site.md).",
        f"inherits = {toml_value(seen.kind)}",
        "",
        "[site]",
        f"name = {toml_value(seen.name)}",
        '# hosts = ["login*.example.org"]   # how `exa site detect` knows its login nodes',
        '# environment = { CLUSTER = "x" }  # or these variables of theirs, all of them',
        *(["", "# Seen on this machine, which is no compute node:"] if seen.remarks else []),
        *(f"# {plain(line)}".rstrip() for line in seen.remarks),
    ]  # fmt: skip
    tables = (line for table in _tables(seen) for line in ("", *table))
    return "\n".join([*head, *_queues(seen), *tables, *_scratch(seen.scratch)]) + "\n"


def _tables(seen: Seen) -> Iterator[list[str]]:
    """The tables in which the starter leaves something to be filled in, in its order and words."""
    for name, lines in blanks(seen.parent).items():
        known = node_lines(lines, seen.day, seen.nodes) if name == "node" else lines.values()
        yield [f"[{name}]", *known]


def blanks(text: str) -> dict[str, dict[str, str]]:
    """Table → key → the line of a starter that says ``"fill in"``, with its comment."""
    values, lines = parse(text, "starter").values, text.splitlines()
    found: dict[str, dict[str, str]] = {}
    for path, number in key_lines(text).items():
        table, key = path[0], path[-1]
        inner = values[table]
        if len(path) == 2 and isinstance(inner, dict) and inner.get(key) == FILL_IN:
            found.setdefault(table, {})[key] = lines[number - 1]
    return found


def _scratch(folders: Sequence[str]) -> Iterator[str]:
    if folders:
        here = plain(", ".join(folders))
        yield from ("", "# [local_storage]", f"# On this machine: {here}. Is it so on its nodes?")
        yield from ('# path = "/…/exa-{uid}"',)


def _queues(seen: Seen) -> Iterator[str]:
    if seen.queues is None:
        yield from ("", f"# Queues: not known ({plain(seen.fault)}); {seen.source} shows them.")
        return
    behind = {name for queue in seen.queues for name in queue.routes}
    by_name = {queue.name: queue for queue in seen.queues}
    for queue in seen.queues:
        if queue.name not in behind:
            yield from _queue(queue, by_name, seen)


def _queue(queue: LiveQueue, others: dict[str, LiveQueue], seen: Seen) -> Iterator[str]:
    if queue.closed:
        yield from ("", f"# The queue {plain(queue.name)} was closed: {plain(queue.closed)}")
        return
    yield from ("", "[[queue]]", f"name = {toml_value(queue.name)}")
    if row := _row(queue):
        yield f"limit = [{{ {', '.join(row)} }}]"
    yield f"as_of = {toml_value(seen.day)}"
    yield f"source = {toml_value(seen.source)}"
    for name in queue.routes:
        yield from ("", "[[queue.routes]]", f"name = {toml_value(name)}")
        yield from _row(others.get(name, LiveQueue(name=name)))


def _row(queue: LiveQueue) -> list[str]:
    """The keys of a limit row; what is not limited is left out."""
    keys: list[str] = []
    if queue.min_nodes and queue.min_nodes > 1:
        keys.append(f"min_nodes = {queue.min_nodes}")
    most = queue.max_nodes or queue.nodes
    if most and most >= (queue.min_nodes or 1):
        keys.append(f"max_nodes = {most}")
    if queue.walltime_s is not None and queue.walltime_s <= LONGEST_S:
        keys.append(f"walltime = {toml_value(times.text(queue.walltime_s))}")
    return keys
