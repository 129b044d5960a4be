"""Directives of Slurm: ``#SBATCH --key=value`` (sbatch(1); seen with 22.05).

sbatch reads them up to the first command of the script and ignores later ones in silence.
"""

from __future__ import annotations

import re
import shlex

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value, local_time
from exa_cli.script.directives import Dialect, Directive, Layers, said
from exa_cli.script.quote import sbatch_value

_PREFIX = "#SBATCH "
_LONGEST_NOTICE_S = 65535
_SHORT = {
    "A": "account", "B": "extra-node-info", "C": "constraint", "D": "chdir", "F": "nodefile",
    "G": "gpus", "H": "hold", "I": "immediate", "J": "job-name", "L": "licenses",
    "M": "clusters", "N": "nodes", "O": "overcommit", "Q": "quiet", "S": "core-spec",
    "W": "wait", "a": "array", "b": "begin", "c": "cpus-per-task", "d": "dependency",
    "e": "error", "i": "input", "k": "no-kill", "m": "distribution", "n": "ntasks",
    "o": "output", "p": "partition", "q": "qos", "s": "oversubscribe", "t": "time",
    "v": "verbose", "w": "nodelist", "x": "exclude",
}  # fmt: skip
_OPTION = re.compile(
    r"--(?P<key>[a-z][a-z0-9-]*)(=(?P<value>.*))?|-(?P<short>[A-Za-z])(?P<rest>.*)"
)

_OURS = {
    "job-name": "a run is named by --name; exa finds its jobs by the name it gives them",
    "nodes": "use resources.nodes or --nodes: the plan depends on it",
    "ntasks": "use parallel.ranks_per_node: the plan depends on it",
    "ntasks-per-node": "use parallel.ranks_per_node: the plan depends on it",
    "time": "use resources.walltime or --walltime: the supervisor watches it",
    "array": "a run is one job; submit several runs",
    "wrap": "[script] prologue holds commands",
    "test-only": "exa submit --dry-run submits nothing",
    "hold": "submit it when it may start",
    "wait": "use exa submit --wait",
}


def _layers(ask: Ask) -> Layers:
    """A killed job starts again under the same id and appends to its output: without
    ``open-mode`` Slurm empties the file. The notice goes to the batch shell, which has become
    the supervisor by then. The job does not inherit the submitter's environment; it gets that
    of a login, so that it is the same job whoever submits it from wherever."""
    if ask.filesystems:
        raise Invalid(
            "Slurm has no word for the filesystems of a job",
            where=ask.filesystems.origin,
            hint='where a site counts them as licences, its profile says licenses = "…"',
        )
    derived = [
        said("job-name", ask.name),
        said("nodes", ask.nodes),
        Directive("no-kill", True, "run file: there are spares for a node that fails")
        if ask.spares
        else None,
        said("ntasks-per-node", ask.ranks_per_node),
        said("cpus-per-task", ask.cpus_per_rank),
        said("gpus-per-node", ask.gpus_per_node),
        said("time", ask.walltime),
        said("chdir", ask.workdir),
        said("output", _file_pattern(ask.folder)),
        Directive("open-mode", "append", "exa: a restart must not empty the output"),
        Directive("export", "NONE", "exa: a job does not depend on who submits it from where"),
        said("signal", _notice(ask.notice_s)),
        _requeue(ask.requeue),
        said("exclude", ask.exclude),
        said("begin", local_time(ask.begin, "%Y-%m-%dT%H:%M:%S")),
        said("dependency", ask.after and Value(f"afterany:{ask.after.text}", ask.after.origin)),
    ]
    chosen = [
        said("account", ask.account),
        said("partition", ask.partition),
        said("qos", ask.qos),
    ]
    return Layers(tuple(d for d in derived if d), tuple(d for d in chosen if d))


def _requeue(wanted: Value | None) -> Directive:
    if wanted and wanted.text == "yes":
        return Directive("requeue", True, wanted.origin)
    origin = wanted.origin if wanted else "exa: a job comes back only where the site is known to"
    return Directive("no-requeue", True, origin)


def _notice(before: Value | None) -> Value | None:
    if before is None:
        return None
    if not 0 < int(before.text) <= _LONGEST_NOTICE_S:
        raise Invalid(
            f"Slurm cannot give notice {before.text} s before the end of a job",
            where=before.origin,
            hint=f"policy.stop_before: at most {_LONGEST_NOTICE_S} s, more than none",
        )
    return Value(f"B:USR1@{before.text}", before.origin)


def _file_pattern(folder: Value) -> Value:
    """A path in which only our own ``%j`` means something. A backslash would switch ``%j`` off."""
    if "\\" in folder.text:
        raise Invalid(
            f"Slurm cannot write into a directory with a backslash in its name: {folder.text}",
            where=folder.origin,
            hint="choose another directory for the runs",
        )
    return Value(folder.text.replace("%", "%%") + "/slurm-%j.out", folder.origin)


def _write(item: Directive) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", item.key):
        raise Invalid(f"{item.key!r} cannot be an option of sbatch", where=item.origin)
    if item.value is True:
        return f"{_PREFIX}--{item.key}"
    return f"{_PREFIX}--{item.key}={sbatch_value(str(item.value), f'--{item.key}')}"


def _read(text: str, origin: str) -> Directive:
    if not text.startswith(_PREFIX):
        raise Invalid(
            f"Slurm would not read this line of the header: {text!r}",
            where=origin,
            hint=f"write {_PREFIX}--key=value; commands go into [script] prologue",
        )
    try:
        words = shlex.split(text[len(_PREFIX) :], comments=True)
    except ValueError as error:
        raise Invalid(f"{text!r}: {error}", where=origin, hint="close the quotes") from error
    key, value, more = _option(words)
    if key is None or more:
        hint = f"one option a line: {_PREFIX}--key=value, {_PREFIX}--key or {_PREFIX}-k value"
        raise Invalid(f"{text!r} is not one option of sbatch", where=origin, hint=hint)
    if full := [known for known in _OURS if known.startswith(key) and known != key]:
        hint = f"write it in full, so that nobody takes it for {' or '.join(full)}"
        if key not in _SHORT.values():
            raise Invalid(f"{text!r} abbreviates an option", where=origin, hint=hint)
    return Directive(key, value if value is not None else True, origin, line=text)


def _option(words: list[str]) -> tuple[str | None, str | None, list[str]]:
    """The long name of an option, its value, and the words after it."""
    found = _OPTION.fullmatch(words[0]) if words else None
    if found is None:
        return None, None, words
    key = found["key"] or _SHORT.get(found["short"])
    value = found["value"] if found["key"] else found["rest"] or None
    rest = words[1:]
    if value is None and rest and not rest[0].startswith("-"):
        value, *rest = rest
    return key, value, rest


def _slot(key: str) -> str:
    return "requeue" if key == "no-requeue" else key


SLURM = Dialect(_PREFIX, _layers, _write, _read, ours=_OURS, slot=_slot)
