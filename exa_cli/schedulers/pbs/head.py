"""What of a script's ``#PBS`` lines exa itself relies on. Pure.

PBS is the one who reads them. But a job is found again by its name, so the script must say the
name that exa looks for, before its first command.
"""

from __future__ import annotations

import re

from exa_cli.base.errors import Refused

NAME = r"[A-Za-z][A-Za-z0-9+._-]*"

LONGEST_NAME = 230
"""Recorded: 231 characters are refused (openpbs/16b)."""


def check(script: str, name: str) -> str:
    """Refuse a script whose job could not be found again. Returns what to mind, or "".

    Raises Refused.
    """
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        hint = f"a letter, then letters, digits and + . _ -, at most {LONGEST_NAME} characters"
        raise Refused(f"{name[:80]!r} cannot be the name of a job", hint=hint)
    said, ignored = _read(script)
    if said != name:
        raise Refused(f"the script names its job {said!r}, not {name!r}")
    if not ignored:
        return ""
    lines = ", ".join(map(str, ignored))
    return f"PBS ignores #PBS after the first command: line {lines} of the script"


def _read(script: str) -> tuple[str | None, list[int]]:
    """The name that the script's head gives, and the lines of directives that PBS passes over."""
    name: str | None = None
    ignored: list[int] = []
    at_head = True
    for number, line in enumerate(script.split("\n"), start=1):
        text = line.strip()
        if text.startswith("#PBS") and not at_head:
            ignored.append(number)
        elif found := re.match(r"#PBS\s*-N\s*(\S+)", text):
            name = found[1].strip("\"'")
        # Blank lines and comments do not end the head; a line of nothing but ":" does not either.
        at_head = at_head and (text in ("", ":") or text.startswith("#"))
    return name, ignored
