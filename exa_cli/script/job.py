"""The job script of an attempt: from typed values to text, for every batch system."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base import marks, resources
from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.base.errors import Unreachable as _Unreachable
from exa_cli.script import quote
from exa_cli.script.directives import Directives, Line
from exa_cli.script.render import Block, Script, Template, Word, render
from exa_cli.sites.software import Modules

LIFE_TAKEN = 79
"""Exit status of a script whose life was taken by another copy of the same job started at
the same time: there is nothing to do and nothing went wrong."""

UNREACHABLE = _Unreachable.code
"""Exit status of a script that cannot write its run directory."""

LOOK = 70
"""Exit status of a script whose modules cannot be loaded: a person has to look."""


@dataclass(frozen=True)
class Variable:
    """A variable the script exports, and where it comes from; ``before``: its value is put
    before what the variable holds."""

    name: str
    value: str
    origin: str
    before: bool = False


@dataclass(frozen=True, kw_only=True)
class JobScript:
    """All that a job script says.

    Attributes:
        scheduler: the batch system: picks the template and how directives are written.
        directives: what is asked of it.
        run_dir: absolute.
        attempt: ``"001"``.
        tag: the attempt's tag, ``exa-RUNID-001``.
        python: absolute path of the interpreter that has exa.
        modules: what is loaded first, from `module_lines`.
        environment: what is exported beside the run's own two, in order.
        prologue: the user's own lines, before the supervisor takes over.
    """

    scheduler: str
    directives: Directives
    run_dir: Path
    attempt: str
    tag: str
    python: Path
    modules: tuple[Line, ...] = ()
    environment: tuple[Variable, ...] = ()
    prologue: tuple[Line, ...] = ()


def template_of(scheduler: str) -> Template:
    """The template of a batch system. Raises Invalid when there is none."""
    name = f"{scheduler}/job.sh.j2"
    try:
        return Template(f"templates/{name}", resources.read("templates", name))
    except FileNotFoundError as error:
        raise Invalid(f"there is no job script template for {scheduler!r}") from error


def job_script(job: JobScript) -> Script:
    """Render the script of an attempt. Raises Invalid for what no script can hold."""
    lives = job.run_dir / "attempts" / job.attempt / "lives"
    words = {
        "run_dir": Word(quote.path(job.run_dir, "the run directory"), "the run's directory"),
        "tag": Word(quote.word(job.tag), "the attempt's tag"),
        "lives": Word(quote.path(lives), "the run's directory"),
        "attempt": Word(quote.word(job.attempt), "the attempt"),
        "python": Word(quote.path(job.python, "the interpreter"), "the interpreter exa runs on"),
        "life_taken": Word(quote.word(str(LIFE_TAKEN)), "exa's exit codes"),
        "unreachable": Word(quote.word(str(UNREACHABLE)), "exa's exit codes"),
    }
    blocks = {
        "directives": Block(() if job.directives.document else job.directives.lines()),
        "modules": Block(job.modules),
        "environment": Block(exports(job.environment)),
        "prologue": Block(job.prologue),
    }
    script = render(template_of(job.scheduler), {**words, **blocks})
    if job.directives.document is None:
        return script
    return Script(job.directives.document(job.directives.items, script.lines))


def exports(variables: Iterable[Variable]) -> tuple[Line, ...]:
    """One export a variable. Raises Invalid with every fault: a mark of exa's, or given twice."""
    lines: list[Line] = []
    faults: list[ExaError] = []
    seen = dict.fromkeys(marks.ALL, "exa itself")
    for variable in variables:
        name = variable.name
        if name in marks.ALL or (name in seen and not variable.before):
            what = f"{name} is set by {seen[name]} already"
            faults.append(Invalid(what, where=variable.origin))
        seen.setdefault(name, variable.origin)
        try:
            write = quote.prepend if variable.before else quote.export
            lines.append(Line(write(name, variable.value), variable.origin))
        except Invalid as error:
            faults.append(Invalid(error.what, where=variable.origin, hint=error.hint))
    if faults:
        raise several(Invalid, faults)
    return tuple(lines)


def module_lines(modules: Modules, origin: Callable[[str], str]) -> tuple[Line, ...]:
    """What a site's modules take. A module that cannot be loaded ends the script, with its own
    words in the log: a run that went on without it would fail later and stranger.

    ``origin`` gives the place of a key of the table.
    """
    wanted: list[tuple[str, tuple[str, ...]]] = []
    if modules.purge:
        wanted.append(("purge", ("module", "purge")))
    wanted += [("use", ("module", "use", folder)) for folder in modules.use]
    wanted += [("load", ("module", "load", name)) for name in modules.load]
    return tuple(Line(f"{quote.command(argv)} || exit {LOOK}", origin(key)) for key, argv in wanted)
