"""Joining blocks into gather units: nothing lost, nothing torn apart, none too small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exa_train.parallel.units import KEEP_GATHERED, reshards, units

SIZES = st.lists(st.integers(1, 100), max_size=40)
MINIMUM = st.integers(1, 300)


@given(SIZES, MINIMUM)
def test_every_block_is_in_exactly_one_unit_or_none_is(sizes: list[int], minimum: int) -> None:
    joined = [index for unit in units(sizes, minimum) for index in unit]
    assert joined in ([], list(range(len(sizes))))


@given(SIZES, MINIMUM)
def test_no_unit_is_smaller_than_the_minimum(sizes: list[int], minimum: int) -> None:
    for unit in units(sizes, minimum):
        assert sum(sizes[index] for index in unit) >= minimum


@given(SIZES, MINIMUM)
def test_only_a_model_smaller_than_one_unit_has_none(sizes: list[int], minimum: int) -> None:
    assert bool(units(sizes, minimum)) == (sum(sizes) >= minimum)


@given(SIZES, MINIMUM)
def test_no_unit_but_the_last_could_do_without_its_last_block(
    sizes: list[int], minimum: int
) -> None:
    for unit in units(sizes, minimum)[:-1]:
        assert sum(sizes[index] for index in unit[:-1]) < minimum


def test_large_blocks_stand_alone_and_a_small_tail_joins_the_last() -> None:
    assert units([50, 50, 50, 1], 50) == [range(1), range(1, 2), range(2, 4)]


def test_a_model_stays_gathered_up_to_a_gibibyte() -> None:
    assert not reshards(KEEP_GATHERED)
    assert reshards(KEEP_GATHERED + 1)
