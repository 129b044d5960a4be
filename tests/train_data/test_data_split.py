from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid
from exa_train.data.split import held_out, sample, scores

_IDENTITIES = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=60).filter(
    lambda values: len(set(values)) > 1
)


@pytest.mark.parametrize("identities", [[7], [7, 7, 7]])
def test_one_document_and_its_copies_cannot_be_split(identities: list[int]) -> None:
    with pytest.raises(Invalid, match="one document only"):
        held_out(np.array(identities, np.uint64), 0.5, 0)


@given(_IDENTITIES, st.floats(0.0, 1.0, exclude_min=True, exclude_max=True), st.integers(0, 9))
def test_both_sides_get_a_document_and_copies_stay_together(
    identities: list[int], fraction: float, seed: int
) -> None:
    mask = held_out(np.array(identities, np.uint64), fraction, seed)
    assert 0 < mask.sum() < len(mask)
    sides = {(identity, bool(side)) for identity, side in zip(identities, mask, strict=True)}
    assert len(sides) == len(set(identities))


@given(_IDENTITIES, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(identities: list[int], rng: object) -> None:
    shuffled = list(identities)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    sides = [
        dict(zip(values, held_out(np.array(values, np.uint64), 0.3, 1), strict=True))
        for values in (identities, shuffled)
    ]
    assert sides[0] == sides[1]


def test_the_share_is_kept_and_depends_on_the_seed() -> None:
    identities = np.arange(100_000, dtype=np.uint64)
    masks = [held_out(identities, 0.01, seed) for seed in (0, 1)]
    assert all(abs(mask.sum() - 1000) < 5 * 1000**0.5 for mask in masks)
    assert (masks[0] & masks[1]).sum() < 50


def test_purposes_are_independent() -> None:
    identities = np.arange(10_000, dtype=np.uint64)
    one, other = (scores(identities, 0, purpose) >= 2**63 for purpose in ("held-out", "x"))
    assert abs((one == other).sum() - 5000) < 5 * 50


def test_a_sample_is_bounded_and_rising() -> None:
    sizes = np.full(1000, 100, np.uint64)
    chosen = sample(np.arange(1000, dtype=np.uint64), sizes, 2500, 0)
    assert len(chosen) == 25
    assert (np.diff(chosen) > 0).all()


def test_a_sample_is_never_empty() -> None:
    assert len(sample(np.array([5], np.uint64), np.array([10**9], np.uint64), 1, 0)) == 1
