"""Directives of the embedded batch system: ``#EXA key=value``."""

from __future__ import annotations

import re

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value
from exa_cli.script.directives import Dialect, Directive, Layers

_PREFIX = "#EXA "
_LINE = re.compile(r"#EXA ([a-z_]+)=(.+)")


def _layers(ask: Ask) -> Layers:
    """It runs everything on this machine at once: nobody pays and no job waits for another."""
    absent = {
        "accounts": ask.account,
        "QOS": ask.qos,
        "filesystems to name": ask.filesystems,
        "chaining": ask.after,
    }
    for what, value in absent.items():
        if value:
            raise Invalid(
                f"the site's batch system has no {what}",
                where=value.origin,
                hint="leave it out on this site",
            )
    wanted: dict[str, Value | None] = {
        "name": ask.name,
        "nodes": ask.nodes,
        "walltime": ask.walltime,
        "kill_delay": ask.kill_delay,
        "begin": ask.begin,
    }
    return Layers(tuple(Directive(k, v.text, v.origin) for k, v in wanted.items() if v))


def _write(item: Directive) -> str:
    if not re.fullmatch(r"[a-z_]+", item.key) or not isinstance(item.value, str):
        raise Invalid(f"{item.key!r} cannot be a directive of site local", where=item.origin)
    return f"{_PREFIX}{item.key}={item.value}"


def _read(text: str, origin: str) -> Directive:
    found = _LINE.fullmatch(text)
    if not found:
        raise Invalid(f"{text!r} is no directive here", where=origin, hint="#EXA key=value")
    return Directive(found[1], found[2], origin, line=text)


LOCAL = Dialect(
    _PREFIX,
    _layers,
    _write,
    _read,
    ours={
        "name": "a run is named by --name",
        "nodes": "use resources.nodes or --nodes",
        "walltime": "use resources.walltime or --walltime",
    },
)
