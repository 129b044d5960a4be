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
_UNPRINTABLE = re.compile(r"[\x01-\x1f\x7f]")
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
    """One word of a command line of bash, whatever it holds, always on one line.

    A leading dash stays one: where a program may take it for an option, use `path`.
    Raises Invalid for a NUL byte or text that is not Unicode.
    """
    if not _UNPRINTABLE.search(_encodable(text, what)):
        return Shell(shlex.quote(text))
    # A newline as it is would make of one value two lines of a script, the second of which
    # could look like a directive; so bash's $'...' it is.
    plain = text.replace("\\", r"\\").replace("'", r"\'")
    return Shell("$'" + _UNPRINTABLE.sub(_escape, plain) + "'")


def _escape(match: re.Match[str]) -> str:
    return {"\n": r"\n", "\t": r"\t"}.get(match[0]) or f"\\x{ord(match[0]):02x}"


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


def prepend(name: str, value: str) -> Shell:
    """``export NAME=VALUE`` and what the variable held, a colon between. Raises Invalid."""
    return Shell(export(name, value) + f'"${{{name}:+:${name}}}"')


def command(argv: tuple[str, ...]) -> Shell:
    """A command line. The program's name must not begin with a dash."""
    if not argv or not argv[0] or argv[0].startswith("-"):
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


_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=~-]+")
_LONGEST_VALUE = 4096


def sbatch_value(text: str, what: str) -> str:
    """A value as sbatch reads it from an ``#SBATCH`` line: it splits at blanks, ends at ``#``,
    and takes quotes and backslashes away, the latter inside quotes of either kind too.

    Raises Invalid for what does not fit on a line, or is longer than sbatch has room for.
    """
    directive_value(text, what)
    if len(text.encode()) > _LONGEST_VALUE:
        raise Invalid(f"{what} is longer than {_LONGEST_VALUE} bytes")
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def qsub_value(text: str, what: str) -> str:
    """A value as qsub reads it from a ``#PBS`` line: it splits at blanks, and takes quotes of
    either kind away (recordings: openpbs/13). What else it does to a character inside of quotes
    is not documented, so anything but plain text and blanks is refused.

    Raises Invalid for what does not fit on a line or could be read as something else.
    """
    directive_value(text, what)
    if len(text.encode()) > _LONGEST_VALUE:
        raise Invalid(f"{what} is longer than {_LONGEST_VALUE} bytes")
    if _BARE.fullmatch(text) and not text.startswith("-"):
        return text
    if text.startswith("-") or not _PLAIN.fullmatch(text):
        raise Invalid(
            f"{what} holds what PBS may read as something else: {text!r}",
            hint="letters, digits, blanks and _ . / : @ % + , = ~ - are safe",
        )
    return f'"{text}"'


_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~ \u00a1-\uffff-]+")
