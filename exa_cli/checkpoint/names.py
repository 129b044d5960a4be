"""Names of a checkpoint's directory and of the files in it."""

from __future__ import annotations

import re
import secrets

MANIFEST = "MANIFEST.json"
OPEN = "OPEN.json"

_DIRECTORY = re.compile(r"step-(\d{8,})\.([0-9a-f]{4,32})")
_DATA = re.compile(r"data-(\d{6,})\.exa")


def new_generation() -> str:
    """A name for one attempt at writing one checkpoint: 32 random bits in hex."""
    return secrets.token_hex(4)


def directory_name(step: int, generation: str) -> str:
    """``step-00001000.ab12cd34``. Raises ValueError for what `parse_directory` would refuse."""
    name = f"step-{step:08d}.{generation}"
    if parse_directory(name) != (step, generation):
        raise ValueError(f"not a checkpoint name: {name!r}")
    return name


def parse_directory(name: str) -> tuple[int, str] | None:
    """(step, generation), or None when ``name`` is no checkpoint's."""
    match = _DIRECTORY.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def data_name(writer: int) -> str:
    """``data-000003.exa``, the file of writer 3."""
    return f"data-{writer:06d}.exa"


def parse_data(name: str) -> int | None:
    """The writer of a data file; None when ``name`` is no data file's."""
    match = _DATA.fullmatch(name)
    return int(match[1]) if match and data_name(int(match[1])) == name else None
