"""Lists of CPUs as the kernel writes them: ``0-7,32-39`` (cpuset(7), List Format). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


def cpus(text: str) -> tuple[int, ...]:
    """The CPUs of a list, in its order. Raises ValueError for what is no list, an empty range
    or a CPU that stands in it twice."""
    found: list[int] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part!r} is no CPU and no range of them")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{part!r} ends before it begins")
        found += range(first, last + 1)
    if len(set(found)) != len(found):
        raise ValueError("a CPU stands in it twice")
    return tuple(found)


def written(numbers: Iterable[int]) -> str:
    """The shortest list of some CPUs, in rising order."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def wrong_with(text: str) -> str | None:
    """What is wrong with a list, in words; None when it is one, or a word that stands for none."""
    if text in ("none", "unknown"):
        return None
    try:
        cpus(text)
    except ValueError as error:
        return f"expected CPUs such as 0-7,32-39: {error}"
    return None
