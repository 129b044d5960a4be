"""The request of a GPULab job: JSON, whose container command is the job script.

A directive's key is the path of a field within the request (``resources.cpus``), or ``name``,
``description`` and ``owner.projectUrn`` beside it. Fields and their types: the job schema of
imecilabt-gpulab-common 6.0.16 (schemas/job2.py); the service refuses any other field.
"""

from __future__ import annotations

import json
from typing import Any

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value, product
from exa_cli.script.directives import Dialect, Directive, Layers, Line, said
from exa_cli.spec import times
from exa_cli.spec.declare import nearest

FIELDS: dict[str, type] = {
    "name": str,
    "description": str,
    "owner.projectUrn": str,
    "resources.cpus": int,
    "resources.gpus": int,
    "resources.cpuMemoryGb": int,
    "resources.gpuMemoryGb": int,
    "resources.gpuModel": list,
    "resources.features": list,
    "resources.minCudaVersion": int,
    "resources.clusterId": int,
    "resources.slaveName": str,
    "resources.slaveInstanceId": str,
    "docker.image": str,
    "docker.command": list,
    "docker.storage": list,
    "docker.workingDir": str,
    "docker.user": str,
    "docker.groupAdd": list,
    "docker.projectGidVariableName": str,
    "scheduling.interactive": bool,
    "scheduling.minDuration": str,
    "scheduling.maxDuration": str,
    "scheduling.restartable": bool,
    "scheduling.allowHaltWithoutSignal": bool,
    "scheduling.reservationIds": list,
    "scheduling.notBefore": str,
    "scheduling.notAfter": str,
    "extra.emailOnQueue": list,
    "extra.emailOnRun": list,
    "extra.emailOnEnd": list,
    "extra.emailOnHalt": list,
    "extra.emailOnRestart": list,
}
"""A field → its type. A list is written with commas."""

_OUTSIDE = ("name", "description", "owner")

_OURS = {
    "name": "a run is named by --name; exa finds its jobs by the name it gives them",
    "docker.command": "[script] prologue holds commands; the container runs exa's script",
    "scheduling.interactive": "exa submits jobs that run by themselves",
    "scheduling.maxDuration": "use resources.walltime or --walltime: the supervisor watches it",
}


def _layers(ask: Ask) -> Layers:
    """One container on one worker is all there is: nobody can ask for more nodes."""
    if int(ask.nodes.text) != 1:
        raise Invalid(
            f"GPULab runs a job in one container on one worker, not on {ask.nodes.text} nodes",
            where=ask.nodes.origin,
            hint="--nodes 1; its request has no field for more, and exa starts no second job",
        )
    absent = {
        "QOS": ask.qos,
        "queues": ask.partition,
        "filesystems to name": ask.filesystems,
        "chaining": ask.after,
        "times to begin at": ask.begin,
    }
    for what, value in absent.items():
        if value:
            raise Invalid(f"GPULab has no {what}", where=value.origin, hint="leave it out")
    lasts = Value(_duration(ask.walltime), ask.walltime.origin)
    derived = [
        said("name", ask.name),
        said("resources.cpus", product(ask.cpus_per_rank, ask.ranks_per_node)),
        said("resources.gpus", ask.gpus_per_node or Value("0", "exa: no GPU is asked for")),
        said("docker.workingDir", Value(f"{ask.workdir.text}/", ask.workdir.origin)),
        said("scheduling.minDuration", lasts),
        said("scheduling.maxDuration", lasts),
        _restartable(ask.requeue),
    ]
    chosen = [said("owner.projectUrn", ask.account)]
    return Layers(tuple(d for d in derived if d), tuple(d for d in chosen if d))


def _duration(walltime: Value) -> str:
    """In whole minutes, at least one: what the service takes."""
    return f"{max(1, -(-times.seconds(walltime.text) // 60))} minutes"


def _restartable(wanted: Value | None) -> Directive:
    """A halted job is queued again by the service, and its next life resumes."""
    if wanted is None:
        return Directive("scheduling.restartable", "false", "exa: not unless the site says so")
    text = "true" if wanted.text == "yes" else "false"
    return Directive("scheduling.restartable", text, wanted.origin)


def _typed(item: Directive) -> Any:
    """A directive's value as its field has it. Raises Invalid."""
    kind = FIELDS.get(item.key)
    if kind is None:
        raise Invalid(
            f"a GPULab request has no field {item.key!r}",
            where=item.origin,
            hint=nearest(item.key, FIELDS),
        )
    if kind is bool and isinstance(item.value, bool):
        return item.value
    text = str(item.value)
    if kind is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and text.isascii() and text.isdecimal():
        return int(text)
    if kind is str and isinstance(item.value, str):
        return text
    names = {int: "a whole number", bool: "true or false", str: "text"}
    raise Invalid(f"{item.key} = {item.value!r} must be {names[kind]}", where=item.origin)


def _write(item: Directive) -> str:
    return f"{item.key} = {json.dumps(_typed(item))}"


def _read(text: str, origin: str) -> Directive:
    key, equals, value = text.partition("=")
    if not equals or not value.strip():
        hint = "one field a line: resources.gpuModel = A100,V100"
        raise Invalid(f"{text!r} is no field of a request", where=origin, hint=hint)
    return Directive(key.strip(), value.strip(), origin)


def _document(items: tuple[Directive, ...], script: tuple[Line, ...]) -> tuple[Line, ...]:
    """The request, a field a line, each with its origin."""
    body = "".join(line.text + "\n" for line in script)
    fields = {item.key: (_typed(item), item.origin) for item in items}
    fields["docker.command"] = (["/bin/bash", "-l", "-c", body], script[0].origin)
    inner = {k: v for k, v in fields.items() if k.split(".")[0] not in _OUTSIDE}
    outer = {k: v for k, v in fields.items() if k not in inner}
    tree = {**_nested(outer), "request": _nested(inner)}
    return tuple(_lines(tree))


def _nested(fields: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, leaf in fields.items():
        *path, name = key.split(".")
        at = tree
        for part in path:
            at = at.setdefault(part, {})
        at[name] = leaf
    return tree


def _lines(tree: dict[str, Any], depth: int = 0) -> list[Line]:
    """JSON, indented. A leaf is a value and its origin."""
    blank, made = "  " * depth, [Line("{", "the form of a request")]
    for number, (name, value) in enumerate(tree.items(), start=1):
        comma = "," if number < len(tree) else ""
        head = f"{blank}  {json.dumps(name)}: "
        if isinstance(value, dict):
            first, *middle, last = _lines(value, depth + 1)
            made += [Line(head + first.text, first.origin), *middle]
            made.append(Line(last.text + comma, last.origin))
        else:
            made.append(Line(f"{head}{json.dumps(value[0])}{comma}", value[1]))
    return [*made, Line(f"{blank}}}", "the form of a request")]


GPULAB = Dialect("#GPULAB ", _layers, _write, _read, ours=_OURS, document=_document)
