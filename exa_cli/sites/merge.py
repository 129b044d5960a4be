"""One profile over another, keeping for every key the file and line it came from. Pure.

A key of the upper replaces that of the lower; tables merge key by key; rows that have a name
(``[[queue]]``) merge with the row of that name or are added; every other list is replaced
whole, since rows without names cannot be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exa_cli.spec.toml import Path_, TomlDoc


@dataclass(frozen=True)
class _Located:
    """A value with its origin; tables hold `_Located` by key, arrays of tables a list of it."""

    value: Any
    origin: str | None


def merged(lower: TomlDoc, upper: TomlDoc) -> TomlDoc:
    """``upper`` over ``lower``. Faults are shown under the upper's name."""
    tree = _over(_locate(lower.values, (), lower), _locate(upper.values, (), upper))
    origins: dict[Path_, str] = {}
    values = _flatten(tree, (), origins)
    return TomlDoc(values, origins, upper.name)


def _locate(value: Any, path: Path_, doc: TomlDoc) -> _Located:
    origin = doc.origins.get(path)
    if isinstance(value, dict):
        return _Located({k: _locate(v, (*path, k), doc) for k, v in value.items()}, origin)
    if _is_rows(value):
        rows = [_locate(row, (*path, str(i)), doc) for i, row in enumerate(value)]
        return _Located(rows, origin)
    return _Located(value, origin)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _over(lower: _Located, upper: _Located) -> _Located:
    if isinstance(lower.value, dict) and isinstance(upper.value, dict):
        both = {**lower.value, **upper.value}
        for key in lower.value.keys() & upper.value.keys():
            both[key] = _over(lower.value[key], upper.value[key])
        return _Located(both, upper.origin or lower.origin)
    if _names(lower) and _names(upper):
        rows = dict(zip(_names(lower), lower.value, strict=True))
        for name, row in zip(_names(upper), upper.value, strict=True):
            rows[name] = _over(rows[name], row) if name in rows else row
        return _Located(list(rows.values()), upper.origin or lower.origin)
    return upper


def _names(located: _Located) -> list[str]:
    """The names of rows, if it is rows and each has one of its own; else nothing."""
    if not (isinstance(located.value, list) and located.value):
        return []
    rows = [row.value for row in located.value if isinstance(row, _Located)]
    names = [row["name"].value for row in rows if "name" in row]
    whole = len(names) == len(located.value) == len(set(map(repr, names)))
    return names if whole else []


def _flatten(tree: _Located, path: Path_, origins: dict[Path_, str]) -> Any:
    if tree.origin is not None:
        origins[path] = tree.origin
    if isinstance(tree.value, dict):
        return {k: _flatten(v, (*path, k), origins) for k, v in tree.value.items()}
    if isinstance(tree.value, list) and tree.value and isinstance(tree.value[0], _Located):
        return [_flatten(row, (*path, str(i)), origins) for i, row in enumerate(tree.value)]
    return tree.value
