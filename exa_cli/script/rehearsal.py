"""A script's modules, variables and prologue alone, to be tried before it is submitted. Pure.

A job whose modules do not load, or whose interpreter has no exa there, waits in the queue for
hours to fail in its first second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exa_cli.script import quote
from exa_cli.script.directives import Line
from exa_cli.script.job import JobScript, exports

DONE = "exa is there"
"""What a rehearsal that got to its end prints last."""


@dataclass(frozen=True)
class Rehearsal:
    """What to run. ``stages`` are the origins of what can fail, by the number it writes into
    the file named by its first argument before it is tried."""

    text: str
    stages: tuple[str, ...]

    def stage(self, noted: str) -> str | None:
        """The origin of the stage that a number, as it was noted, stands for."""
        number = int(noted) if noted.strip().isdecimal() else len(self.stages)
        return self.stages[number] if number < len(self.stages) else None


def rehearsal(job: JobScript) -> Rehearsal | None:
    """The rehearsal of a script; None when it has no modules and no prologue: nothing can fail
    that has not worked in this process."""
    if not job.modules and not job.prologue:
        return None
    steps: list[tuple[str, tuple[Line, ...]]] = [(m.origin, (m,)) for m in job.modules]
    text = ["exa_stage=$1"]
    if job.prologue:
        steps.append((job.prologue[0].origin, (*exports(job.environment), *job.prologue)))
    for number, (_, lines) in enumerate(steps):
        text += [f'echo {number} >"$exa_stage"', *(line.text for line in lines)]
    ending = (str(job.python), "-c", f"import exa_cli; print({DONE!r})")
    text += [f'echo {len(steps)} >"$exa_stage"', "exec " + quote.command(ending)]
    stages = (*(origin for origin, _ in steps), f"import exa_cli by {job.python}")
    return Rehearsal("\n".join(text) + "\n", stages)


def environment(home: Path, user: str, shell: str) -> dict[str, str]:
    """What a batch system gives a job of whoever submits it; a login shell adds the rest."""
    return {"HOME": str(home), "USER": user, "LOGNAME": user, "SHELL": shell}
