"""Boxes in row-major arrays: where a slice of a tensor lies in the whole, in plain integers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence


def runs(
    shape: Sequence[int], start: Sequence[int], size: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """The contiguous runs of a box, as (offset, length) in elements of the row-major whole.

    ``start`` and ``size`` give the box, one number a dimension of ``shape``. Runs come in the
    order in which the box itself is stored, so their lengths add up along it.
    """
    if math.prod(size) == 0:
        return
    split = _first_contiguous(shape, size)
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    length = math.prod(size[split:])
    tail = sum(start[d] * strides[d] for d in range(split, len(shape)))
    outer = (range(start[d], start[d] + size[d]) for d in range(split))
    for index in itertools.product(*outer):
        yield tail + sum(i * s for i, s in zip(index, strides, strict=False)), length


def _first_contiguous(shape: Sequence[int], size: Sequence[int]) -> int:
    """The outermost dimension from which the box is one run: all dimensions inside are full."""
    split = len(shape)
    while split > 0 and tuple(size[split:]) == tuple(shape[split:]):
        split -= 1
    return split


def fits(shape: Sequence[int], start: Sequence[int], size: Sequence[int]) -> bool:
    """Whether a box lies inside ``shape``."""
    if not len(shape) == len(start) == len(size):
        return False
    return all(min(a, n) >= 0 and a + n <= d for d, a, n in zip(shape, start, size, strict=True))
