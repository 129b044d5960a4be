"""Templates that substitute and never compute, rendered line by line so each keeps its origin.

A template is Jinja2 of which only ``{{ name }}`` is allowed: no filter, loop, condition or
expression. A line that is nothing but one name is replaced by that name's lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exa_cli.base.errors import Invalid
from exa_cli.script.directives import Line
from exa_cli.script.quote import Shell

if TYPE_CHECKING:
    import jinja2

_NAME = re.compile(r"\{\{ *([a-z_]+) *\}\}")


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
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
    _check_names(template, _names(template, environment), values)
    made: list[Line] = []
    for number, text in enumerate(template.text.splitlines(), start=1):
        alone = _NAME.fullmatch(text.strip())
        value = values[alone[1]] if alone else None
        if isinstance(value, Block):
            made += value.lines
        else:
            made.append(_line(environment, text, f"{template.name}:{number}", values))
    return Script(tuple(made))


def _names(template: Template, environment: jinja2.Environment) -> dict[str, int]:
    """The names a template uses and their lines. Raises Invalid if it does anything else."""
    from jinja2 import TemplateSyntaxError, nodes

    allowed = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name)
    try:
        tree = environment.parse(template.text)
    except TemplateSyntaxError as error:
        raise Invalid(
            f"the template cannot be read: {error.message}", where=f"{template.name}:{error.lineno}"
        ) from error
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, allowed):
            raise Invalid(
                f"a template may only substitute names, not {type(node).__name__.lower()}",
                where=f"{template.name}:{node.lineno}",
                hint="compute the value in Python and pass it in",
            )
    return {node.name: node.lineno for node in tree.find_all(nodes.Name)}


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


def _line(
    environment: jinja2.Environment,
    text: str,
    place: str,
    values: Mapping[str, Word | Block],
) -> Line:
    names = _NAME.findall(text)
    if not names:
        return Line(text, place)
    words = {name: _word(name, values[name], place) for name in names}
    rendered = environment.from_string(text).render({k: w.text for k, w in words.items()})
    origins = dict.fromkeys(word.origin for word in words.values())
    return Line(rendered, "; ".join([place, *origins]))


def _word(name: str, value: Word | Block, place: str) -> Word:
    if isinstance(value, Block):
        raise Invalid(f"{name} is whole lines: it must stand alone on its line", where=place)
    return value
