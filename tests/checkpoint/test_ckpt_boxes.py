from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from exa_cli.checkpoint.boxes import fits, runs


@st.composite
def boxes(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    start = [draw(st.integers(0, dim)) for dim in shape]
    size = [draw(st.integers(0, dim - low)) for dim, low in zip(shape, start, strict=True)]
    return shape, start, size


@given(boxes())
def test_runs_are_the_elements_of_the_box_in_row_major_order(
    box: tuple[list[int], list[int], list[int]],
) -> None:
    shape, start, size = box
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    inside = [range(low, low + n) for low, n in zip(start, size, strict=True)]
    expected = [
        sum(i * s for i, s in zip(index, strides, strict=True))
        for index in itertools.product(*inside)
    ]
    assert [at + i for at, n in runs(shape, start, size) for i in range(n)] == expected


def test_full_rows_are_one_run() -> None:
    assert list(runs((8, 5, 7), (2, 0, 0), (3, 5, 7))) == [(70, 105)]
    assert list(runs((8, 5, 7), (2, 1, 0), (2, 2, 7))) == [(77, 14), (112, 14)]


def test_a_scalar_is_one_run_and_an_empty_box_none() -> None:
    assert list(runs((), (), ())) == [(0, 1)]
    assert list(runs((3, 0), (0, 0), (3, 0))) == []


def test_a_box_outside_or_of_another_rank_does_not_fit() -> None:
    assert fits((3, 4), (1, 0), (2, 4))
    assert not fits((3, 4), (2, 0), (2, 4))
    assert not fits((3, 4), (-1, 0), (2, 4))
    assert not fits((3, 4), (0,), (3,))
