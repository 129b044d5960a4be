from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_train.data.order import epoch, window_indices


def _chi_square(counts: Counter[object], cells: int) -> float:
    """Against equal shares; missing cells count as zero."""
    expected = sum(counts.values()) / cells
    seen = sum((count - expected) ** 2 / expected for count in counts.values())
    return seen + (cells - len(counts)) * expected


@pytest.mark.parametrize(("step", "batch", "windows"), [(0, 1, 0), (0, 0, 5), (-1, 4, 5)])
def test_senseless_counts_are_refused(step: int, batch: int, windows: int) -> None:
    with pytest.raises(ValueError, match="no order"):
        window_indices(0, step, batch, windows)


@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 10**9))
def test_each_epoch_holds_every_window_once(windows: int, seed: int, number: int) -> None:
    assert sorted(window_indices(seed, number, windows, windows)) == list(range(windows))


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 99))
def test_the_batch_size_cuts_one_and_the_same_stream(windows: int, batch: int, seed: int) -> None:
    one_by_one = [window_indices(seed, p, 1, windows)[0] for p in range(6 * batch)]
    batches = [window_indices(seed, s, batch, windows) for s in range(6)]
    assert [index for indices in batches for index in indices] == one_by_one


@pytest.mark.parametrize("windows", [2, 5, 7, 300])
def test_every_window_is_equally_likely_at_every_place(windows: int) -> None:
    epochs = 6_000 // windows
    counts: Counter[object] = Counter()
    for number in range(epochs):
        counts.update(enumerate(window_indices(11, number, windows, windows)[:5]))
    places = min(windows, 5)
    freedom = places * (windows - 1)
    # Mean of chi-square = degrees of freedom, standard deviation = sqrt(2 * that).
    assert _chi_square(counts, places * windows) < freedom + 5 * (2 * freedom) ** 0.5


def test_neighbours_in_an_epoch_are_independent() -> None:
    counts: Counter[object] = Counter(tuple(window_indices(3, n, 5, 5)[:2]) for n in range(3000))
    assert set(counts) == {(a, b) for a, b in product(range(5), repeat=2) if a != b}
    assert _chi_square(counts, 20) < 19 + 5 * 38**0.5


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = [tuple(window_indices(seed, n, 64, 64)) for seed in range(8) for n in range(8)]
    assert len(set(orders)) == 64


def test_the_order_never_changes_between_versions() -> None:
    """A run resumed by a later exa must go on with the same samples."""
    assert window_indices(1, 0, 8, 1000) == GOLDEN_START
    assert window_indices(1, 10**7, 4, 123_456_789) == GOLDEN_FAR


GOLDEN_START = [122, 946, 490, 350, 41, 731, 3, 376]
GOLDEN_FAR = [80548774, 119774919, 119505873, 119698997]


def test_epoch_counts_what_was_seen_before_the_step() -> None:
    assert epoch(0, 4, 100) == 0
    assert epoch(50, 4, 100) == 2
