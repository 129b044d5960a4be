"""Directives: what a script asks of its batch system, as keyed values with their origin."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.script.quote import directive_value


@dataclass(frozen=True)
class Directive:
    """One demand.

    Attributes:
        key: what the batch system calls it.
        value: as the batch system reads it.
        origin: where it comes from: a key of the profile or run file, an option, a default.
    """

    key: str
    value: str
    origin: str


@dataclass(frozen=True)
class Line:
    """A line of a script and where it comes from."""

    text: str
    origin: str


@dataclass(frozen=True)
class Dialect:
    """How a batch system writes a directive: ``PREFIX KEY JOIN VALUE``."""

    prefix: str
    join: str
    key: str = r"[A-Za-z_][A-Za-z0-9_.-]*"


DIALECTS = {"local": Dialect("#EXA ", "=")}
"""Batch system → its dialect. Nothing is written for one that is not in here."""


@dataclass(frozen=True)
class Directives:
    """Directives in the order they are written in. Made by `directives`."""

    items: tuple[Directive, ...]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple((item.key, item.value) for item in self.items)

    def lines(self, scheduler: str) -> tuple[Line, ...]:
        """The lines for a batch system. Raises Invalid for one without a dialect."""
        if scheduler not in DIALECTS:
            raise Invalid(
                f"no directives can be written for the batch system {scheduler!r}",
                hint="known: " + ", ".join(sorted(DIALECTS)),
            )
        return tuple(_line(DIALECTS[scheduler], item) for item in self.items)


def directives(items: Iterable[Directive]) -> Directives:
    """Check and keep directives. Raises Invalid with every fault: a key given twice, a value
    that does not fit on a line."""
    kept = tuple(items)
    first: dict[str, Directive] = {}
    faults: list[ExaError] = []
    for item in kept:
        if (other := first.setdefault(item.key, item)) is not item:
            what = f"the directive {item.key} is given twice"
            faults.append(Invalid(what, where=f"{other.origin} and {item.origin}"))
        try:
            directive_value(item.value, f"the directive {item.key}")
        except Invalid as error:
            faults.append(Invalid(error.what, where=item.origin, hint=error.hint))
    if faults:
        raise several(Invalid, faults)
    return Directives(kept)


def _line(dialect: Dialect, item: Directive) -> Line:
    if not re.fullmatch(dialect.key, item.key):
        raise Invalid(f"{item.key!r} cannot be the key of a directive", where=item.origin)
    return Line(f"{dialect.prefix}{item.key}{dialect.join}{item.value}", item.origin)
