"""Which site a machine is of, by what a profile says of its machines and by the queues. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from exa_cli.sites.schema import SiteProfile


@dataclass(frozen=True)
class Match:
    """A site that fits, and why."""

    site: str
    why: str


def recognise(
    host: str,
    environ: Mapping[str, str],
    profiles: Mapping[str, SiteProfile],
    live: Mapping[str, Collection[str]],
) -> tuple[Match, ...]:
    """The sites that fit best; several when nothing tells them apart.

    What a profile says of its machines decides: a host that it names, or its variables, all of
    them. Else it is the running queues: a site fits when all queues of its profile are there,
    the better the more they are. One queue alone proves nothing ("debug" is everywhere). A
    profile that names other machines comes after those that name none: a site may tell the names
    of its compute nodes and not of its login nodes.

    Args:
        host: the full name of this one.
        environ: its variables.
        profiles: by name.
        live: batch system → the names of its running queues, where it answered.
    """
    marks = {name: _marks(each, host, environ) for name, each in profiles.items()}
    if any(marks.values()):
        return tuple(Match(name, "; ".join(why)) for name, why in marks.items() if why)
    for names_machines in (False, True):
        some = {n: p for n, p in profiles.items() if _names_machines(p) is names_machines}
        if found := _by_queues(some, live):
            but = f"; but its profile names other machines than {host}" if names_machines else ""
            return tuple(Match(each.site, each.why + but) for each in found)
    return ()


def _names_machines(profile: SiteProfile) -> bool:
    return bool(profile.site.hosts or profile.site.environment)


def _marks(profile: SiteProfile, host: str, environ: Mapping[str, str]) -> list[str]:
    """What of this machine the profile names."""
    asked = profile.site.environment
    hosts = [each for each in profile.site.hosts if fnmatchcase(host.lower(), each.lower())]
    found = [f"the host {host} is one of {pattern}" for pattern in hosts[:1]]
    if asked and all(environ.get(name) == value for name, value in asked.items()):
        found.append("the environment has " + ", ".join(f"{n}={v}" for n, v in asked.items()))
    return found


def _by_queues(
    profiles: Mapping[str, SiteProfile], live: Mapping[str, Collection[str]]
) -> list[Match]:
    sizes = {name: _fitting(each, live) for name, each in profiles.items()}
    most = max(sizes.values(), default=0)
    why = f"all {most} queues of its profile are those of the running batch system"
    return [Match(name, why) for name, size in sizes.items() if size == most >= 2]


def _fitting(profile: SiteProfile, live: Mapping[str, Collection[str]]) -> int:
    """How many queues a profile has, if all of them run; else 0."""
    there = live.get(profile.scheduler.kind, ())
    names = {each.partition or each.name for each in profile.queue} - {"none"}
    return len(names) if names <= set(there) else 0
