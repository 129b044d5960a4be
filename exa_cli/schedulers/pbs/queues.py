"""What ``qstat -Q -f`` prints, each queue after ``Queue: NAME``. Pure: text in, queues out; nothing
raises."""

from __future__ import annotations

from exa_cli.schedulers.pbs.blocks import blocks
from exa_cli.schedulers.pbs.read import duration
from exa_cli.schedulers.queues import LiveQueue, whole

_BEGIN = "Queue: "


def queues(text: str) -> tuple[LiveQueue, ...]:
    """The queues in the order in which they stand there."""
    found = [(head, said) for head, said in blocks(text) if head.startswith(_BEGIN)]
    return tuple(_queue(head.removeprefix(_BEGIN), said) for head, said in found)


def _queue(name: str, said: dict[str, str]) -> LiveQueue:
    shut = [f"{key} = {said[key]}" for key in ("enabled", "started") if said.get(key) == "False"]
    return LiveQueue(
        name=name,
        closed=", ".join(shut),
        min_nodes=whole(said.get("resources_min.nodect")),
        max_nodes=whole(said.get("resources_max.nodect")),
        walltime_s=duration(said.get("resources_max.walltime")),
        routes=tuple(filter(None, map(_bare, said.get("route_destinations", "").split(",")))),
    )


def _bare(destination: str) -> str:
    """A destination without its server: ``small@pbs-head`` is ``small``."""
    return destination.partition("@")[0].strip()
