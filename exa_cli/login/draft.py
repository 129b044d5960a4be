"""From a run file and options to a plan and a script, without touching a run directory.

What ``--dry-run`` prints and what is submitted are made by the same functions from the same
values, so they cannot drift apart.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Invalid, NotFound
from exa_cli.login import data
from exa_cli.plan import continuing
from exa_cli.plan.freeze import DataFacts, Machine, freeze, freeze_program
from exa_cli.policy.suspects import suspects
from exa_cli.runs import journal
from exa_cli.runs.find import find
from exa_cli.runs.rundir import RunDir, attempts
from exa_cli.script.ask import Ask, Value
from exa_cli.script.dialects import dialect_of
from exa_cli.script.directives import Directive, Line, combine, commands
from exa_cli.script.job import JobScript, Variable, job_script, module_lines
from exa_cli.script.render import Script
from exa_cli.sites.batch import Queue
from exa_cli.sites.binding import Hardware
from exa_cli.sites.choice import queue_for
from exa_cli.sites.detect import cores, cpus_per_rank, has_bf16_units
from exa_cli.sites.load import LoadedSite, load_site
from exa_cli.sites.schema import SiteProfile
from exa_cli.sites.software import Env
from exa_cli.spec import runfile, times, toml
from exa_cli.spec.declare import AUTO, UNKNOWN, nearest
from exa_cli.spec.runfile import RunFile
from exa_cli.spec.toml import TomlDoc

FLAGS = {
    "nodes": ("resources", "nodes"),
    "walltime": ("resources", "walltime"),
    "queue": ("resources", "queue"),
    "account": ("resources", "account"),
}


@dataclass(frozen=True)
class Options:
    """What the command line adds to the run file; None = not given."""

    site: str | None = None
    name: str | None = None
    nodes: int | None = None
    walltime: str | None = None
    queue: str | None = None
    account: str | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """Everything that is known before a run exists. ``here``: the job in whose allocation the
    run is to be, None when it is to get a job of its own."""

    doc: TomlDoc
    run: RunFile
    site: LoadedSite
    name: str
    named: bool
    base: Path
    here: str | None = None

    @property
    def profile(self) -> SiteProfile:
        return self.site.profile

    @property
    def program(self) -> str | None:
        """The user's own program that runs in place of the trainer, by its name."""
        return self.run.train.command[0] if self.run.train.command else None

    def plan(self, run_id: str, facts: DataFacts | None) -> dict[str, Any]:
        """plan.json; ``facts`` are None for a program that brings its own data.

        Raises Invalid when what is asked cannot be laid out.
        """
        here = machine(self.profile)
        if facts is None:
            plan = freeze_program(self.run, here, str(self.base), run_id)
        else:
            plan = freeze(self.run, here, facts, run_id)
        return {
            **plan,
            "image": self.image,
            "site": self.profile.site.name,
            "scheduler": self.profile.scheduler.kind,
        }

    @property
    def image(self) -> str | None:
        """The container image that ranks run in. Raises Invalid where there is no runtime."""
        asked, box = self.run.train.image, self.profile.container
        image = asked or box.image
        if image == "none":
            return None
        if not box.command:
            raise Invalid(
                f"the site {self.profile.site.name} has no container runtime",
                where=self.doc.where(("train", "image")),
                hint="leave it out, or give container.command in the site's profile",
            )
        return image


def draft(path: Path, options: Options) -> Draft:
    """Read a run file, its overrides and the site. Raises NotFound, Usage or Invalid."""
    doc = toml.override(toml.load(path), list(options.settings))
    for flag, place in FLAGS.items():
        if (value := getattr(options, flag)) is not None:
            doc = toml.put(doc, place, value, f"--{flag}")
    run = runfile.read(doc)
    site = load_site(options.site, os.environ)
    name = options.name or run.name or path.stem
    where = "--name" if options.name else doc.where(("name",))
    checked = runfile.checked_name(name, where)
    return Draft(doc, run, site, checked, options.name is not None, path.absolute().parent)


def machine(profile: SiteProfile) -> Machine:
    """What the plan has to know of a site."""
    node = profile.node
    return Machine(
        nodes=node.count,
        ranks_per_node=node.ranks_per_node,
        cores=cores(node),
        bf16=has_bf16_units(profile),
        bindings=profile.binding,
        hardware=Hardware(node, profile.device),
        policy=profile.policy,
        hang_floor_s=profile.failures.hang_floor_s,
    )


def request(made: Draft, run: RunDir, attempt: str, plan: dict[str, Any]) -> dict[str, Any]:
    """request.json: what one attempt asks the scheduler for."""
    walltime = made.run.resources.walltime
    spares = made.run.resources.spares
    nodes, walltime_s = plan["parallel"]["nodes"] + spares, times.seconds(walltime)
    ranks_per_node = plan["parallel"]["ranks_per_node"]
    queue = _queue(made, nodes, walltime_s)
    return {
        "schema": 1,
        "run": run.run_id,
        "attempt": attempt,
        "tag": run.tag(attempt),
        "site": made.profile.site.name,
        "scheduler": made.profile.scheduler.kind,
        "nodes": nodes,
        "spares": spares,
        "ranks_per_node": ranks_per_node,
        "cpus_per_rank": cpus_per_rank(made.profile, ranks_per_node),
        "walltime": walltime,
        "walltime_s": walltime_s,
        "queue": queue.name if queue else None,
        "account": made.run.resources.account,
        "workdir": str(run.path),
        "python": sys.executable,
        "next": _next(made, queue),
        "exclude": [each.node for each in suspects(journal.read(run.path), clock.now())],
        **({"epilogue": made.run.script.epilogue} if made.run.script.epilogue else {}),
        **({"here": True} if made.here else {}),
    }


def _next(made: Draft, queue: Queue | None) -> dict[str, str]:
    """Who hands in the attempt after this one, and why. Raises Invalid for who cannot."""
    profile = made.profile
    if made.here:
        return {"by": "never", "why": "the allocation is the user's own: exa resume submits a job"}
    asked = continuing.asked_for(made.run.policy, profile.policy)
    given = made.run.policy.resubmit != AUTO
    where = ("policy", "resubmit")
    place = made.doc.where(where) if given else _place(made, *where)
    found = continuing.way(asked, profile.scheduler.kind, profile.preemption, queue, place)
    return {"by": found.means, "why": found.reason}


def _queue(made: Draft, nodes: int, walltime_s: int) -> Queue | None:
    if made.here:
        return None  # the allocation has its queue already
    asked = made.run.resources.queue
    return queue_for(made.profile, nodes, walltime_s, None if asked == AUTO else asked)


def script(made: Draft, run: RunDir, request: dict[str, Any], plan: dict[str, Any]) -> Script:
    """The job script of an attempt: a pure function of the frozen request and plan."""
    return job_script(parts(made, run, request, plan))


def parts(made: Draft, run: RunDir, request: dict[str, Any], plan: dict[str, Any]) -> JobScript:
    """What the job script of an attempt is made of."""
    kind = request["scheduler"]
    dialect, asked = dialect_of(kind), ask(made, run, request, plan)
    return JobScript(
        scheduler=kind,
        directives=combine(dialect, asked, _site_directives(made), _lines(made, "header")),
        run_dir=run.path,
        attempt=request["attempt"],
        tag=request["tag"],
        python=Path(request["python"]),
        modules=module_lines(made.profile.modules, lambda key: _place(made, "modules", key)),
        environment=_variables(made, plan["env"], request["nodes"]),
        prologue=commands(dialect, _lines(made, "prologue")),
    )


def scripted(
    made: Draft, run: RunDir, attempt: str
) -> tuple[dict[str, Any], dict[str, Any], Script]:
    """Plan, request and script as they would be now. Nothing is created and nobody is asked."""
    plan = made.plan(run.run_id, expected_data(made))
    asked = request(made, run, attempt, plan)
    return plan, asked, script(made, run, asked, plan)


def last_script(name: str) -> tuple[RunDir, str, str]:
    """A run's last attempt and the text of its script. Raises NotFound."""
    run = find(name)
    for attempt in reversed(attempts(run)):
        path = run.attempt(attempt) / "script.sh"
        if path.is_file():
            return run, attempt, path.read_text(encoding="utf-8")
    raise NotFound(f"{run.run_id} has no script yet", where=str(run.path))


def ask(made: Draft, run: RunDir, request: dict[str, Any], plan: dict[str, Any]) -> Ask:
    """The job in words, each value with its origin."""
    profile = made.profile

    def value(key: str, otherwise: str) -> Value:
        return Value(str(request[key]), _origin(made, key, otherwise))

    def known(value: Any, *place: str) -> Value | None:
        """What the profile says; None where it does not."""
        if value in (UNKNOWN, "none", None, 0):
            return None
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return Value(text, _place(made, *place))

    folder = run.attempt(request["attempt"])
    partition, qos = _places_in_queue(made, request)
    return Ask(
        name=Value(request["tag"], "the attempt's tag"),
        nodes=_with_spares(made, value("nodes", _place(made, "node", "count"))),
        spares=request["spares"] > 0 or made.run.policy.shrink,
        exclude=_excluded(request),
        walltime=value("walltime", "default of resources.walltime"),
        workdir=Value(request["workdir"], "the run's directory"),
        folder=Value(str(folder), "the attempt's directory"),
        ranks_per_node=Value(str(request["ranks_per_node"]), "plan, parallel.ranks_per_node"),
        cpus_per_rank=known(request["cpus_per_rank"], "node", "cpus"),
        gpus_per_node=known(profile.node.gpus, "node", "gpus"),
        partition=partition,
        qos=qos,
        account=value("account", "resources.account") if request["account"] else None,
        notice_s=Value(str(plan["policy"]["stop_before_s"]), "plan, policy.stop_before"),
        kill_delay=known(profile.scheduler.kill_delay_s, "scheduler", "kill_delay_s"),
        requeue=_requeue(made, request),
        filesystems=_joined(made, "filesystems"),
        after=_after(made, request),
        begin=Value(str(request["begin"]), "policy.backoff") if request.get("begin") else None,
    )


def _excluded(request: dict[str, Any]) -> Value | None:
    """Nodes that the run has lost not long ago."""
    nodes = request["exclude"]
    return (
        Value(",".join(nodes), "nodes that the run lost, exa report says when") if nodes else None
    )


def _with_spares(made: Draft, nodes: Value) -> Value:
    """How many nodes are asked for; the request counts the spares in."""
    if not made.run.resources.spares:
        return nodes
    spares = f"{made.run.resources.spares} of them spares: {_origin(made, 'spares', 'run file')}"
    return Value(nodes.text, f"{nodes.origin}; {spares}")


def _places_in_queue(made: Draft, request: dict[str, Any]) -> tuple[Value | None, Value | None]:
    """The partition and the QOS of a job's queue."""
    if request["queue"] is None:
        return None, None
    rows = {row.name: (number, row) for number, row in enumerate(made.profile.queue)}
    number, queue = rows.get(request["queue"], (0, Queue(name=request["queue"])))
    origin = _origin(made, "queue", _place(made, "queue", str(number), "name"))
    partition = queue.partition or queue.name
    return (
        None if partition == "none" else Value(partition, origin),
        Value(queue.qos, origin) if queue.qos else None,
    )


def _joined(made: Draft, key: str) -> Value | None:
    """The names that a list of [resources] holds."""
    names = getattr(made.run.resources, key)
    return Value(":".join(names), made.doc.where(("resources", key))) if names else None


def _after(made: Draft, request: dict[str, Any]) -> Value | None:
    """The jobs whose end this one waits for: the user's, or the one it is queued ahead of."""
    if not request.get("after"):
        return _joined(made, "after")
    return Value(request["after"], "the attempt before, by policy.resubmit")


def _requeue(made: Draft, request: dict[str, Any]) -> Value | None:
    if request["next"]["by"] == "requeue":
        return Value("yes", made.doc.where(("policy", "resubmit")))
    wanted = made.profile.preemption.requeue
    if wanted == UNKNOWN:
        return None
    return Value("yes" if wanted else "no", _place(made, "preemption", "requeue"))


def _origin(made: Draft, key: str, otherwise: str) -> str:
    """Where the user gave a resource, or where it comes from otherwise."""
    given = getattr(made.run.resources, key) not in (AUTO, None)
    place = ("resources", key)
    return made.doc.where(place) if given and place in made.doc.origins else otherwise


def _place(made: Draft, *path: str) -> str:
    """Where the site says something."""
    return f"site {made.profile.site.name}: {made.site.doc.where(path)}"


def _site_directives(made: Draft) -> list[Directive]:
    if made.here:
        return []  # nobody reads them: the allocation was asked for by hand
    said = made.profile.directives
    return [Directive(k, v, _place(made, "directives", k)) for k, v in said.items()]


def _lines(made: Draft, key: str) -> tuple[Line, ...]:
    """Lines of the user's own."""
    text: str = getattr(made.run.script, key)
    where = made.doc.where(("script", key))
    return tuple(
        Line(line, f"{where}, line {number}")
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1)
        if line.strip() or (text and key == "prologue")
    )


def _variables(made: Draft, env: dict[str, str], nodes: int) -> tuple[Variable, ...]:
    """What the script exports: the site's sets in their order, then the run's own; later wins.

    Raises Invalid for a set that the site does not have.
    """
    profile = made.profile
    found: dict[str, Variable] = {}

    def add(values: dict[str, str], where: Callable[[str], str]) -> None:
        found.update((name, Variable(name, text, where(name))) for name, text in values.items())

    if profile.rendezvous.interface != UNKNOWN:
        names = dict.fromkeys(_INTERFACE[profile.torch.backend], profile.rendezvous.interface)
        add(names, lambda _: _place(made, "rendezvous", "interface"))
    lists: list[Variable] = []
    for number, each in _sets(made, nodes):
        add(each.variables, partial(_place, made, "env", str(number), "variables"))
        where = partial(_place, made, "env", str(number), "prepend")
        lists += [Variable(n, text, where(n), before=True) for n, text in each.prepend.items()]
    for mode in profile.accelerator.mode:
        if mode.default and mode.variable and mode.value is not None:
            add({mode.variable: mode.value}, lambda _: _place(made, "accelerator", "mode"))
    add(env, lambda name: made.doc.where(("env", name)))
    return (*found.values(), *lists)


def _sets(made: Draft, nodes: int) -> list[tuple[int, Env]]:
    """The site's sets of variables that a job of so many nodes gets, with their numbers."""
    asked, known = made.run.script.sets, [each.name for each in made.profile.env]
    if missing := [name for name in asked if name not in known]:
        raise Invalid(
            f"{made.profile.site.name} has no set of variables {missing[0]!r}",
            where=made.doc.where(("script", "sets")),
            hint=nearest(missing[0], known),
        )
    return [
        (number, each)
        for number, each in enumerate(made.profile.env)
        if (each.default or each.name in asked)
        and each.min_nodes <= nodes
        and (each.max_nodes == UNKNOWN or nodes <= each.max_nodes)
    ]


_INTERFACE = {
    "gloo": ("GLOO_SOCKET_IFNAME",),
    "nccl": ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"),
    "xccl": ("GLOO_SOCKET_IFNAME",),
}
"""Process group backend → variables that name the network interface. gloo is always there: it
carries what lies on the CPU."""


def expected_data(made: Draft) -> DataFacts | None:
    """What is known of the data without preparing it; None where a program brings its own."""
    if made.program:
        return None
    return data.expected(made.run.data, made.base)[1]


def prepared_data(made: Draft) -> DataFacts | None:
    """The data, prepared now if it has to be; None where a program brings its own.

    Raises Invalid when the vocabulary disagrees.
    """
    if made.program:
        return None
    facts = data.ensure(made.run.data, made.base)
    wanted = made.run.model.vocab
    if isinstance(wanted, int) and wanted < facts.vocab:
        raise Invalid(
            f"model.vocab = {wanted}, but the data has {facts.vocab} tokens",
            where=made.doc.where(("model", "vocab")),
            hint="leave model.vocab out",
        )
    return facts
