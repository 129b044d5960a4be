"""What ``qstat -Q -f`` prints. Pure: text in, queues out; nothing raises.

A queue is a line ``Queue: NAME`` and lines ``    name = value``; a value that goes on begins its
next line with a tab (recordings: openpbs/00).
"""

from __future__ import annotations

import re

from exa_cli.schedulers.queues import LiveQueue, whole

_ATTRIBUTE = re.compile(r" {4}([A-Za-z_.]+) = (.*)")
_TIME = re.compile(r"(\d{1,5}):(\d\d):(\d\d)", re.ASCII)


def queues(text: str) -> tuple[LiveQueue, ...]:
    """The queues in the order in which they stand there."""
    blocks = re.split(r"^Queue: ", text.replace("\n\t", ""), flags=re.MULTILINE)[1:]
    found = ((lines[0].strip(), lines[1:]) for block in blocks if (lines := block.splitlines()))
    return tuple(_queue(name, lines) for name, lines in found if name)


def _queue(name: str, lines: list[str]) -> LiveQueue:
    said = {each[1]: each[2].strip() for line in lines if (each := _ATTRIBUTE.fullmatch(line))}
    shut = [f"{key} = {said[key]}" for key in ("enabled", "started") if said.get(key) == "False"]
    return LiveQueue(
        name=name,
        closed=", ".join(shut),
        min_nodes=whole(said.get("resources_min.nodect")),
        max_nodes=whole(said.get("resources_max.nodect")),
        walltime_s=_seconds(said.get("resources_max.walltime", "")),
        routes=tuple(filter(None, map(_bare, said.get("route_destinations", "").split(",")))),
    )


def _bare(destination: str) -> str:
    """A destination without its server: ``small@pbs-head`` is ``small``."""
    return destination.partition("@")[0].strip()


def _seconds(text: str) -> int | None:
    found = _TIME.fullmatch(text)
    return None if found is None else int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
