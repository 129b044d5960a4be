"""The profile of a site: every key with its declaration.

Numbers of a site age: each table can say since when and from where (``as_of``, ``source``).
``"unknown"`` is a legal value wherever a site does not say, and code must treat it as
unknown, never as zero. ``"fill in"`` is the word of a starter for what only the site's user can
know: a profile that still holds it is refused, and each such key is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.sites import launcher as launchers
from exa_cli.sites.launcher import wrong_with as wrong_grammar
from exa_cli.sites.paths import wrong_with as wrong_template
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN, Unknown, build, key, nearest, table
from exa_cli.spec.runfile import legal_environment
from exa_cli.spec.toml import Path_, TomlDoc

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
NAME_FORM = "up to 64 letters, digits, _ . -"

FILL_IN = "fill in"

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
class Route(Limit):
    """An execution queue behind a routing queue, and what it takes."""

    name: str = key(help="What the batch system calls it; a job cannot ask for it.")


@dataclass(frozen=True, kw_only=True)
class Queue(Sourced):
    """A queue, with its limits by size. On Slurm it is a partition, a QOS, or one of each."""

    name: str = key(help="What users call it.")
    partition: str | No | None = key(
        None, help="Slurm's partition; absent = the queue's name; none = the default partition."
    )
    qos: str | None = key(None, help="Slurm's QOS; absent = the user's default.")
    limit: tuple[Limit, ...] = key((), help="Rows of nodes and walltime.")
    routes: tuple[Route, ...] = key(
        (), help="Execution queues that a routing queue sends its jobs to, each with its limits."
    )
    within: str | None = key(
        None, help="A queue whose limits hold as well: for a QOS, that of its partition."
    )
    debug: bool = key(False, help="Whether it is there for tests, not for production.")
    preemptable: bool = key(False, help="Whether its jobs may be ended in favour of others.")
    by_request: bool = key(False, help="Whether the site has to grant its use first.")
    whole_node: bool | Unknown = key(UNKNOWN, help="Whether jobs have their nodes to themselves.")
    max_jobs_per_user: int | Unknown = key(
        UNKNOWN, help="Jobs of a user in it at a time, waiting ones included.", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class Preemption(Sourced):
    """What the site does to a running job, and what becomes of the job then."""

    happens: bool | Unknown = key(UNKNOWN, help="Whether jobs are ended in favour of others.")
    notice_s: float | No | Unknown = key(
        UNKNOWN, help="Warning before that; none = ended at once.", unit="seconds", minimum=0
    )
    requeue: bool | Unknown = key(
        UNKNOWN, help="Whether the batch system is to start an interrupted job again by itself."
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
    gpus: int | Unknown = key(UNKNOWN, help="GPUs of a node that a job asks for.", minimum=0)
    virtual: bool = key(False, help="Whether all nodes are this machine and share its cores.")


@dataclass(frozen=True, kw_only=True)
class Launcher(Sourced):
    """What starts the ranks."""

    kind: str = key(help="The launcher's name: " + ", ".join(launchers.KINDS) + ", or your own.")
    command: tuple[str, ...] = key(
        (),
        help="Its command line, word by word, with {ranks} and the like; absent = the kind's.",
        check=wrong_grammar,
    )
    options: tuple[str, ...] = key(
        (), help="Words to add to it, for example --mpi=pmix, one of `srun --mpi=list`."
    )
    agents: tuple[str, ...] | None = key(
        None,
        help="What starts one small program on each node beside the ranks, each {ranks} being "
        "a node's; absent = the kind's, or none: all nodes are the supervisor's machine.",
        check=wrong_grammar,
    )
    rank_variable: str | Unknown = key(UNKNOWN, help="Variable with a process's rank.")
    size_variable: str | Unknown = key(UNKNOWN, help="Variable with the number of ranks.")
    local_rank_variable: str | Unknown = key(UNKNOWN, help="Variable with the rank on its node.")


@dataclass(frozen=True, kw_only=True)
class Modules(Sourced):
    """Environment modules a job loads before anything else."""

    purge: bool = key(False, help="Whether to unload all others first.")
    use: tuple[str, ...] = key((), help="Directories of modules to add.")
    load: tuple[str, ...] = key((), help="Modules to load, in order.")


@dataclass(frozen=True, kw_only=True)
class Env(Sourced):
    """A set of variables that belong together."""

    name: str = key(help="What it is for.")
    variables: dict[str, str] = key(
        {}, help="Exported in every job; the run file's [env] wins.", check=legal_environment
    )


@dataclass(frozen=True, kw_only=True)
class Rendezvous(Sourced):
    """How ranks reach each other."""

    interface: str | Unknown = key(
        UNKNOWN, help="Network interface of the compute network, for gloo and NCCL."
    )


@dataclass(frozen=True, kw_only=True)
class LocalStorage(Sourced):
    """Fast storage of a node, for staged data, logs and first copies of checkpoints."""

    path: str = key(
        "{tmp}/exa-{uid}",
        help="Directory of a user; {tmp}, {uid}, ${VAR} and ${VAR:-default} are replaced.",
        check=wrong_template,
    )
    wiped: bool | Unknown = key(UNKNOWN, help="Whether the site empties it between jobs.")
    bytes: int | Unknown = key(UNKNOWN, help="Its size on one node.", unit="bytes", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Demands(Sourced):
    """What the site asks of every job beside the directives that are to be filled in."""

    filesystems: tuple[str, ...] = key(
        (), help="Filesystems of which a job must name those it uses; empty = it need not."
    )
    min_walltime: str | Unknown = key(
        UNKNOWN, help="Shortest walltime that is taken.", pattern=times.PATTERN, form=times.FORM
    )


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
    directives: dict[str, str | bool] = key(
        {},
        help="Directives of every job: a value; true = a flag; false = not what exa would say; "
        '"fill in" = each user must give it.',
    )
    demands: Demands = table(Demands, help="What the site asks of every job.")
    preemption: Preemption = table(Preemption, help="What is done to running jobs.")
    node: Node = table(Node, help="One node.")
    launcher: Launcher = key(help="What starts the ranks.")
    modules: Modules = table(Modules, help="Modules a job loads.")
    env: tuple[Env, ...] = key((), help="Sets of variables, in order; later ones win.")
    rendezvous: Rendezvous = table(Rendezvous, help="How ranks reach each other.")
    local_storage: LocalStorage = table(LocalStorage, help="Storage of a node.")
    torch: Torch = table(Torch, help="What torch calls the device and the backend.")


def read(doc: TomlDoc) -> SiteProfile:
    """A profile from its merged document. Raises Invalid with every fault and its place."""
    faults: list[ExaError] = [_to_fill_in(doc, path) for path in fill_ins(doc.values)]
    try:
        profile = build(SiteProfile, TomlDoc(_without(doc.values), doc.origins, doc.name))
    except Invalid as error:
        raise several(Invalid, [*faults, error]) from error
    if faults := [*faults, *_contradictions(profile, doc)]:
        raise several(Invalid, faults)
    return replace(profile, launcher=_completed(profile.launcher))


def fill_ins(values: dict[str, Any]) -> list[Path_]:
    """Keys that say ``"fill in"``. Not those of [directives]: a run may bring the value itself."""
    return [path for path in _paths(values) if path[0] != "directives"]


def _paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    if value == FILL_IN:
        yield path
    inner = value.items() if isinstance(value, dict) else ()
    rows = enumerate(value) if isinstance(value, list) else ()
    for name, part in (*inner, *rows):
        yield from _paths(part, (*path, str(name)))


def _without(values: dict[str, Any]) -> dict[str, Any]:
    """The values without those that are to be filled in; they have been reported."""
    kept = {name: value for name, value in values.items() if value != FILL_IN}
    tables = {
        name: _without(value)
        for name, value in kept.items()
        if isinstance(value, dict) and name != "directives"
    }
    return {**kept, **tables}


def _to_fill_in(doc: TomlDoc, path: Path_) -> Invalid:
    return Invalid(
        f"{'.'.join(path)} is to be filled in",
        where=doc.where(path),
        hint="docs/add-a-site.md says how to find it out",
    )


def _completed(launcher: Launcher) -> Launcher:
    """The launcher with what exa knows of its kind wherever the profile does not say."""
    kind = launchers.KINDS.get(launcher.kind)
    if kind is None:
        return launcher

    def known(said: str, otherwise: str) -> str:
        return otherwise if said == UNKNOWN else said

    return replace(
        launcher,
        command=launcher.command or kind.command,
        agents=launcher.agents or kind.agents,
        rank_variable=known(launcher.rank_variable, kind.rank),
        size_variable=known(launcher.size_variable, kind.size),
        local_rank_variable=known(launcher.local_rank_variable, kind.local_rank),
    )


def _contradictions(profile: SiteProfile, doc: TomlDoc) -> Iterator[ExaError]:
    """What no key by itself can show."""
    first: dict[str, Queue] = {}
    for number, queue in enumerate(profile.queue):
        path = ("queue", str(number))
        if queue.name in first:
            yield Invalid(f"there are two queues {queue.name!r}", where=doc.where((*path, "name")))
        first.setdefault(queue.name, queue)
        yield from _bad_rows((*path, "limit"), queue.limit, doc)
        yield from _bad_rows((*path, "routes"), queue.routes, doc)
    for number, queue in enumerate(profile.queue):
        around = first.get(queue.within or queue.name)
        if around is None or (queue.within and around.within):
            what = f"{queue.name} lies within {queue.within!r}"
            why = "there is no such queue" if around is None else "which lies within another"
            yield Invalid(f"{what}: {why}", where=doc.where(("queue", str(number), "within")))
    if not profile.launcher.command and profile.launcher.kind not in launchers.KINDS:
        yield Invalid(
            f"exa does not know the command line of a launcher {profile.launcher.kind!r}",
            where=doc.where(("launcher", "kind")),
            hint=f"give launcher.command; {nearest(profile.launcher.kind, launchers.KINDS)}",
        )
    if profile.node.cpus == "detect" and not profile.node.virtual:
        yield Invalid(
            "node.cpus = 'detect' looks at the machine of the submission, not at a node",
            where=doc.where(("node", "cpus")),
            hint='give the number of cores, or "unknown"',
        )


def _bad_rows(path: Path_, rows: tuple[Limit, ...], doc: TomlDoc) -> Iterator[ExaError]:
    for number, row in enumerate(rows):
        if row.max_nodes != UNKNOWN and row.max_nodes < row.min_nodes:
            yield Invalid(
                f"{row.max_nodes} nodes at most, {row.min_nodes} at least",
                where=doc.where((*path, str(number), "max_nodes")),
            )
