"""Directives: what a script asks of its batch system, as keyed values with their origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.script.ask import Ask, Value
from exa_cli.script.quote import directive_value
from exa_cli.sites.schema import FILL_IN


@dataclass(frozen=True)
class Line:
    """A line of a script and where it comes from."""

    text: str
    origin: str


Document = Callable[[tuple["Directive", ...], tuple[Line, ...]], tuple[Line, ...]]
"""Directives and the lines of a script → the lines of the request that holds them all."""


@dataclass(frozen=True)
class Directive:
    """One demand.

    Attributes:
        key: what the batch system calls it.
        value: as the batch system reads it; True = a flag without a value; False = not asked
            for, whatever an earlier layer says.
        origin: where it comes from: a key of the profile or run file, an option, a default.
        line: a line of the user's own, which is written as it stands; None = exa writes it.
    """

    key: str
    value: str | bool
    origin: str
    line: str | None = None


def said(key: str, value: Value | None) -> Directive | None:
    """What is asked for as a directive; None for what nobody asks for."""
    return Directive(key, value.text, value.origin) if value else None


@dataclass(frozen=True)
class Layers:
    """The directives of a job: what follows from the run, and what somebody chose.

    A site's own directives replace the first and yield to the second.
    """

    derived: tuple[Directive, ...]
    chosen: tuple[Directive, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """How one batch system is asked.

    Attributes:
        prefix: how a line of its directives begins.
        layers: the directives of a job. Raises Invalid for what cannot be expressed.
        write: a directive as a line.
        read: the directive that a user's line stands for, from its text and origin. Raises
            Invalid for a line the batch system would not obey.
        ours: key → what to use in its place; exa could not find or plan the job without them.
        slot: the name under which a key and its opposite replace each other.
        join: the directives that several together make, once all layers are laid. Raises Invalid.
        document: what is submitted, for a batch system that takes another form than a script with
            directives at its head; None = such a script.
    """

    prefix: str
    layers: Callable[[Ask], Layers]
    write: Callable[[Directive], str]
    read: Callable[[str, str], Directive]
    ours: Mapping[str, str] = field(default_factory=dict)
    slot: Callable[[str], str] = str
    join: Callable[[tuple[Directive, ...]], tuple[Directive, ...]] = tuple
    document: Document | None = None


@dataclass(frozen=True)
class Directives:
    """Directives in the order they are written in. Made by `combine`."""

    items: tuple[Directive, ...]
    write: Callable[[Directive], str]
    document: Document | None = None

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Key and value; of a flag, an empty value."""
        return tuple((i.key, i.value if isinstance(i.value, str) else "") for i in self.items)

    def lines(self) -> tuple[Line, ...]:
        return tuple(Line(i.line or self.write(i), i.origin) for i in self.items)


def combine(
    dialect: Dialect, ask: Ask, site: Iterable[Directive] = (), header: Iterable[Line] = ()
) -> Directives:
    """All directives of a job, each key once.

    Later layers replace earlier ones: what follows from the run, the site's directives, what
    the user chose by a key or option, the user's own header lines.

    Raises:
        Invalid: every fault: a key that is exa's own or given twice in one layer, a value that
            is still to be filled in or does not fit on a line, a line that says nothing.
    """
    faults: list[ExaError] = []
    asked = dialect.layers(ask)
    own = [item for line in header if (item := _read(dialect, line, faults))]
    kept: dict[str, Directive] = {}
    for layer, foreign in (
        (asked.derived, False),
        (site, True),
        (asked.chosen, False),
        (own, True),
    ):
        _lay(kept, tuple(layer), dialect, foreign, faults)
    items = tuple(item for item in kept.values() if item.value is not False)
    faults += [fault for item in items if (fault := _fault(item))]
    if faults:
        raise several(Invalid, faults)
    return Directives(dialect.join(items), dialect.write, dialect.document)


def _read(dialect: Dialect, line: Line, faults: list[ExaError]) -> Directive | None:
    try:
        return dialect.read(line.text, line.origin)
    except Invalid as error:
        faults.append(error)
        return None


def _lay(
    kept: dict[str, Directive],
    layer: tuple[Directive, ...],
    dialect: Dialect,
    foreign: bool,
    faults: list[ExaError],
) -> None:
    """Put a layer over what is kept; ``foreign`` ones may not touch what is exa's own."""
    given: dict[str, Directive] = {}
    for item in layer:
        if foreign and item.key in dialect.ours:
            what = f"the directive {item.key} is set by exa itself"
            faults.append(Invalid(what, where=item.origin, hint=dialect.ours[item.key]))
        elif (other := given.setdefault(dialect.slot(item.key), item)) is not item:
            what = f"the directive {item.key} is given twice"
            faults.append(Invalid(what, where=f"{other.origin} and {item.origin}"))
    kept.update(given)


def _fault(item: Directive) -> Invalid | None:
    """What is wrong with the value of a directive, if anything."""
    if item.line is not None or item.value is True:
        return None
    if item.value == FILL_IN:
        return Invalid(
            f"the site wants a value for the directive {item.key}, and there is none",
            where=item.origin,
            hint=f"give it in the profile, or as {item.key} of this run (docs/add-a-site.md)",
        )
    try:
        directive_value(str(item.value), f"the directive {item.key}")
    except Invalid as error:
        return Invalid(error.what, where=item.origin, hint=error.hint)
    return None


def commands(dialect: Dialect, prologue: tuple[Line, ...]) -> tuple[Line, ...]:
    """The user's own commands. Raises Invalid for a directive among them: it would stand after
    the first command, where batch systems pass it over in silence."""
    late = [line for line in prologue if line.text.lstrip().startswith(dialect.prefix.strip())]
    if late:
        faults: list[ExaError] = [
            Invalid(
                f"a directive among commands is not read: {line.text}",
                where=line.origin,
                hint="put it in [script] header",
            )
            for line in late
        ]
        raise several(Invalid, faults)
    return prologue
