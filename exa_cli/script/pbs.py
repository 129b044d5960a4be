"""Directives of PBS: ``#PBS -X value`` (qsub(1B) of OpenPBS 23 and PBS Professional).

The key of a directive is what it is called in PBS:

| key | line |
|---|---|
| a letter: ``A``, ``q``, ``k`` | ``#PBS -A value`` |
| a resource of the job: ``walltime``, ``place``, ``filesystems`` | ``#PBS -l walltime=value`` |
| a resource of each chunk, after a colon: ``:ngpus`` | joined to ``#PBS -l select=N:ngpus=value`` |
| an attribute: ``W depend`` | ``#PBS -W depend=value`` |

A chunk is one whole node. PBS has no word for a notice before the walltime's end: the supervisor
counts the time down itself, on every batch system.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value, local_time, product
from exa_cli.script.directives import Dialect, Directive, Layers, said
from exa_cli.script.quote import qsub_value

_PREFIX = "#PBS "
_FLAGS = frozenset("hVzIX")
"""Options without a value."""

_OURS = {
    "N": "a run is named by --name; exa finds its jobs by the name it gives them",
    "select": "use resources.nodes or --nodes, and keys such as :ngpus for what a chunk has",
    "nodes": "use resources.nodes or --nodes: the plan depends on it",
    "ncpus": "use the key :ncpus: a chunk is a node",
    "walltime": "use resources.walltime or --walltime: the supervisor watches it",
    "J": "a run is one job; submit several runs",
    "I": "exa submits jobs that run by themselves",
    "X": "exa submits jobs that run by themselves",
    "C": "exa writes its directives with #PBS",
    "h": "submit it when it may start",
    "z": "exa needs the job's id",
    "S": "the script chooses its own shell",
    "V": "a job does not depend on who submits it from where; [env] names variables",
    "v": "use [env]: of several -v PBS keeps the last, and it mangles quotes and commas",
    "W block": "use exa submit --wait",
    "W umask": "[script] prologue may set the umask",
    "W sandbox": "a job starts in its run's directory",
}


def _layers(ask: Ask) -> Layers:
    """Output goes straight to its place (``-k doe``): copied there after the job, as is usual,
    it gets lost where nodes cannot reach the submitting host."""
    if ask.qos:
        raise Invalid("PBS has no QOS", where=ask.qos.origin, hint="leave it out")
    chunk = {
        ":ncpus": product(ask.cpus_per_rank, ask.ranks_per_node),
        ":mpiprocs": ask.ranks_per_node,
        ":ngpus": ask.gpus_per_node,
    }
    derived = [
        said("N", ask.name),
        said("select", ask.nodes),
        *(said(key, value) for key, value in chunk.items()),
        Directive("place", "scatter", "exa: a chunk is a node"),
        said("walltime", ask.walltime),
        said("filesystems", ask.filesystems),
        Directive("j", "oe", "exa: one file for all that the script prints"),
        Directive("k", "doe", "exa: output is written where it belongs, not copied there later"),
        said("o", _output(ask.folder)),
        _requeue(ask.requeue),
        said("a", local_time(ask.begin, "%Y%m%d%H%M.%S")),
        said("W depend", ask.after and Value(f"afterany:{ask.after.text}", ask.after.origin)),
    ]
    chosen = [said("A", ask.account), said("q", ask.partition)]
    return Layers(tuple(d for d in derived if d), tuple(d for d in chosen if d))


def _requeue(wanted: Value | None) -> Directive:
    """PBS's own default is to start a job again."""
    if wanted and wanted.text == "yes":
        return Directive("r", "y", wanted.origin)
    origin = wanted.origin if wanted else "exa: a job comes back only where the site is known to"
    return Directive("r", "n", origin)


def _output(folder: Value) -> Value:
    """PBS names the file after the job. A colon would make a host of what stands before it."""
    if ":" in folder.text:
        raise Invalid(
            f"PBS cannot write into a directory with a colon in its name: {folder.text}",
            where=folder.origin,
            hint="choose another directory for the runs",
        )
    return Value(f"{folder.text}/", folder.origin)


def _chunks(items: Iterable[Directive]) -> tuple[Directive, ...]:
    """Chunk resources joined to the select statement."""
    kept = list(items)
    chunk = [item for item in kept if item.key.startswith(":")]
    joined = "".join(f"{item.key}={_chunk_value(item)}" for item in chunk)
    origin = "; ".join(dict.fromkeys(item.origin for item in chunk))
    return tuple(
        replace(item, value=f"{item.value}{joined}", origin=f"{item.origin}; {origin}")
        if item.key == "select" and chunk
        else item
        for item in kept
        if not item.key.startswith(":")
    )


def _chunk_value(item: Directive) -> str:
    if not isinstance(item.value, str) or not re.fullmatch(r"[A-Za-z0-9_.,-]+", item.value):
        raise Invalid(
            f"{item.value!r} cannot be a value in a select statement",
            where=item.origin,
            hint="letters, digits and _ . , -",
        )
    return item.value


def _write(item: Directive) -> str:
    if item.value is True:
        if item.key not in _FLAGS:
            raise Invalid(f"PBS wants a value for {item.key!r}", where=item.origin)
        return f"{_PREFIX}-{item.key}"
    value = qsub_value(str(item.value), f"the directive {item.key}")
    if re.fullmatch(r"[A-Za-z]", item.key):
        return f"{_PREFIX}-{item.key} {value}"
    if found := re.fullmatch(r"W ([a-z_]+)", item.key):
        return f"{_PREFIX}-W {found[1]}={value}"
    if re.fullmatch(r"[a-z][A-Za-z0-9_]+", item.key):
        return f"{_PREFIX}-l {item.key}={value}"
    raise Invalid(
        f"{item.key!r} cannot be a directive of PBS",
        where=item.origin,
        hint="a letter (A), a resource (place), a chunk's (:ngpus), or an attribute (W depend)",
    )


def _read(text: str, origin: str) -> Directive:
    """PBS refuses or misreads a trailing comment and a line that goes on in the next
    (recordings: openpbs/13), so those are not let through."""
    if not text.startswith(_PREFIX):
        raise Invalid(
            f"PBS would not read this line of the header: {text!r}",
            where=origin,
            hint=f"write {_PREFIX}-X value; commands go into [script] prologue",
        )
    try:
        words = shlex.split(text[len(_PREFIX) :])
    except ValueError as error:
        raise Invalid(f"{text!r}: {error}", where=origin, hint="close the quotes") from error
    found = re.fullmatch(r"-([A-Za-z])(.*)", words[0], re.DOTALL) if words else None
    if found is None:
        raise _not_one(text, origin)
    letter, rest = found[1], [found[2], *words[1:]] if found[2] else words[1:]
    if letter in _FLAGS and not rest:
        return Directive(letter, True, origin, line=text)
    if len(rest) != 1 or rest[0].startswith("-"):
        raise _not_one(text, origin)
    if letter in "lW":
        return _of_list(letter, rest[0], text, origin)
    return Directive(letter, rest[0], origin, line=text)


def _of_list(letter: str, pair: str, text: str, origin: str) -> Directive:
    """One resource or attribute. A comma before a name and ``=`` would begin another."""
    name, equals, value = pair.partition("=")
    if not equals or re.search(r",\s*[A-Za-z_]\w*=", value):
        raise _not_one(text, origin)
    return Directive(name if letter == "l" else f"W {name}", value, origin, line=text)


def _not_one(text: str, origin: str) -> Invalid:
    hint = f"one option a line and no comment behind it: {_PREFIX}-X value, {_PREFIX}-l name=value"
    return Invalid(f"{text!r} is not one option of qsub", where=origin, hint=hint)


PBS = Dialect(_PREFIX, _layers, _write, _read, ours=_OURS, join=_chunks)
