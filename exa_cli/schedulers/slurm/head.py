"""What of a script's ``#SBATCH`` lines exa itself relies on. Pure.

Slurm is the one who reads them. But a job is found again by its name, so the script must say
the name exa looks for, and it must go to the cluster exa asks.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from exa_cli.base.errors import Refused

PREFIX = "#SBATCH"

NAME = r"[A-Za-z0-9][A-Za-z0-9_.+=@-]*"
"""Names that every command takes as they are: squeue reads a list at commas, and ``%x`` of an
output path makes a directory of a slash (recorded)."""

LONGEST_NAME = 1024
"""Recorded: 1025 characters are refused."""


@dataclass(frozen=True)
class Head:
    """The name a script gives its job, and the ``#SBATCH`` lines that Slurm will not see."""

    name: str | None
    ignored: tuple[int, ...] = ()


def read(script: str) -> Head:
    """Read a script's head. Raises Refused for one that goes to another cluster."""
    name: str | None = None
    ignored: list[int] = []
    at_head = True
    for number, line in enumerate(script.split("\n"), start=1):
        directive = re.match(rf"{PREFIX}\s", line)
        if directive and not at_head:
            ignored.append(number)
        elif directive:
            name = _name(_words(line), number) or name
        at_head = at_head and (not line.strip() or line.startswith("#"))
    return Head(name, tuple(ignored))


def check(script: str, name: str) -> str:
    """Refuse a script whose job could not be found again. Returns what to mind, or "".

    Raises Refused.
    """
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        hint = f"letters, digits and _ . + = @ -, at most {LONGEST_NAME} characters"
        raise Refused(f"{name[:80]!r} cannot be the name of a job", hint=hint)
    head = read(script)
    if head.name != name:
        raise Refused(f"the script names its job {head.name!r}, not {name!r}")
    if not head.ignored:
        return ""
    lines = ", ".join(map(str, head.ignored))
    return f"Slurm ignores {PREFIX} after the first command: line {lines} of the script"


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line[len(PREFIX) :], comments=True)
    except ValueError:
        return []  # sbatch will say what is wrong with it


def _name(words: list[str], number: int) -> str | None:
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        key, equals, value = word.partition("=")
        if key in ("--clusters", "--cluster") or word.startswith("-M"):
            raise Refused(
                "the script goes to a cluster of its own choice",
                where=f"line {number} of the script",
                hint="exa asks the cluster that the commands ask by themselves; leave it out",
            )
        if key == "--job-name":
            found = value if equals else following
        elif word.startswith("-J"):
            found = word[2:] or following
    return found
