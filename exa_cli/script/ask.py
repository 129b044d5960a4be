"""From what a run asks for to the directives of each batch system, every value with its origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exa_cli.base.errors import Invalid
from exa_cli.script.directives import Directive, Directives, directives


@dataclass(frozen=True)
class Value:
    """A value and where it comes from."""

    text: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One job, in words that are the same for every batch system.

    ``walltime`` is HH:MM:SS. ``kill_delay`` is in seconds, None where the site does not say.
    ``queue`` and ``account`` are None where neither the user nor the site names one.
    """

    name: Value
    nodes: Value
    walltime: Value
    kill_delay: Value | None = None
    queue: Value | None = None
    account: Value | None = None


def _local(ask: Ask) -> list[Directive]:
    if ask.account:
        raise Invalid(
            "the site's batch system has no accounts",
            where=ask.account.origin,
            hint="leave the account out on this site",
        )
    wanted = {
        "name": ask.name,
        "nodes": ask.nodes,
        "walltime": ask.walltime,
        "kill_delay": ask.kill_delay,
    }
    return [Directive(key, value.text, value.origin) for key, value in wanted.items() if value]


_ASKED: dict[str, Callable[[Ask], list[Directive]]] = {"local": _local}


def directives_of(scheduler: str, ask: Ask) -> Directives:
    """The directives of a job. Raises Invalid for what the batch system cannot express."""
    if scheduler not in _ASKED:
        raise Invalid(f"no directives are known for the batch system {scheduler!r}")
    return directives(_ASKED[scheduler](ask))
