"""Parity groups: which chunks of which files are protected together. Pure.

All chunks of all files stand in one line, file after file, and position p belongs to group
p mod G. So a file of at most G chunks never has two in one group, and files that stand beside
each other in the line (those of one node, of one rack) are spread over the groups as evenly as
any assignment can. G is the least number of groups that the wish allows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from exa_cli.checkpoint.datafile import CHUNK_BYTES, chunk_count, chunk_span

Tiers = Mapping[str, Sequence[str]]
"""File name → where its writer ran, the widest place first: ("rack3", "node17")."""


@dataclass(frozen=True)
class Plan:
    """``sizes`` are the files' bytes in the order of the line; ``groups`` is G."""

    sizes: tuple[int, ...]
    groups: int

    @cached_property
    def chunks(self) -> tuple[int, ...]:
        return tuple(map(chunk_count, self.sizes))

    @cached_property
    def _firsts(self) -> tuple[int, ...]:
        """Position of each file's first chunk, and the end of the line."""
        return (0, *accumulate(self.chunks))

    def group_of(self, file: int, chunk: int) -> int:
        return (self._firsts[file] + chunk) % self.groups

    def members(self, group: int) -> list[tuple[int, int]]:
        """(file, chunk) of each member, in the order of the line."""
        return [self._at(position) for position in range(group, self._firsts[-1], self.groups)]

    def _at(self, position: int) -> tuple[int, int]:
        file = bisect_right(self._firsts, position) - 1
        return file, position - self._firsts[file]

    def chunk_bytes(self, file: int, chunk: int) -> int:
        low, high = chunk_span(chunk, self.sizes[file])
        return high - low

    def width(self, group: int) -> int:
        """Bytes of the group's longest member, and so of its parity."""
        return max(self.chunk_bytes(file, chunk) for file, chunk in self.members(group))

    def rebuildable(self, file: int) -> bool:
        """Whether the file can be lost whole: no two of its chunks share a group."""
        return self.chunks[file] <= self.groups


def ordered(names: Iterable[str], tiers: Tiers | None) -> list[str]:
    """The line: files of one rack beside each other, in it those of one node."""
    places = tiers or {}
    return sorted(names, key=lambda name: (tuple(places.get(name, ())), name))


def planned(sizes: Sequence[int], group: int, *, whole_files: bool) -> Plan:
    """Groups of at most ``group`` chunks.

    With ``whole_files`` there are so many that any file can be rebuilt: at least as many as the
    largest file has chunks.
    """
    if group < 1:
        raise ValueError("a group has at least one member")
    counts = [chunk_count(size) for size in sizes]
    groups = -(-sum(counts) // group)
    if whole_files:
        groups = max([groups, *counts])
    return Plan(tuple(sizes), groups)


def worth_whole_files(sizes: Sequence[int], group: int) -> bool:
    """Whether parity that survives the loss of any file is worth its bytes.

    It is as large as the largest file. Where that file is more than ``group`` times all others
    together (one large shard and a few small JSON files), this would be a second copy of
    nearly everything.
    """
    largest = max(sizes, default=0)
    others = max(sum(sizes) - largest, CHUNK_BYTES if len(sizes) > 1 else 0)
    return others * group >= largest and len(sizes) > 1
