"""The profile of a site: every key with its declaration.

Numbers of a site age: each table can say since when and from where (``as_of``, ``source``).
``"unknown"`` is a legal value wherever a site does not say, and code must treat it as
unknown, never as zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.sites.launcher import wrong_with as wrong_grammar
from exa_cli.sites.paths import wrong_with as wrong_template
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN, Unknown, build, key, table
from exa_cli.spec.toml import TomlDoc

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
NAME_FORM = "letters, digits, _ . -"

No = Literal["none"]
Detect = Literal["detect"]


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """What every table can say about its facts."""

    as_of: str | None = key(
        None,
        help="Day on which the facts of this table were true.",
        pattern=r"\d{4}-\d\d-\d\d",
        form="a day, YYYY-MM-DD",
    )
    source: str | None = key(None, help="Where the facts of this table are from.")


@dataclass(frozen=True, kw_only=True)
class Identity(Sourced):
    """Which site this is."""

    name: str = key(help="The site's name.", pattern=NAME_PATTERN, form=NAME_FORM)
    title: str | None = key(None, help="One line for people.")


@dataclass(frozen=True, kw_only=True)
class SchedulerTable(Sourced):
    """The batch system and its timers."""

    kind: str = key(help="Which batch system.")
    kill_delay_s: float | Unknown = key(
        UNKNOWN, help="From SIGTERM to SIGKILL.", unit="seconds", minimum=0
    )
    poll_s: float = key(
        30.0, help="Shortest time between two questions to it.", unit="seconds", minimum=0
    )
    timeout_s: float = key(
        30.0, help="How long one of its commands may take.", unit="seconds", minimum=1
    )
    retry_s: float = key(
        120.0,
        help="How long a submission that a busy batch system does not take is tried again.",
        unit="seconds",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class Limit(Sourced):
    """One row: jobs of so many nodes may run so long."""

    min_nodes: int = key(1, help="Fewest nodes.", minimum=1, unit="nodes")
    max_nodes: int | Unknown = key(UNKNOWN, help="Most nodes.", minimum=1, unit="nodes")
    walltime: str | Unknown = key(
        UNKNOWN, help="Longest time of a job.", pattern=times.PATTERN, form=times.FORM
    )


@dataclass(frozen=True, kw_only=True)
class Queue(Sourced):
    """A queue, partition or QOS, with its limits by size."""

    name: str = key(help="What the batch system calls it.")
    limit: tuple[Limit, ...] = key((), help="Rows of nodes and walltime.")


@dataclass(frozen=True, kw_only=True)
class Preemption(Sourced):
    """What the site does to a running job, and what becomes of the job then."""

    happens: bool | Unknown = key(UNKNOWN, help="Whether jobs are ended in favour of others.")
    notice_s: float | No | Unknown = key(
        UNKNOWN, help="Warning before that; none = ended at once.", unit="seconds", minimum=0
    )
    requeue: bool | Unknown = key(
        UNKNOWN, help="Whether the batch system starts an interrupted job again by itself."
    )
    restart_variable: str | No | Unknown = key(
        UNKNOWN, help="Variable that counts the starts of a job; none = there is none."
    )
    chaining: bool | Unknown = key(UNKNOWN, help="Whether a job may wait for another's end.")


@dataclass(frozen=True, kw_only=True)
class Node(Sourced):
    """One node."""

    count: int = key(1, help="Nodes of a run that does not say how many.", minimum=1)
    total: int | Unknown = key(UNKNOWN, help="Nodes the site has.", minimum=1)
    ranks_per_node: int = key(
        1, help="Ranks on a node of a run that does not say how many.", minimum=1
    )
    cpus: int | Detect | Unknown = key(
        UNKNOWN, help="Cores of a node for a job; detect = look at this machine.", minimum=1
    )
    virtual: bool = key(False, help="Whether all nodes are this machine and share its cores.")


@dataclass(frozen=True, kw_only=True)
class Launcher(Sourced):
    """What starts the ranks."""

    kind: str = key(help="The launcher's name.")
    command: tuple[str, ...] = key(
        help="Its command line, word by word, with {ranks} and the like.", check=wrong_grammar
    )
    rank_variable: str | Unknown = key(UNKNOWN, help="Variable with a process's rank.")
    size_variable: str | Unknown = key(UNKNOWN, help="Variable with the number of ranks.")
    local_rank_variable: str | Unknown = key(UNKNOWN, help="Variable with the rank on its node.")


@dataclass(frozen=True, kw_only=True)
class LocalStorage(Sourced):
    """Fast storage of a node, for staged data, logs and first copies of checkpoints."""

    path: str = key(
        "{tmp}/exa-{uid}",
        help="Directory of a user; {tmp}, {uid}, ${VAR} and ${VAR:-default} are replaced.",
        check=wrong_template,
    )
    wiped: bool | Unknown = key(UNKNOWN, help="Whether the site empties it between jobs.")


@dataclass(frozen=True, kw_only=True)
class Torch(Sourced):
    """What torch calls the device, and how ranks talk."""

    device: str = key("cpu", help="Device type.", choices=("cpu", "cuda", "xpu"))
    backend: str = key("gloo", help="Process group backend.", choices=("gloo", "nccl", "xccl"))


@dataclass(frozen=True, kw_only=True)
class SiteProfile:
    """A whole profile."""

    inherits: str | None = key(
        None, help="A profile that holds for what this one does not say; resolved on loading."
    )
    site: Identity = key(help="Which site this is.")
    scheduler: SchedulerTable = key(help="The batch system and its timers.")
    queue: tuple[Queue, ...] = key((), help="Queues, each with its limits by size.")
    preemption: Preemption = table(Preemption, help="What is done to running jobs.")
    node: Node = table(Node, help="One node.")
    launcher: Launcher = key(help="What starts the ranks.")
    local_storage: LocalStorage = table(LocalStorage, help="Storage of a node.")
    torch: Torch = table(Torch, help="What torch calls the device and the backend.")


def read(doc: TomlDoc) -> SiteProfile:
    """A profile from its merged document. Raises Invalid with every fault and its place."""
    profile = build(SiteProfile, doc)
    if faults := list(_contradictions(profile, doc)):
        raise several(Invalid, faults)
    return profile


def _contradictions(profile: SiteProfile, doc: TomlDoc) -> Iterator[ExaError]:
    """What no key by itself can show."""
    names: dict[str, int] = {}
    for number, queue in enumerate(profile.queue):
        path = ("queue", str(number))
        if queue.name in names:
            yield Invalid(f"there are two queues {queue.name!r}", where=doc.where((*path, "name")))
        names.setdefault(queue.name, number)
        for row, limit in enumerate(queue.limit):
            if limit.max_nodes != UNKNOWN and limit.max_nodes < limit.min_nodes:
                where = doc.where((*path, "limit", str(row), "max_nodes"))
                yield Invalid(
                    f"{limit.max_nodes} nodes at most, {limit.min_nodes} at least", where=where
                )
