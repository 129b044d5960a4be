"""From a run file and options to a plan and a script, without touching a run directory.

What ``--dry-run`` prints and what is submitted are made by the same functions from the same
values, so they cannot drift apart.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Invalid
from exa_cli.login import data
from exa_cli.plan.freeze import DataFacts, Machine, freeze
from exa_cli.runs.rundir import RunDir
from exa_cli.script.ask import Ask, Value, directives_of
from exa_cli.script.job import JobScript, Variable, job_script
from exa_cli.script.render import Script
from exa_cli.sites.limits import queue_for
from exa_cli.sites.load import LoadedSite, load_site
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec import runfile, times, toml
from exa_cli.spec.declare import AUTO, UNKNOWN
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
    """Everything that is known before a run exists."""

    doc: TomlDoc
    run: RunFile
    site: LoadedSite
    name: str
    named: bool
    base: Path

    @property
    def profile(self) -> SiteProfile:
        return self.site.profile

    def plan(self, run_id: str, facts: DataFacts) -> dict[str, Any]:
        """plan.json. Raises Invalid when what is asked cannot be laid out."""
        plan = freeze(self.run, machine(self.profile), facts, run_id)
        return {**plan, "site": self.profile.site.name, "scheduler": self.profile.scheduler.kind}


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
    from exa_cli.sites.detect import cores, has_bf16_units

    node = profile.node
    return Machine(node.count, node.ranks_per_node, cores(node), has_bf16_units(profile))


def request(made: Draft, run: RunDir, attempt: str, plan: dict[str, Any]) -> dict[str, Any]:
    """request.json: what one attempt asks the scheduler for."""
    walltime = made.run.resources.walltime
    nodes, walltime_s = plan["parallel"]["nodes"], times.seconds(walltime)
    asked = made.run.resources.queue
    queue = queue_for(made.profile, nodes, walltime_s, None if asked == AUTO else asked)
    return {
        "schema": 1,
        "run": run.run_id,
        "attempt": attempt,
        "tag": run.tag(attempt),
        "site": made.profile.site.name,
        "scheduler": made.profile.scheduler.kind,
        "nodes": nodes,
        "walltime": walltime,
        "walltime_s": walltime_s,
        "queue": queue.name if queue else None,
        "account": made.run.resources.account,
        "workdir": str(run.path),
        "python": sys.executable,
    }


def script(made: Draft, run: RunDir, request: dict[str, Any], plan: dict[str, Any]) -> Script:
    """The job script of an attempt: a pure function of the frozen request and plan."""
    kind = request["scheduler"]
    return job_script(
        JobScript(
            scheduler=kind,
            directives=directives_of(kind, ask(made, request)),
            run_dir=run.path,
            attempt=request["attempt"],
            tag=request["tag"],
            python=Path(request["python"]),
            environment=tuple(_variables(made.doc, plan["env"])),
        )
    )


def ask(made: Draft, request: dict[str, Any]) -> Ask:
    """The job in words, each value with its origin."""

    def value(key: str, otherwise: str) -> Value:
        return Value(str(request[key]), _origin(made, key, otherwise))

    site = f"site {request['site']}"
    delay = made.profile.scheduler.kill_delay_s
    known = delay != UNKNOWN
    return Ask(
        name=Value(request["tag"], "the attempt's tag"),
        nodes=value("nodes", f"{site}, node.count"),
        walltime=value("walltime", "default of resources.walltime"),
        kill_delay=Value(f"{delay:g}", f"{site}, scheduler.kill_delay_s") if known else None,
        queue=value("queue", f"{site}, the first queue that fits") if request["queue"] else None,
        account=value("account", "resources.account") if request["account"] else None,
    )


def _origin(made: Draft, key: str, otherwise: str) -> str:
    """Where the user gave a resource, or where it comes from otherwise."""
    given = getattr(made.run.resources, key) not in (AUTO, None)
    place = ("resources", key)
    return made.doc.where(place) if given and place in made.doc.origins else otherwise


def _variables(doc: TomlDoc, env: dict[str, str]) -> list[Variable]:
    return [Variable(name, value, doc.where(("env", name))) for name, value in env.items()]


def expected_data(made: Draft) -> DataFacts:
    """What is known of the data without preparing it."""
    return data.expected(made.run.data, made.base)[1]


def prepared_data(made: Draft) -> DataFacts:
    """The data, prepared now if it has to be. Raises Invalid when the vocabulary disagrees."""
    facts = data.ensure(made.run.data, made.base)
    wanted = made.run.model.vocab
    if isinstance(wanted, int) and wanted < facts.vocab:
        raise Invalid(
            f"model.vocab = {wanted}, but the data has {facts.vocab} tokens",
            where=made.doc.where(("model", "vocab")),
            hint="leave model.vocab out",
        )
    return facts
