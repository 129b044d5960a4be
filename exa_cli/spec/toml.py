"""TOML with places: every value knows the file and line, or the option, it came from."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Invalid, NotFound, Usage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path_ = tuple[str, ...]

_BAD_TOML = (ValueError, RecursionError)
"""What tomllib raises: TOMLDecodeError is a ValueError, and so is what int() says of a number of
thousands of digits; brackets nested as deep exhaust the stack."""

_TABLE = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-\"' ]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-\"'.]+)\s*=")


@dataclass(frozen=True)
class TomlDoc:
    """Parsed TOML and where each of its keys stands.

    Attributes:
        values: the nested tables.
        origins: key path → "FILE:LINE", or the option that set it. Elements of an array of
            tables have their index in the path, as text.
        name: the file's name, for keys without an origin of their own.
    """

    values: dict[str, Any]
    origins: dict[Path_, str] = field(default_factory=dict)
    name: str = "<none>"

    def where(self, path: Path_) -> str:
        """The origin of a key, or of the nearest table around it."""
        for cut in range(len(path), 0, -1):
            if path[:cut] in self.origins:
                return f"{self.origins[path[:cut]]}, key {'.'.join(path)}"
        return f"{self.name}, key {'.'.join(path)}"


def _split(dotted: str) -> Path_:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def key_lines(text: str) -> dict[Path_, int]:
    """Map each key path in a TOML text to its line, counted from 1.

    tomllib gives no positions, so this reads table headers and the start of assignments.
    It only has to be right for keys that exist: it locates, it does not parse.
    """
    lines: dict[Path_, int] = {}
    counts: dict[Path_, int] = {}
    table: Path_ = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        was_inside, inside = inside, _string_state(line, inside)
        if was_inside:
            continue
        if header := _TABLE.match(line):
            *outer, last = _split(header[2])
            table = (*_indexed(tuple(outer), counts), last)
            if header[1] == "[[":
                lines.setdefault(table, number)
                index = counts.get(table, 0)
                counts[table] = index + 1
                table = (*table, str(index))
            lines.setdefault(table, number)
        elif assignment := _KEY.match(line):
            lines.setdefault((*table, *_split(assignment[1])), number)
    return lines


def _indexed(path: Path_, counts: dict[Path_, int]) -> Path_:
    """A header's path with the index of the newest element after each array of tables in it."""
    made: Path_ = ()
    for part in path:
        made = (*made, part)
        if made in counts:
            made = (*made, str(counts[made] - 1))
    return made


def _string_state(line: str, inside: str | None) -> str | None:
    """Which triple quote is open after this line, if any."""
    for mark in re.findall(r'"""|\'\'\'', line):
        if inside is None:
            inside = mark
        elif inside == mark:
            inside = None
    return inside


def parse(text: str, name: str) -> TomlDoc:
    """Parse TOML. Raises Invalid with the line of a syntax error."""
    try:
        values = tomllib.loads(text)
    except _BAD_TOML as error:
        found = re.search(r"line (\d+)", str(error))
        where = f"{name}:{found[1]}" if found else name
        raise Invalid(f"this is not valid TOML: {error}", where=where) from error
    origins = {path: f"{name}:{line}" for path, line in key_lines(text).items()}
    return TomlDoc(values, origins, name)


def load(path: Path) -> TomlDoc:
    """Read and parse a file. Raises NotFound or Invalid."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # editors on Windows write a mark first
    except FileNotFoundError as error:
        raise NotFound("there is no such file", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise Invalid("the file is not UTF-8", where=f"{path}, byte {error.start}") from error
    except OSError as error:
        raise Invalid(f"cannot read the file: {error.strerror}", where=str(path)) from error
    return parse(text, str(path))


def _scalar(text: str) -> Any:
    """A value as TOML would read it, or the text itself: `--set data.path=/x` needs no quotes,
    and 01:00:00 is the text of a walltime, not a time of day."""
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except _BAD_TOML:
        return text
    return text if isinstance(value, (date, time)) else value


def override(doc: TomlDoc, settings: list[str], option: str = "--set") -> TomlDoc:
    """Apply ``table.key=value`` settings over a document; later ones win.

    Raises Usage for a setting without ``=`` and Invalid when the key leads through a value.
    """
    values = _copy(doc.values)
    origins = dict(doc.origins)
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        if not equals or not dotted:
            raise Usage(
                f"{setting!r} is not of the form table.key=value",
                where=option,
                hint=f"write {option} train.steps=400",
            )
        path = _split(dotted)
        _put(values, path, _scalar(text), f"{option} {setting}")
        origins[path] = f"{option} {dotted}"
    return TomlDoc(values, origins, doc.name)


def put(doc: TomlDoc, path: Path_, value: Any, origin: str) -> TomlDoc:
    """The document with one value set and the option that set it as its origin."""
    values = _copy(doc.values)
    _put(values, path, value, origin)
    return TomlDoc(values, {**doc.origins, path: origin}, doc.name)


def _copy(table: dict[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in table.items()}


def _put(values: dict[str, Any], path: Path_, value: Any, origin: str) -> None:
    table = values
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise Invalid(f"{part!r} is a value, not a table", where=origin)
    table[path[-1]] = value
