"""Cutting the only document of a corpus into pieces, so that some of it can be held out. Pure.

The split is by document. A corpus of one (a book, a dump) has nothing to hold out, unless its
pieces stand in for documents. They follow each other without a gap, so no text is lost.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from exa_train.data.documents import DOCUMENT, Documents, identity

FORMAT = 1
"""Raised whenever the same document would give other pieces."""

FEWEST_LINES = 5
MOST = 100
_USUAL = 10
_SIZE = 1 << 12
"""Bytes of a piece where there is enough text: below that, a held-out piece has no window."""

_LINE = re.compile(rb"\S[^\n]*")
_BLANK = re.compile(rb"\n(?:[ \t\r]*\n)+")


def pieces(raw: bytes) -> Documents:
    """The pieces of a document, in order, as documents at offset 0.

    Args:
        raw: its text in UTF-8.
    """
    edges = [0, *cuts(raw), len(raw)]
    rows = [(*identity(raw[start:stop]), 0, start, stop - start) for start, stop in pairwise(edges)]
    return np.array(rows, DOCUMENT)


def cuts(raw: bytes) -> list[int]:
    """Where to cut a text into pieces of about equal size: rising positions in it.

    Each is the beginning of a line, after a blank one if there is such a place near, and there
    is more than white space between any two. A text with fewer than `FEWEST_LINES` different
    lines is not cut: nothing in it would be new to a model that has read the rest.
    """
    if not _has_lines(raw):
        return []
    begin, end = len(raw) - len(raw.lstrip()), len(raw.rstrip())
    size = end - begin
    count = min(max(size // _SIZE, _USUAL), MOST)
    targets = (begin + size * number // count for number in range(1, count))
    found = {_nearest(raw, target, size // (4 * count), begin, end) for target in targets}
    return _apart(raw, sorted(found))


def _has_lines(raw: bytes) -> bool:
    seen: set[bytes] = set()
    for line in _LINE.finditer(raw):
        seen.add(line[0].rstrip())
        if len(seen) == FEWEST_LINES:
            return True
    return False


def _nearest(raw: bytes, target: int, reach: int, begin: int, end: int) -> int:
    """The line between ``begin`` and ``end`` that begins nearest to the target.

    Within ``reach`` bytes of it, the ends of blank lines come first.
    """
    blank = _BLANK.finditer(raw, max(target - reach, begin), min(target + reach, end))
    places = [match.end() for match in blank]
    if not places:
        places = [raw.rfind(b"\n", 0, target) + 1, raw.find(b"\n", target) + 1]
    inside = (place for place in places if begin < place < end)
    return min(inside, key=lambda place: (abs(place - target), place))


def _apart(raw: bytes, places: list[int]) -> list[int]:
    """Without those that have nothing but white space before them."""
    kept = [0]
    for place in places:
        if not raw[kept[-1] : place].isspace():
            kept.append(place)
    return kept[1:]


def placed(pieces: Documents, copies: Documents) -> Documents:
    """The pieces of every copy of the document that they were cut from, in order."""
    result = np.tile(pieces, len(copies))
    result["offset"] = np.repeat(copies["offset"], len(pieces))
    return result
