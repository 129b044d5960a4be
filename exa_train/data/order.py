"""Which windows a step trains on: a pure function of the seed and the step.

Positions 0, 1, 2, … run through epoch after epoch; within an epoch each window comes once, in
an order that a keyed permutation gives. Nothing is stored and no rank count enters, so any
number of ranks, started at any step, sees the same samples.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from exa_train.data.mix import U64, key, mix64

ROUNDS = 8
"""Four make a Feistel network indistinguishable from a random permutation when the round
function is random (Luby and Rackoff, 1988); the rest pays for a round function that is not."""

_LEAST_HALF_BITS = 2


def window_indices(seed: int, step: int, global_batch: int, n_windows: int) -> list[int]:
    """The windows of one optimizer step, sequence by sequence.

    Args:
        seed: the run's seed.
        step: 0 for the first step.
        global_batch: sequences a step.
        n_windows: windows in the split.

    Returns:
        ``global_batch`` indices below ``n_windows``. Each epoch of ``n_windows`` consecutive
        positions holds every window once; a step may reach over the end of an epoch.

    Raises:
        ValueError: a count below one, or a negative step.
    """
    if n_windows < 1 or global_batch < 1 or step < 0:
        raise ValueError(f"no order for step {step} of {global_batch} out of {n_windows} windows")
    position, end = step * global_batch, (step + 1) * global_batch
    indices: list[int] = []
    while position < end:
        epoch, offset = divmod(position, n_windows)
        count = min(end - position, n_windows - offset)
        offsets = np.arange(offset, offset + count, dtype=np.uint64)
        indices += permute(offsets, n_windows, round_keys(seed, epoch)).tolist()
        position += count
    return indices


def epoch(step: int, global_batch: int, n_windows: int) -> float:
    """How many times the split was seen before ``step``."""
    return step * global_batch / n_windows


@lru_cache(maxsize=8)
def round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    """The permutation's key: one word a round, another one every epoch."""
    return tuple(key("window-order", seed, epoch, number) for number in range(ROUNDS))


def permute(offsets: U64, size: int, keys: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """A permutation of ``range(size)``, at the places ``offsets``.

    A balanced Feistel network permutes the next larger 4**k; values that land outside
    ``size`` go through it again until they are inside ("cycle walking", Black and Rogaway,
    CT-RSA 2002), which leaves a permutation of ``range(size)``. The domain is less than four
    times ``size`` (or 16), so few passes are needed.
    """
    half = max(_LEAST_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    values = _feistel(offsets, half, keys)
    while (outside := values >= np.uint64(size)).any():
        values[outside] = _feistel(values[outside], half, keys)
    return values.astype(np.int64)


def _feistel(values: U64, half: int, keys: tuple[int, ...]) -> U64:
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for word in keys:
        left, right = right, left ^ (mix64(right ^ np.uint64(word)) & mask)
    joined: U64 = (left << bits) | right
    return joined
