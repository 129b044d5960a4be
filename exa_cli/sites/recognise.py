"""Which site a machine belongs to, by what a profile says of its hosts and by the queues. Pure."""

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
    host: str, profiles: Mapping[str, SiteProfile], live: Mapping[str, Collection[str]]
) -> tuple[Match, ...]:
    """The sites that fit best; several when nothing tells them apart.

    A host that a profile names decides. Else it is the running queues: a site fits when all
    queues of its profile are there, the better the more they are. One queue alone proves
    nothing ("debug" is everywhere), and a profile that names other hosts is of another machine.

    Args:
        host: the full name of this one.
        profiles: by name.
        live: batch system → the names of its running queues, where it answered.
    """
    named = [match for name, each in profiles.items() if (match := _by_host(name, each, host))]
    if named:
        return tuple(named)
    open_ones = {name: each for name, each in profiles.items() if not each.site.hosts}
    sizes = {name: _fitting(each, live) for name, each in open_ones.items()}
    most = max(sizes.values(), default=0)
    if most < 2:
        return ()
    return tuple(_by_queues(name, size) for name, size in sizes.items() if size == most)


def _by_host(name: str, profile: SiteProfile, host: str) -> Match | None:
    for pattern in profile.site.hosts:
        if fnmatchcase(host.lower(), pattern.lower()):
            return Match(name, f"the host {host} is one of {pattern}")
    return None


def _by_queues(name: str, size: int) -> Match:
    return Match(name, f"all {size} queues of its profile are those of the running batch system")


def _fitting(profile: SiteProfile, live: Mapping[str, Collection[str]]) -> int:
    """How many queues a profile has, if all of them run; else 0."""
    there = live.get(profile.scheduler.kind, ())
    names = {each.partition or each.name for each in profile.queue} - {"none"}
    return len(names) if names <= set(there) else 0
