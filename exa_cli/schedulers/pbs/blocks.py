"""What PBS prints of things other than jobs: a name at the left, and its attributes. Pure.

An attribute is an indented line ``name = value``; a value that goes on begins its next line with a
tab (recordings: openpbs/00). Jobs are read by `read`, for their variables may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ATTRIBUTE = re.compile(r" +([A-Za-z_.]+) = (.*)")


def blocks(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each name that has attributes, with them, in the order in which they stand there."""
    name, said = "", dict[str, str]()
    for line in [*text.replace("\n\t", "").splitlines(), "end"]:
        if found := _ATTRIBUTE.fullmatch(line):
            said[found[1]] = found[2].strip()
        elif line and line[0].isprintable() and not line[0].isspace():
            if name and said:
                yield name, said
            name, said = line.strip(), {}
