"""What can be checked of a foreign directory that nobody protected.

A torch DCP directory by the CRCs in its items and by the table in ``.metadata``; safetensors
files by whether header and size fit. What neither can show is said in words, always.
"""

from __future__ import annotations

import json
import math
import os
import pickletools
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import zipitems
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.guarded import opened, read_up_to, shown
from exa_cli.checkpoint.verdict import Damage

METADATA = ".metadata"
ITEMS = ".distcp"
TENSORS = ".safetensors"
TENSORS_INDEX = ".safetensors.index.json"
_MOST_HEADER = 100_000_000  # what the safetensors library takes

UNSEEN_ITEMS = (
    "only the CRCs of torch's own items were checked: a shard of another step, and padding "
    "between items, cannot be told from the right ones"
)
UNSEEN_TENSORS = (
    "safetensors files have no checksums: only headers and sizes were checked, a changed weight "
    "cannot be seen"
)
UNSEEN_REST = "{} files carry nothing to check them by: {}"


@dataclass(frozen=True)
class Checked:
    """``committed`` is False for a DCP directory without its ``.metadata``, written last."""

    damaged: tuple[Damage, ...]
    unseen: tuple[str, ...]
    checked: int
    committed: bool


def check(directory: Path, names: Sequence[str]) -> Checked:
    """Check what can be checked of ``names``. Raises OSError."""
    damaged: list[Damage] = []
    plain: list[str] = []
    for name in names:
        look = _look_for(name)
        if look is None:
            plain.append(name)
        else:
            damaged += [Damage(name, fault) for fault in _faults(directory, name, look)]
    folders = {posixpath.dirname(name) for name in names if name.endswith(ITEMS)}
    bare = [f for f in folders if posixpath.join(f, METADATA) not in names]
    damaged += [Damage(posixpath.join(f, METADATA), "is missing") for f in sorted(bare)]
    damaged += _absent(directory, names)
    return Checked(tuple(damaged), _unseen(names, plain), len(names) - len(plain), not bare)


def require_sound(directory: Path, names: Sequence[str]) -> None:
    """Raise Damaged for what would be protected although it is visibly damaged."""
    found = check(directory, names)
    if found.damaged:
        first, more = found.damaged[0], len(found.damaged) - 1
        rest = f" (and {more} more faults)" if more else ""
        raise Damaged(f"{first.reason}{rest}", where=str(directory / shown(first.file)))


def _unseen(names: Sequence[str], plain: list[str]) -> tuple[str, ...]:
    found = [UNSEEN_ITEMS] if any(name.endswith(ITEMS) for name in names) else []
    found += [UNSEEN_TENSORS] if any(name.endswith(TENSORS) for name in names) else []
    if plain:
        listed = ", ".join(map(shown, plain[:3])) + (", …" if len(plain) > 3 else "")
        found.append(UNSEEN_REST.format(len(plain), listed))
    return tuple(found)


_Look = Callable[[int, int], Iterator[str]]


def _look_for(name: str) -> _Look | None:
    """How a file is checked, by its name."""
    if posixpath.basename(name) == METADATA:
        return _metadata_faults
    for suffix, look in (
        (ITEMS, zipitems.faults), (TENSORS, _tensor_faults), (TENSORS_INDEX, _json_faults),
    ):  # fmt: skip
        if name.endswith(suffix):
            return look
    return None


def _faults(directory: Path, name: str, look: _Look) -> list[str]:
    try:
        with opened(directory, name) as fd:
            return list(look(fd, os.fstat(fd).st_size))
    except Damaged as damage:
        return [damage.what]


def _absent(directory: Path, names: Sequence[str]) -> Iterator[Damage]:
    """Files that a table names and that are missing or shorter than it says."""
    for name in names:
        folder = posixpath.dirname(name)
        for other, least in _named(directory, name).items():
            path = posixpath.join(folder, other)
            if path not in names:
                yield Damage(path, f"is missing; {shown(name)} names it")
            elif (directory / path).stat().st_size < least:
                yield Damage(path, f"ends before byte {least}; {shown(name)} has an item there")


def _named(directory: Path, name: str) -> dict[str, int]:
    """File → bytes it must have at least, by the tables of both formats."""
    try:
        if posixpath.basename(name) == METADATA:
            return items_by_file((directory / name).read_bytes())
        if name.endswith(TENSORS_INDEX):
            table = json.loads((directory / name).read_bytes())["weight_map"]
            return {str(file): 0 for file in table.values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # reported as that file's own fault
    return {}


def items_by_file(pickled: bytes) -> dict[str, int]:
    """File → where its last item ends, read from a ``.metadata`` without running it.

    The pickle's operations are only listed. A storage record comes out as the constants
    relative_path, FILE, offset, N, length, N; repeated strings are references into the memo.
    Raises ValueError when the operations cannot be listed.
    """
    constants = list(_constants(pickled))
    found: dict[str, int] = {}
    for at in range(len(constants) - 5):
        path_key, path, offset_key, offset, length_key, length = constants[at : at + 6]
        if (path_key, offset_key, length_key) != ("relative_path", "offset", "length"):
            continue
        if isinstance(path, str) and isinstance(offset, int) and isinstance(length, int):
            found[path] = max(found.get(path, 0), offset + length)
    return found


def _constants(pickled: bytes) -> Iterator[Any]:
    memo: dict[Any, Any] = {}
    last: Any = None
    for operation, argument, _ in pickletools.genops(pickled):
        name = operation.name
        if name == "MEMOIZE":
            memo[len(memo)] = last
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = last
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            last = memo.get(argument)
            yield last
        elif name not in ("PROTO", "FRAME"):
            last = argument
            if isinstance(argument, str | int):
                yield argument


def _metadata_faults(fd: int, size: int) -> Iterator[str]:
    try:
        items_by_file(bytes(read_up_to(fd, size, 0)))
    except ValueError as error:
        yield f"is not a whole pickle: {error}"


def _json_faults(fd: int, size: int) -> Iterator[str]:
    try:
        if not isinstance(json.loads(read_up_to(fd, size, 0))["weight_map"], dict):
            yield "has no table of weights"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        yield f"cannot be understood: {error!r}"


def _tensor_faults(fd: int, size: int) -> Iterator[str]:
    """Whether header and size of a safetensors file fit."""
    length = int.from_bytes(read_up_to(fd, 8, 0), "little")
    if size < 8 or length > min(size - 8, _MOST_HEADER):
        yield f"has {size} bytes and a header of {length}"
        return
    try:
        header = json.loads(read_up_to(fd, length, 8))
        header.pop("__metadata__", None)
        spans = sorted(_span(entry) for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield f"the header cannot be understood: {error!r}"
        return
    at = 0
    for low, high in spans:
        if low != at:
            yield f"the header leaves a gap or an overlap at byte {8 + length + at}"
        at = high
    if 8 + length + at != size:
        yield f"has {size} bytes instead of {8 + length + at}"


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    """Where a tensor lies; ValueError when that is not what its shape and dtype take."""
    low, high = map(int, entry["data_offsets"])
    item = ITEM_BYTES.get(entry["dtype"])
    if low > high or (item and math.prod(entry["shape"]) * item != high - low):
        raise ValueError(f"{high - low} bytes for {entry['dtype']} {entry['shape']}")
    return low, high
