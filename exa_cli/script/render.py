"""Templates that substitute and never compute, rendered line by line so each keeps its origin.

A template is Jinja2 of which only ``{{ name }}`` is allowed: no filter, loop, condition, comment
or expression. A line that is nothing but one name is replaced by that name's lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from exa_cli.base.errors import Invalid
from exa_cli.script.directives import Line
from exa_cli.script.quote import Shell

_NAME = re.compile(r"(?<!\{)\{\{ *([a-z_]+) *\}\}")
_CODE = re.compile(r"\{[{%#].*")
"""What else would mean something to Jinja2, of which this is a part."""


@dataclass(frozen=True)
class Word:
    """A value within a line: text that is safe there, and where it comes from."""

    text: Shell
    origin: str


@dataclass(frozen=True)
class Block:
    """A value that is whole lines, possibly none."""

    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Template:
    """A template's text; ``name`` is what origins call it."""

    name: str
    text: str


@dataclass(frozen=True)
class Script:
    """A rendered script."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """Exactly what is submitted, and what ``--dry-run`` prints."""
        return "".join(line.text + "\n" for line in self.lines)

    def explained(self) -> tuple[tuple[str, str], ...]:
        """(line, origin) for each line."""
        return tuple((line.text, line.origin) for line in self.lines)


def render(template: Template, values: Mapping[str, Word | Block]) -> Script:
    """Substitute. Raises Invalid for a template that computes, or a value missing or left over."""
    _check_names(template, _names(template), values)
    made: list[Line] = []
    for number, text in enumerate(template.text.splitlines(), start=1):
        alone = _NAME.fullmatch(text.strip())
        value = values[alone[1]] if alone else None
        if isinstance(value, Block):
            made += value.lines
        else:
            made.append(_line(text, f"{template.name}:{number}", values))
    return Script(tuple(made))


def _names(template: Template) -> dict[str, int]:
    """The names a template uses and their lines. Raises Invalid if it does anything else."""
    names: dict[str, int] = {}
    for number, text in enumerate(template.text.splitlines(), start=1):
        if code := _CODE.search(_NAME.sub(" ", text)):
            raise Invalid(
                f"a template may only substitute names, not {code[0]}",
                where=f"{template.name}:{number}",
                hint="compute the value in Python and pass it in",
            )
        names.update(dict.fromkeys(_NAME.findall(text), number))
    return names


def _check_names(
    template: Template, used: Mapping[str, int], values: Mapping[str, Word | Block]
) -> None:
    for name in used.keys() - values.keys():
        raise Invalid(f"the template needs {name}", where=f"{template.name}:{used[name]}")
    for name in values.keys() - used.keys():
        raise Invalid(
            f"the template leaves out {name}",
            where=template.name,
            hint="what was asked for must be in the script, or be refused",
        )


def _line(text: str, place: str, values: Mapping[str, Word | Block]) -> Line:
    words = {name: _word(name, values[name], place) for name in _NAME.findall(text)}
    origins = dict.fromkeys(word.origin for word in words.values())
    rendered = _NAME.sub(lambda found: words[found[1]].text, text)
    return Line(rendered, "; ".join([place, *origins]))


def _word(name: str, value: Word | Block, place: str) -> Word:
    if isinstance(value, Block):
        raise Invalid(f"{name} is whole lines: it must stand alone on its line", where=place)
    return value
