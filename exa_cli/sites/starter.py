"""A profile to begin with, from what a batch system said of its queues. Pure.

What was seen is written with its day and its source; what only a person can know says
``"fill in"`` through the starter that it inherits, and is listed with a way to find it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from exa_cli.schedulers.queues import LiveQueue
from exa_cli.sites.nodelines import Looked, node_lines, plain
from exa_cli.spec import times
from exa_cli.spec.document import toml_value

LONGEST_S = 9999 * 3600 + 59 * 60 + 59
"""A walltime in HH:MM:SS has four digits of hours at most (`exa_cli.spec.times`)."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found out on the machine.

    Attributes:
        name, kind: the new site, and its batch system.
        day: YYYY-MM-DD. source: the command that told of the queues.
        queues: None when it did not answer; ``fault`` then says why.
        nodes: the same of its nodes.
        remarks: lines of other commands, for the reader of the profile.
        scratch: directories that may be a node's own storage.
    """

    name: str
    kind: str
    day: str
    source: str
    queues: tuple[LiveQueue, ...] | None
    fault: str = ""
    nodes: Looked = field(default_factory=Looked)
    remarks: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()


LAUNCHER = {
    "slurm": """
[launcher]
options = "fill in"         # ["--mpi=pmix"], …: one of `srun --mpi=list`, the ranks' MPI's own
""",
    "pbs": """
[launcher]
kind = "fill in"            # "pals" (Cray), "mpich" (Hydra); or your own, with its command
""",
}
ACCOUNT = {"slurm": "account", "pbs": "A"}
TORCH = """
[torch]
device = "fill in"          # "cuda" (AMD too), "xpu" or "cpu"
backend = "fill in"         # "nccl" (AMD too), "xccl" or "gloo"
"""


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
    key = f'{ACCOUNT[seen.kind]} = "fill in"'
    account = f"{key:<27} # the project to charge, or false; a run's own --account wins"
    node = node_lines(seen.kind, seen.day, seen.nodes, _gpus(seen.queues or ()))
    body = ["", "[directives]", account, "", "[node]", *node, *_scratch(seen.scratch)]
    return "\n".join([*head, *_queues(seen), *body]) + f"\n{LAUNCHER[seen.kind]}{TORCH}"


def _gpus(queues: Sequence[LiveQueue]) -> int | None:
    """GPUs of a node where all queues say the same."""
    counts = {queue.gpus for queue in queues}
    return counts.pop() if len(counts) == 1 else None


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
