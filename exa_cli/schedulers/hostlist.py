"""Slurm's host lists: ``n[001-003,7],x[1-2]-ib[0-1]`` to node names. Pure.

What ``scontrol show hostnames`` prints (the slurm test compares the two), without starting a
program on every node and without asking for its configuration. A list that is read wrongly
starts nothing: the number of names must be the plan's, and every rank must then be found on the
node that the plan puts it on (`exa_cli.job.health`).
"""

from __future__ import annotations

import itertools
import re

from exa_cli.base.errors import Invalid

MOST = 100_000
"""Names a list may stand for. Slurm's own limit is 64 k for one bracket (MAX_RANGE)."""

_ITEM = re.compile(r"(?:[^\[\],]|\[[^\[\]]*\])+")
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


def expand(text: str) -> tuple[str, ...]:
    """The names of a host list, in its order. The first bracket of a name counts slowest.

    Raises Invalid for what is no host list, and for one of more than `MOST` names.
    """
    if _ITEM.sub("", text).strip(","):
        raise _no_list(text, "a bracket is not closed, or closed twice")
    names = [name for item in _ITEM.findall(text) for name in _names(item, text)]
    if not names:
        raise _no_list(text, "it names no node")
    return tuple(names)


def _names(item: str, text: str) -> list[str]:
    parts = [
        [literal] if literal else _numbers(inside, text) for inside, literal in _PART.findall(item)
    ]
    _check_size([len(part) for part in parts], text)
    return ["".join(choice) for choice in itertools.product(*parts)]


def _numbers(inside: str, text: str) -> list[str]:
    """``001-003,7`` to its numbers, as wide as a range's first is written."""
    found: list[str] = []
    for part in inside.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise _no_list(text, f"{part!r} is no range")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low:
            raise _no_list(text, f"the range {part} goes down")
        _check_size([high - low + 1], text)
        found += [str(number).zfill(len(match[1])) for number in range(low, high + 1)]
    return found


def _check_size(lengths: list[int], text: str) -> None:
    size = 1
    for length in lengths:
        size *= length
    if size > MOST:
        raise _no_list(text, f"it stands for more than {MOST} names")


def _no_list(text: str, why: str) -> Invalid:
    return Invalid(f"this is no host list: {why}", where=repr(text[:200]))
