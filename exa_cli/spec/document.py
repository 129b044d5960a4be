"""What the declarations say, as a commented file, a reference page and a JSON schema."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from exa_cli.spec.declare import Key, alternatives, declaration, element_table, hints

_TYPES: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
}


def subtable(hint: Any) -> type[Any] | None:
    """The dataclass behind a field that is a table, else None."""
    kind = alternatives(hint)[0]
    return typing.cast("type[Any]", kind) if dataclasses.is_dataclass(kind) else None


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of a declared table, for editors."""
    properties = {f.name: _property(f, hints(cls)[f.name]) for f in dataclasses.fields(cls)}
    schema: dict[str, Any] = {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": properties,
        "additionalProperties": False,
    }
    missing = dataclasses.MISSING
    required = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is missing and f.default_factory is missing
    ]
    return {**schema, "required": required} if required else schema


def _property(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    declared = declaration(field)
    if cls := subtable(hint):
        return {**json_schema(cls), "description": declared.help}
    kinds = [_limited(_type(kind), declared) for kind in alternatives(hint)]
    made: dict[str, Any] = dict(kinds[0]) if len(kinds) == 1 else {"anyOf": kinds}
    made["description"] = declared.help
    if isinstance(field.default, (int, float, str, bool)):
        made["default"] = field.default
    return made


def _type(kind: Any) -> dict[str, Any]:
    if len(kinds := alternatives(kind)) > 1:
        return {"anyOf": [_type(each) for each in kinds]}
    args = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return {"enum": list(args)}
    if typing.get_origin(kind) is tuple:
        cls = element_table(kind)
        return {"type": "array", "items": json_schema(cls) if cls else _type(args[0])}
    if typing.get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": _type(args[1])}
    return dict(_TYPES.get(kind, {}))


def _limited(schema: dict[str, Any], declared: Key) -> dict[str, Any]:
    if schema.get("type") in ("integer", "number"):
        limits = {"minimum": declared.minimum, "maximum": declared.maximum}
        return {**schema, **{k: v for k, v in limits.items() if v is not None}}
    if schema.get("type") == "string" and declared.choices:
        return {**schema, "enum": list(declared.choices)}
    if schema.get("type") == "string" and declared.pattern:
        return {**schema, "pattern": f"^(?:{declared.pattern})$"}
    return schema


def toml_value(value: Any) -> str:
    """A scalar, list or dict of strings as TOML."""
    import tomli_w

    return tomli_w.dumps({"v": value}).split("=", 1)[1].strip()


def commented(cls: type[Any], given: dict[str, Any], intro: str) -> str:
    """A file with every key: what ``given`` holds is set, the rest stands as a comment."""
    lines = [f"# {line}".rstrip() for line in intro.splitlines()]
    for field in dataclasses.fields(cls):
        sub = subtable(hints(cls)[field.name])
        if sub is None and not _is_free_table(hints(cls)[field.name]):
            lines += ["", *_commented_key(field, given)]
    for field in dataclasses.fields(cls):
        inner = given.get(field.name, {})
        if sub := subtable(hints(cls)[field.name]):
            lines += ["", f"[{field.name}]"]
            for key in dataclasses.fields(sub):
                lines += _commented_key(key, inner)
        elif _is_free_table(hints(cls)[field.name]):
            lines += ["", f"[{field.name}]  # {declaration(field).help}"]
            lines += [f"{name} = {toml_value(value)}" for name, value in inner.items()]
    return "\n".join(lines) + "\n"


def _is_free_table(hint: Any) -> bool:
    return typing.get_origin(alternatives(hint)[0]) is dict


def _commented_key(field: dataclasses.Field[Any], given: dict[str, Any]) -> list[str]:
    note = f"  # {declaration(field).help}"
    if field.name in given:
        return [f"{field.name} = {toml_value(given[field.name])}{note}"]
    if field.default is None:
        return [f"# {field.name} ={note}"]
    value = "{}" if field.default is dataclasses.MISSING else toml_value(field.default)
    return [f"# {field.name} = {value}{note}"]


def reference(cls: type[Any]) -> str:
    """The reference page's tables, one per table of the file, in Markdown."""
    parts = ["### Top level", "", *_rows(cls)]
    for field in dataclasses.fields(cls):
        if sub := subtable(hints(cls)[field.name]):
            parts += ["", f"### `[{field.name}]`", "", declaration(field).help, "", *_rows(sub)]
    return "\n".join(parts) + "\n"


def _rows(cls: type[Any]) -> Iterator[str]:
    yield "| key | default | legal | meaning |"
    yield "|---|---|---|---|"
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if subtable(hint) is None:
            declared = declaration(field)
            meaning = declared.help + (f" ({declared.unit})" if declared.unit else "")
            cells = (f"`{field.name}`", _default(field), _legal(hint, declared), meaning)
            yield f"| {' | '.join(cells)} |"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is None or field.default is dataclasses.MISSING:
        return "–"
    return f"`{toml_value(field.default)}`"


def _legal(hint: Any, declared: Key) -> str:
    if declared.choices:
        return ", ".join(f"`{choice}`" for choice in declared.choices)
    words = [_kind_words(kind) for kind in alternatives(hint)]
    limits = [f"≥ {declared.minimum:g}"] if declared.minimum is not None else []
    limits += [f"≤ {declared.maximum:g}"] if declared.maximum is not None else []
    limits += [declared.form] if declared.form else []
    return " or ".join(words) + (f", {', '.join(limits)}" if limits else "")


def _kind_words(kind: Any) -> str:
    names = {int: "integer", float: "number", str: "string", bool: "true, false"}
    if typing.get_origin(kind) is tuple:
        return f"list, each {_kind_words(typing.get_args(kind)[0])}"
    listed = ", ".join(f'`"{a}"`' for a in typing.get_args(kind) if isinstance(a, str))
    return names.get(kind) or listed or "table"


HEAD = """# The run file

Made from the declarations in `exa_cli/spec/runfile.py` by
`python -m exa_cli.spec.document > docs/run-file.md`; a test holds it to them.

A run file is TOML. `exa init` writes one with every key in it. `--set train.steps=400` overrides
any key for one submit. A key that is not given has the default below; `"auto"` is decided by the
plan at the first submit, frozen in the run's `plan.json` and explained under its `why`. A wrong
key or value is refused with its line, what is legal, and the nearest name, all faults at once.
For editors: `python -m exa_cli.spec.document --schema` prints a JSON schema.

"""


def main(words: list[str]) -> None:
    """Print the reference page, or the JSON schema."""
    import json

    from exa_cli.spec.runfile import RunFile

    if words == ["--schema"]:
        print(json.dumps(json_schema(RunFile), indent=2))
    else:
        print(HEAD + reference(RunFile), end="")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
