"""The profile of a site: every key with its declaration.

Numbers of a site age: each table can say since when and from where (``as_of``, ``source``).
``"unknown"`` is a legal value wherever a site does not say, and code must treat it as
unknown, never as zero. ``"fill in"`` is the word of a starter for what only the site's user can
know: a profile that still holds it is refused, and each such key is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.sites import launcher as launchers
from exa_cli.sites.batch import (
    Demands,
    Identity,
    Limit,
    Preemption,
    Queue,
    SchedulerTable,
    SitePolicy,
)
from exa_cli.sites.binding import Hardware, findings
from exa_cli.sites.machine import Accelerator, Binding, Device, Node, Tier
from exa_cli.sites.software import (
    Container,
    Env,
    Failures,
    Filesystem,
    Launcher,
    LocalStorage,
    Modules,
    Rendezvous,
    Staging,
    Torch,
)
from exa_cli.spec.declare import UNKNOWN, build, key, nearest, table
from exa_cli.spec.toml import Path_, TomlDoc

FILL_IN = "fill in"


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
    policy: SitePolicy = table(SitePolicy, help="What follows the end of an attempt.")
    node: Node = table(Node, help="One node.")
    device: tuple[Device, ...] = key((), help="The devices of a node, in the default mode.")
    accelerator: Accelerator = table(Accelerator, help="The device that ranks compute on.")
    binding: tuple[Binding, ...] = key((), help="Ways to bind the ranks of a node.")
    topology: tuple[Tier, ...] = key(
        (), help="Parts of the machine within which nodes are nearer, the smallest first."
    )
    launcher: Launcher = key(help="What starts the ranks.")
    modules: Modules = table(Modules, help="Modules a job loads.")
    env: tuple[Env, ...] = key((), help="Sets of variables, in order; later ones win.")
    rendezvous: Rendezvous = table(Rendezvous, help="How ranks reach each other.")
    filesystems: tuple[Filesystem, ...] = key((), help="Filesystems that all nodes share.")
    local_storage: LocalStorage = table(LocalStorage, help="Storage of a node.")
    staging: Staging = table(Staging, help="The site's own tools for that.")
    container: Container = table(Container, help="The container that ranks run in.")
    failures: Failures = table(Failures, help="What goes wrong here, and how it shows.")
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
    return replace(profile, launcher=_completed(profile.launcher, profile.scheduler.kind))


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


def _completed(launcher: Launcher, scheduler: str) -> Launcher:
    """The launcher with what exa knows of its kind wherever the profile does not say."""
    kind = launchers.KINDS.get(launcher.kind)
    if scheduler == "slurm":
        launcher = replace(launcher, agents=launcher.agents or launchers.STEP_AGENTS)
    if kind is None:
        return launcher

    def known(said: str, otherwise: str) -> str:
        return otherwise if said == UNKNOWN else said

    return replace(
        launcher,
        command=launcher.command or kind.command,
        agents=launcher.agents or kind.agents,
        bound=kind.bound if launcher.bound is None else launcher.bound,
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
    yield from _bad_hardware(profile, doc)
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


def _bad_hardware(profile: SiteProfile, doc: TomlDoc) -> Iterator[ExaError]:
    """Tables of the node that contradict each other, and bindings that must not be used."""
    domains, nics = {n.domain for n in profile.node.numa}, {n.name for n in profile.node.nic}
    seen: set[int] = set()
    for number, device in enumerate(profile.device):
        path = ("device", str(number))
        if device.index in seen:
            what = f"there are two devices {device.index}"
            yield Invalid(what, where=doc.where((*path, "index")))
        seen.add(device.index)
        if domains and device.numa != UNKNOWN and device.numa not in domains:
            what = f"device {device.index}: there is no NUMA domain {device.numa}"
            yield Invalid(what, where=doc.where((*path, "numa")))
        if nics and device.nic not in (UNKNOWN, "none", *nics):
            what = f"device {device.index}: there is no NIC {device.nic!r}"
            yield Invalid(what, where=doc.where((*path, "nic")), hint=nearest(device.nic, nics))
    yield from _bad_bindings(profile, doc)


def _bad_bindings(profile: SiteProfile, doc: TomlDoc) -> Iterator[ExaError]:
    hardware = Hardware(profile.node, profile.device)
    names: set[str] = set()
    usual: str | None = None
    for number, binding in enumerate(profile.binding):
        path = ("binding", str(number))
        if binding.name in names:
            what = f"there are two bindings {binding.name!r}"
            yield Invalid(what, where=doc.where((*path, "name")))
        names.add(binding.name)
        if binding.default and usual:
            what = f"{usual} and {binding.name} cannot both be the default binding"
            yield Invalid(what, where=doc.where((*path, "default")))
        usual = binding.name if binding.default else usual
        if binding.published and not binding.default:
            continue  # kept as the site gives it; `exa site check` and `exa plan` warn
        for found in findings(binding, hardware):
            yield Invalid(f"the binding {binding.name}: {found}", where=doc.where((*path, "rank")))


def _bad_rows(path: Path_, rows: tuple[Limit, ...], doc: TomlDoc) -> Iterator[ExaError]:
    for number, row in enumerate(rows):
        if row.max_nodes != UNKNOWN and row.max_nodes < row.min_nodes:
            yield Invalid(
                f"{row.max_nodes} nodes at most, {row.min_nodes} at least",
                where=doc.where((*path, str(number), "max_nodes")),
            )
