"""What is told about site profiles: which there are, what one says, what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exa_cli.base.errors import ExaError, Invalid, Unreachable, several
from exa_cli.login.scheduler import of_site
from exa_cli.schedulers.queues import LiveNode
from exa_cli.schedulers.registry import registration
from exa_cli.schedulers.types import Scheduler
from exa_cli.script.dialects import dialect_of
from exa_cli.sites.binding import Hardware, findings
from exa_cli.sites.drift import Compared, compare
from exa_cli.sites.load import find_site, known_sites
from exa_cli.sites.schema import FILL_IN, SiteProfile, fill_ins, read
from exa_cli.spec.toml import TomlDoc


@dataclass(frozen=True)
class Checked:
    """A profile's verdict: ``error`` holds every fault, None when there is none."""

    site: str
    files: tuple[str, ...]
    error: ExaError | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        faults = (self.error.parts or (self.error,)) if self.error else ()
        return {
            "schema": 1,
            "site": self.site,
            "files": list(self.files),
            "faults": [{"what": f.what, "where": f.where, "hint": f.hint} for f in faults],
            "notes": list(self.notes),
        }


def listing(env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every known site: its name, file, title and batch system, and whether it can be used:
    ``usable``, ``starter`` (to be filled in) or ``faulty``."""
    return [_row(name, str(path), env) for name, path in known_sites(env).items()]


def _row(name: str, path: str, env: Mapping[str, str] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"site": name, "path": path, "title": None, "scheduler": None}
    try:
        doc, _ = find_site(path, env)
        if fill_ins(doc.values):
            return {**row, **_words(doc.values), "verdict": "starter"}
        profile = read(doc)
    except ExaError:
        return {**row, "verdict": "faulty"}
    said = {"title": profile.site.title, "scheduler": profile.scheduler.kind}
    return {**row, **said, "verdict": "usable"}


def _words(values: dict[str, Any]) -> dict[str, Any]:
    """Title and batch system of a profile that is not checked yet."""
    site, scheduler = values.get("site"), values.get("scheduler")
    return {
        "title": site.get("title") if isinstance(site, dict) else None,
        "scheduler": scheduler.get("kind") if isinstance(scheduler, dict) else None,
    }


def whole(asked: str | None, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A profile with all that it inherits, and where each key stands. Raises NotFound, Invalid."""
    doc, chain = find_site(asked, env)
    return {
        "schema": 1,
        "site": _name(doc),
        "files": [str(path) for path in chain],
        "profile": doc.values,
        "origins": {".".join(path): origin for path, origin in doc.origins.items()},
    }


def checked(asked: str | None, env: Mapping[str, str] | None = None) -> Checked:
    """Check a profile whole, without asking the machine. Raises NotFound, or Invalid for a file
    that cannot be read at all."""
    doc, chain = find_site(asked, env)
    error: ExaError | None = None
    notes: tuple[str, ...] = ()
    try:
        profile = read(doc)
        _check_directives(profile, doc)
        notes = (*_left_to_users(profile), *_published(profile))
    except Invalid as found:
        error = found
    return Checked(_name(doc), tuple(str(path) for path in chain), error, notes)


def compared(asked: str | None, env: Mapping[str, str] | None = None) -> Compared:
    """Hold a profile against the batch system that runs here now: its queues, and its nodes where
    users are told of them. Where there are neither, that is a note, and nothing is asked.

    Raises NotFound, Invalid (of the profile), or Unreachable when the batch system did not answer.
    """
    doc, _ = find_site(asked, env)
    profile = read(doc)
    if registration(profile.scheduler.kind).shows is None:
        note = f"not compared: {profile.scheduler.kind} has no queues and nodes to ask for"
        return Compared((), (note,))
    batch = of_site(profile)
    if why_not := batch.usable():
        raise Unreachable(f"the batch system {batch.kind} cannot be asked from here: {why_not}")
    live = batch.queues()
    if not live:  # no such batch system has none: this is no answer
        raise Unreachable(f"{batch.kind} answered without naming a queue", hint="ask again")
    nodes, fault = nodes_of(batch)
    found = compare(profile, doc, live, nodes)
    notes = (f"not compared: what nodes have: {fault}",) if fault else ()
    return Compared(found.drift, (*notes, *found.notes))


def nodes_of(batch: Scheduler) -> tuple[tuple[LiveNode, ...], str]:
    """Its nodes, or why they are not known: a site may keep them from users."""
    try:
        found = batch.nodes()
    except Unreachable as error:
        return (), " ".join(error.what.split())
    return found, "" if found else f"{batch.kind} named none"


def _check_directives(profile: SiteProfile, doc: TomlDoc) -> None:
    ours = dialect_of(profile.scheduler.kind).ours
    faults: list[ExaError] = [
        Invalid(
            f"the directive {key} is set by exa itself",
            where=doc.where(("directives", key)),
            hint=ours[key],
        )
        for key in profile.directives
        if key in ours
    ]
    if faults:
        raise several(Invalid, faults)


def _left_to_users(profile: SiteProfile) -> tuple[str, ...]:
    left = [key for key, value in profile.directives.items() if value == FILL_IN]
    return tuple(f"each run must say its {key}: directives.{key} is {FILL_IN!r}" for key in left)


def _published(profile: SiteProfile) -> tuple[str, ...]:
    """What the site's own bindings do that they should not."""
    hardware = Hardware(profile.node, profile.device)
    return tuple(
        f"the binding {each.name}, as the site gives it: {found}"
        for each in profile.binding
        for found in findings(each, hardware)
    )


def _name(doc: TomlDoc) -> str:
    site = doc.values.get("site")
    return str(site.get("name")) if isinstance(site, dict) else doc.name
