from __future__ import annotations

import math
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_train.data import baselines
from exa_train.data.baselines import Baselines, count, discount, fit, from_counts
from exa_train.data.reader import TokenSplit, stream

_V = 6
_SEQUENCES = st.lists(st.integers(0, _V - 1), min_size=2, max_size=80)


def _fitted(tokens: list[int], vocab: int = _V, block: int = 1000) -> Baselines:
    array = np.array(tokens, np.int64)
    blocks = (array[start : start + block] for start in range(0, len(array), block))
    return from_counts(count(blocks, vocab), vocab)


def _slow_bigram(tokens: list[int], before: int, after: int) -> float:
    """The formulas of the module's docstring, with dictionaries and one number at a time."""
    pairs = Counter(pairwise(tokens))
    n1, n2 = (sum(times == wanted for times in pairs.values()) for wanted in (1, 2))
    d = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    q = (sum(w == after for _, w in pairs) + 1) / (len(pairs) + _V)
    c = sum(times for (v, _), times in pairs.items() if v == before)
    if not c:
        return q
    distinct = sum(v == before for v, _ in pairs)
    return max(pairs[before, after] - d, 0) / c + d * distinct / c * q


def test_no_targets_is_an_error() -> None:
    with pytest.raises(ValueError, match="no targets"):
        _fitted([0, 1]).nats(np.zeros((0, 5), np.int64))


@given(_SEQUENCES)
def test_bigram_agrees_with_the_slow_reference(tokens: list[int]) -> None:
    fitted = _fitted(tokens)
    grid = np.arange(_V)
    for before in range(_V):
        fast = np.exp(fitted.bigram(np.full(_V, before), grid))
        assert fast == pytest.approx([_slow_bigram(tokens, before, w) for w in range(_V)])


@given(_SEQUENCES)
def test_probabilities_sum_to_one_in_every_context(tokens: list[int]) -> None:
    fitted = _fitted(tokens)
    before, after = np.divmod(np.arange(_V * _V), _V)
    sums = np.exp(fitted.bigram(before, after)).reshape(_V, _V).sum(axis=1)
    assert sums == pytest.approx(np.ones(_V))
    assert np.exp(fitted.unigram).sum() == pytest.approx(1)


@given(_SEQUENCES, st.integers(1, 30))
def test_blocks_and_counting_method_change_nothing(tokens: list[int], block: int) -> None:
    whole = count([np.array(tokens)], _V)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_TABLE", 0)
        sparse = count((np.array(tokens[i : i + block]) for i in range(0, len(tokens), block)), _V)
    for name in ("tokens", "pairs", "times"):
        assert getattr(sparse, name).tolist() == getattr(whole, name).tolist()
    pairs = Counter(v * _V + w for v, w in pairwise(tokens))
    assert dict(zip(whole.pairs.tolist(), whole.times.tolist(), strict=True)) == pairs


def test_a_large_vocabulary_costs_memory_by_the_pairs_that_occur() -> None:
    vocab = 65_536  # a table would take 34 GB
    tokens = np.random.default_rng(0).integers(0, vocab, 200_000)
    tracemalloc.start()
    fitted = from_counts(count([tokens], vocab), vocab)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * len(tokens) + 200 * vocab
    assert np.exp(fitted.bigram(np.full(vocab, tokens[0]), np.arange(vocab))).sum() == (
        pytest.approx(1)
    )


def test_the_discount_is_estimated_from_rare_pairs_and_stays_sensible() -> None:
    assert discount(np.array([1, 1, 2, 5])) == pytest.approx(2 / 4)
    assert discount(np.array([1, 1, 1])) == 0.5
    assert discount(np.array([7, 7])) == 0.5
    assert discount(np.array([], np.int64)) == 0.5


def test_nats_are_the_mean_over_targets() -> None:
    tokens = [0, 1, 2, 0, 1, 3, 0, 1, 2, 5]
    windows = np.array([[0, 1, 2], [4, 4, 4]])
    nats = _fitted(tokens).nats(windows)
    slow = [_slow_bigram(tokens, v, w) for v, w in ((0, 1), (1, 2), (4, 4), (4, 4))]
    assert nats["bigram"] == pytest.approx(-sum(map(math.log, slow)) / 4)
    share = {w: (tokens.count(w) + 1) / (len(tokens) + _V) for w in range(_V)}
    slow = [share[w] for w in (1, 2, 4, 4)]
    assert nats["unigram"] == pytest.approx(-sum(map(math.log, slow)) / 4)


def test_fitting_reads_the_whole_training_split_and_nothing_else(prepared: Path) -> None:
    tokens = np.concatenate(list(stream(prepared, "train", block=777)))
    slow, fitted = _fitted(tokens.tolist(), 400), fit(prepared)
    for name in ("unigram", "seen", "backoff", "continuation"):
        assert getattr(fitted, name).tolist() == getattr(slow, name).tolist()


def test_a_bigram_beats_a_unigram_on_held_out_text(prepared: Path) -> None:
    heldout = TokenSplit(prepared, "heldout", 32)
    nats = fit(prepared).nats(heldout.windows(range(len(heldout))))
    assert 0 < nats["bigram"] < nats["unigram"] < math.log(400)
