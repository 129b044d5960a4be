"""The ``#EXA key=value`` lines at the head of a script: the only place a request is read from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from exa_cli.base.errors import Refused
from exa_cli.spec import times

PREFIX = "#EXA"
KEYS = ("name", "nodes", "walltime", "kill_delay", "begin")
DEFAULT_KILL_DELAY = 10.0
"""Seconds; what a PBS server does when its queue sets none."""


@dataclass(frozen=True)
class Demand:
    """What a script asks for.

    Attributes:
        name: the job's name.
        nodes: virtual nodes; recorded, not enforced: all of them are this machine.
        walltime: seconds, or None for no limit.
        kill_delay: seconds from SIGTERM to SIGKILL.
        begin: seconds since the epoch before which it does not start.
    """

    name: str
    nodes: int = 1
    walltime: float | None = None
    kill_delay: float = DEFAULT_KILL_DELAY
    begin: int = 0


def read(script: str) -> Demand:
    """The demand of a script. Raises Refused for what cannot be understood or is misplaced."""
    if not script.startswith("#!"):
        raise Refused("the script has no interpreter line", hint="begin it with #!/bin/bash")
    found: dict[str, Any] = {}
    at_head = True
    for number, line in enumerate(script.splitlines(), start=1):
        if line.startswith(PREFIX + " "):
            if not at_head:
                raise _refused(number, f"{line!r} stands after the first command")
            key, value = _pair(number, line)
            if key in found:
                raise _refused(number, f"{key} is given twice")
            found[key] = value
        at_head = at_head and (not line.strip() or line.startswith("#"))
    if "name" not in found:
        raise Refused(f"the script has no {PREFIX} name=… line")
    return Demand(**found)


def _pair(number: int, line: str) -> tuple[str, Any]:
    key, equals, value = line[len(PREFIX) :].strip().partition("=")
    if not equals or key not in KEYS:
        raise _refused(number, f"{line!r} is no directive; there are: {', '.join(KEYS)}")
    try:
        return key, _VALUES[key](value)
    except ValueError as error:
        raise _refused(number, f"{key}={value}: {error}") from error


def _refused(number: int, what: str) -> Refused:
    return Refused(what, where=f"line {number} of the script")


def _name(value: str) -> str:
    if not re.fullmatch(r"[^\s/\0]{1,230}", value):
        raise ValueError("a name has 1 to 230 characters, none of them blank or /")
    return value


def _nodes(value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", value):
        raise ValueError("expected a whole number from 1 on")
    return int(value)


def _walltime(value: str) -> float:
    if not re.fullmatch(times.PATTERN, value) or times.seconds(value) == 0:
        raise ValueError("expected HH:MM:SS, more than zero")
    return float(times.seconds(value))


def _delay(value: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value):
        raise ValueError("expected seconds, for example 10 or 0.5")
    return float(value)


def _time(value: str) -> int:
    if not re.fullmatch(r"\d{1,11}", value):
        raise ValueError("expected seconds since the epoch")
    return int(value)


_VALUES = {
    "name": _name,
    "nodes": _nodes,
    "walltime": _walltime,
    "kill_delay": _delay,
    "begin": _time,
}
