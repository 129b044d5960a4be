"""Quoting for shells and directives: the only place where text becomes shell text.

Anything made here is safe for what it is made for, or refused with the reason. Tested by
running it through a real bash.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NewType

from exa_cli.base.errors import Invalid

Shell = NewType("Shell", str)
"""Text that a shell reads as exactly what was meant. Only this module makes it."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def _encodable(text: str, what: str) -> str:
    """The text, if a script in UTF-8 can hold it."""
    if "\0" in text:
        raise Invalid(f"{what} holds a NUL byte: {text!r}", hint="no shell can pass one on")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{what} is not valid UTF-8: {text!r}", hint="rename it") from error
    return text


def word(text: str, what: str = "a value") -> Shell:
    """One word of a command line, whatever it holds, newlines too.

    A leading dash stays one: where a program may take it for an option, use `path`.
    Raises Invalid for a NUL byte or text that is not Unicode.
    """
    return Shell(shlex.quote(_encodable(text, what)))


def path(value: Path, what: str = "a path") -> Shell:
    """An absolute path as a word: it begins with /, so no program takes it for an option.

    Raises Invalid for a relative one.
    """
    if not value.is_absolute():
        raise Invalid(f"{what} must be absolute: {value}")
    return word(str(value), what)


def export(name: str, value: str) -> Shell:
    """``export NAME=VALUE``. Raises Invalid for a name that no shell accepts."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name!r} is not the name of a variable", hint="letters, digits and _")
    return Shell(f"export {name}={word(value, f'the value of {name}')}")


def command(argv: tuple[str, ...]) -> Shell:
    """A command line. The program's name must not begin with a dash."""
    if not argv or argv[0].startswith("-"):
        raise Invalid(f"not a command: {argv!r}")
    return Shell(" ".join(word(part, "an argument") for part in argv))


def directive_value(text: str, what: str) -> str:
    """A value for a directive, which no shell reads: it is taken as it stands to the line's end.

    Raises Invalid for what would end the line or be trimmed.
    """
    _encodable(text, what)
    if _CONTROL.search(text):
        raise Invalid(
            f"{what} holds a control character: {text!r}", hint="a directive is one line of text"
        )
    if not text or text != text.strip():
        raise Invalid(f"{what} is empty or has blanks around it: {text!r}")
    return text
