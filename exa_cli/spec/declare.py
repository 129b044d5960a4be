"""One declaration per key: it drives validation, help, the reference page and the JSON schema.

A table is a frozen dataclass whose fields are made by `key`. `build` turns a TOML document
into such a dataclass and reports every fault at once, each with its place, what is legal and
the nearest name.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable
from datetime import date, time
from typing import Any, Literal, TypeVar, Union

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.spec.toml import Path_, TomlDoc

T = TypeVar("T")

Auto = Literal["auto"]
Unknown = Literal["unknown"]
"""A profile's word for "the site does not say": never zero, never a guess."""

LARGEST = (1 << 63) - 1
"""The largest whole number TOML promises to keep (TOML 1.0, Integer), and torch takes."""

AUTO: Auto = "auto"
UNKNOWN: Unknown = "unknown"


@dataclasses.dataclass(frozen=True)
class Key:
    """What is declared about one key."""

    help: str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    pattern: str | None = None
    form: str | None = None
    check: Callable[[Any], str | None] | None = None


def key(default: Any = dataclasses.MISSING, *, help: str, **declared: Any) -> Any:
    """A dataclass field with its declaration.

    Args:
        default: the default, or nothing for a required key. Use a tuple or dict as it stands.
        help: one sentence for help, docs and schema.
        **declared: the other attributes of `Key`: ``minimum``/``maximum`` (inclusive),
            ``choices``, ``pattern`` (whole match) with ``form`` naming it in words, ``unit``,
            ``check`` (value → what is wrong, or None).
    """
    metadata = {"key": Key(help=help, **declared)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def table(cls: type[Any], *, help: str) -> Any:
    """A field that is a table of its own; absent means all its defaults."""
    return dataclasses.field(default_factory=cls, metadata={"key": Key(help=help)})


def declaration(field: dataclasses.Field[Any]) -> Key:
    """The `Key` of a field made by `key` or `table`."""
    declared: Key = field.metadata["key"]
    return declared


def hints(cls: Any) -> dict[str, Any]:
    """Resolved annotations of a table."""
    return _resolved(cls)


@functools.cache
def _resolved(cls: Any) -> dict[str, Any]:
    """Resolving takes a while: once a class, not once a key."""
    return typing.get_type_hints(cls)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type itself; None is left out (absent means None)."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(a for a in typing.get_args(hint) if a is not type(None))
    return (hint,)


def element_table(hint: Any) -> type[Any] | None:
    """The dataclass D of ``tuple[D, ...]``, else None."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and args and dataclasses.is_dataclass(args[0]):
        return typing.cast("type[Any]", args[0])
    return None


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """A hint naming the closest legal words, or all of them when none is close."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "known here: " + ", ".join(names)


def build(cls: type[T], doc: TomlDoc) -> T:
    """Make a declared table out of a document. Raises Invalid with every fault found."""
    faults: list[ExaError] = []
    value = _table(cls, doc.values, (), doc, faults)
    if faults:
        raise several(Invalid, faults)
    return typing.cast("T", value)


def _table(
    cls: type[Any], values: dict[str, Any], path: Path_, doc: TomlDoc, faults: list[ExaError]
) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values.keys() - fields.keys():
        faults.append(_unknown_key(name, path, doc, fields))
    made = {}
    for name, field in fields.items():
        here = (*path, name)
        if name in values:
            made[name] = _value(field, hints(cls)[name], values[name], here, doc, faults)
        elif _required(field):
            faults.append(
                Invalid(
                    f"the key {'.'.join(here)} is missing",
                    where=doc.where(path) if path else doc.name,
                    hint=declaration(field).help,
                )
            )
    if faults:
        return None
    return cls(**made)


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _unknown_key(name: str, path: Path_, doc: TomlDoc, fields: typing.Iterable[str]) -> Invalid:
    here = (*path, name)
    kind = "key" if path else "table or key"
    return Invalid(
        f"there is no {kind} {'.'.join(here)}", where=doc.where(here), hint=nearest(name, fields)
    )


def _value(
    field: dataclasses.Field[Any],
    hint: Any,
    value: Any,
    path: Path_,
    doc: TomlDoc,
    faults: list[ExaError],
) -> Any:
    kinds = alternatives(hint)
    if dataclasses.is_dataclass(kinds[0]) and isinstance(value, dict):
        return _table(typing.cast("type[Any]", kinds[0]), value, path, doc, faults)
    if (cls := element_table(kinds[0])) and isinstance(value, list):
        rows = enumerate(value)
        return tuple(_table(cls, row, (*path, str(i)), doc, faults) for i, row in rows)
    fits = [made for kind in kinds if (made := _convert(kind, value)) is not None]
    if not fits:
        wanted = " or ".join(_kind_name(k) for k in kinds)
        dated = isinstance(value, (date, time))
        faults.append(
            Invalid(
                f"{'.'.join(path)} must be {wanted}, not {value if dated else repr(value)}",
                where=doc.where(path),
                hint=f'put it in quotes: "{value}"' if dated else None,
            )
        )
        return None
    if wrong := wrong_with(declaration(field), fits[0]):
        faults.append(Invalid(f"{'.'.join(path)} = {value!r}: {wrong}", where=doc.where(path)))
    return fits[0]


def _convert(kind: Any, value: Any) -> Any:
    """The value as ``kind``, or None when it is of another type. TOML true is never 1."""
    if len(kinds := alternatives(kind)) > 1:
        return next((m for k in kinds if (m := _convert(k, value)) is not None), None)
    if typing.get_origin(kind) is Literal:
        return value if value in typing.get_args(kind) and isinstance(value, str) else None
    if typing.get_origin(kind) is tuple:
        return _convert_all(typing.get_args(kind)[0], value)
    if typing.get_origin(kind) is dict:
        inner = typing.get_args(kind)[1]
        whole = isinstance(value, dict) and all(
            _convert(inner, v) is not None for v in value.values()
        )
        return dict(value) if whole else None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is kind else None


def _convert_all(kind: Any, value: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, list):
        return None
    made = tuple(_convert(kind, v) for v in value)
    return None if None in made else made


def _kind_name(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(a) for a in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"a list, each element {_kind_name(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is dict or dataclasses.is_dataclass(kind):
        return "a table"
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return names.get(kind, str(kind))


def wrong_with(declared: Key, value: Any) -> str | None:
    """What a value breaks of its declaration, in words; None when it is legal."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        return "it must be a finite number"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"a whole number is at most {LARGEST}"
    if number and declared.minimum is not None and value < declared.minimum:
        return f"the least legal value is {declared.minimum:g}"
    if number and declared.maximum is not None and value > declared.maximum:
        return f"the greatest legal value is {declared.maximum:g}"
    if value in (AUTO, UNKNOWN):
        return None
    if declared.choices and value not in declared.choices:
        return "legal: " + ", ".join(declared.choices)
    if declared.pattern and not re.fullmatch(declared.pattern, str(value), re.ASCII):
        return f"expected {declared.form or declared.pattern}"
    return declared.check(value) if declared.check else None
