"""Which chunks are protected together: what must hold for any files."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.checkpoint.datafile import CHUNK_BYTES
from exa_cli.checkpoint.groups import ordered, planned, worth_whole_files
from exa_cli.checkpoint.xor import Xor, xor

SIZES = st.lists(st.integers(0, 40 * CHUNK_BYTES), min_size=1, max_size=30)


@given(sizes=SIZES, group=st.integers(1, 10), whole=st.booleans())
def test_every_chunk_is_in_one_group_and_no_group_is_too_large(
    sizes: list[int], group: int, whole: bool
) -> None:
    plan = planned(sizes, group, whole_files=whole)
    members = [member for g in range(plan.groups) for member in plan.members(g)]
    assert sorted(members) == [(f, c) for f, n in enumerate(plan.chunks) for c in range(n)]
    for number in range(plan.groups):
        found = plan.members(number)
        assert 1 <= len(found) <= group
        assert all(plan.group_of(*member) == number for member in found)


@given(sizes=SIZES, group=st.integers(1, 10))
def test_a_whole_file_takes_at_most_one_chunk_from_each_group(sizes: list[int], group: int) -> None:
    plan = planned(sizes, group, whole_files=True)
    for number in range(plan.groups):
        files = [file for file, _ in plan.members(number)]
        assert len(set(files)) == len(files)
    assert all(plan.rebuildable(file) for file in range(len(sizes)))
    least = max(-(-sum(plan.chunks) // group), max(plan.chunks))
    assert plan.groups == least, "not a byte more parity than that needs"


@given(
    writers=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 8 * CHUNK_BYTES)),
        min_size=1,
        max_size=40,
    ),
    group=st.integers(2, 8),
)
def test_a_node_and_a_rack_have_as_few_chunks_in_a_group_as_any_assignment_allows(
    writers: list[tuple[int, int, int]], group: int
) -> None:
    tiers = {f"f{i}": (f"rack{r}", f"node{r}-{n}") for i, (r, n, _) in enumerate(writers)}
    line = ordered(tiers, tiers)
    plan = planned([writers[int(name[1:])][2] for name in line], group, whole_files=True)
    for level in (0, 1):
        chunks = Counter[str]()
        for name, count in zip(line, plan.chunks, strict=True):
            chunks[tiers[name][level]] += count
        for number in range(plan.groups):
            here = Counter(tiers[line[file]][level] for file, _ in plan.members(number))
            for place, count in here.items():
                assert count <= -(-chunks[place] // plan.groups)


def test_eight_writers_on_eight_nodes_survive_the_loss_of_any_node() -> None:
    tiers = {f"data-{w:06d}.exa": (f"rack{w % 8}",) for w in range(64)}
    line = ordered(tiers, tiers)
    plan = planned([3 * CHUNK_BYTES] * 64, 8, whole_files=True)
    for number in range(plan.groups):
        racks = [tiers[line[file]] for file, _ in plan.members(number)]
        assert len(set(racks)) == len(racks) == 8


def test_one_large_file_beside_small_ones_is_not_mirrored() -> None:
    assert not worth_whole_files([10_000 * CHUNK_BYTES, 900, 80], 8)
    assert worth_whole_files([10 * CHUNK_BYTES, 9 * CHUNK_BYTES], 8)
    assert not worth_whole_files([5 * CHUNK_BYTES], 8)
    single = planned([10 * CHUNK_BYTES], 8, whole_files=False)
    assert single.groups == 2


def test_neighbouring_chunks_of_a_single_file_are_in_different_groups() -> None:
    plan = planned([40 * CHUNK_BYTES], 8, whole_files=False)
    assert [plan.group_of(0, chunk) for chunk in range(6)] == [0, 1, 2, 3, 4, 0]


def test_a_group_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        planned([1], 0, whole_files=True)


@pytest.mark.parametrize("numpy", [True, False])
def test_xor_gives_back_any_one_of_its_members(
    numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not numpy:
        monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    chance = random.Random(5)
    chunks = [os.urandom(chance.randrange(1, 5000)) for _ in range(7)]
    width = max(map(len, chunks))
    parity = xor(width, chunks)
    for lost, chunk in enumerate(chunks):
        rest = [parity, *(c for i, c in enumerate(chunks) if i != lost)]
        assert xor(width, rest)[: len(chunk)] == chunk
    with pytest.raises(ValueError, match="in a group of"):
        Xor(10).add(bytes(11))
