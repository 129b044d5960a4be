"""What a model must beat: the whole training split's unigram and bigram statistics.

The bigram is interpolated Kneser-Ney (Kneser and Ney, ICASSP 1995; Chen and Goodman, 1999):

    p(w | v) = max(c(v,w) - D, 0) / c(v) + D * n(v,·) / c(v) * q(w)
    q(w)     = (n(·,w) + 1) / (n(·,·) + V)

with c counts, n numbers of distinct pairs, and D = n1 / (n1 + 2 n2) from the numbers of pairs
seen once and twice (Ney, Essen and Kneser, 1994). All of it comes from the training split:
nothing is tuned on held-out text. Pairs are counted sparsely, so a large vocabulary V costs
memory by the pairs that occur and never V * V.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exa_train.data.manifest import load_manifest
from exa_train.data.reader import stream

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_TABLE = 1 << 22
"""Up to this many possible pairs are counted in a table, which beats sorting."""


@dataclass(frozen=True)
class Counts:
    """Counts of a token sequence.

    Attributes:
        tokens: (V,) how often each token occurs.
        pairs: (P,) codes v * V + w of the pairs that occur, rising; times: (P,) how often.
    """

    tokens: Ints
    pairs: Ints
    times: Ints


@dataclass(frozen=True)
class Baselines:
    """Fitted statistics, as natural logarithms of probabilities.

    Attributes:
        vocab: V. discount: D.
        unigram: (V,) log p(w), add-one smoothed.
        pairs: (P,) codes as in `Counts`; seen: (P,) their log p(w | v).
        backoff: (V,) log of the mass that context v leaves to q; 0 for a context never seen.
        continuation: (V,) log q(w).
    """

    vocab: int
    discount: float
    unigram: Floats
    pairs: Ints
    seen: Floats
    backoff: Floats
    continuation: Floats

    def bigram(self, context: Ints, token: Ints) -> Floats:
        """log p(token | context), elementwise over arrays of one shape."""
        codes = context * self.vocab + token
        unseen = self.backoff[context] + self.continuation[token]
        if not len(self.pairs):
            return unseen
        place = np.minimum(np.searchsorted(self.pairs, codes), len(self.pairs) - 1)
        return np.where(self.pairs[place] == codes, self.seen[place], unseen)

    def nats(self, windows: Ints) -> dict[str, float]:
        """Mean negative log-likelihood in nats per target token.

        Args:
            windows: (N, T + 1) int64 tokens; the T targets of a row are its last T tokens, each
                predicted from the token before it, as the model's are.

        Raises:
            ValueError: no targets.
        """
        inputs, targets = windows[:, :-1], windows[:, 1:]
        if not targets.size:
            raise ValueError("no targets to score")
        return {
            "unigram": float(-self.unigram[targets].mean()),
            "bigram": float(-self.bigram(inputs, targets).mean()),
        }


def fit(directory: Path | str) -> Baselines:
    """Fit on the whole training split of a prepared directory, read once from end to end."""
    vocab = load_manifest(directory).vocab
    return from_counts(count(stream(directory, "train"), vocab), vocab)


def count(blocks: Iterable[Ints], vocab: int) -> Counts:
    """Count tokens and pairs of a sequence that comes in blocks; pairs reach over blocks."""
    tokens = np.zeros(vocab, np.int64)
    pairs = _Pairs(vocab)
    last = np.zeros(0, np.int64)
    for block in blocks:
        tokens += np.bincount(block, minlength=vocab)
        joined = np.concatenate([last, block])
        pairs.add(joined[:-1] * vocab + joined[1:])
        last = block[-1:]
    return Counts(tokens, *pairs.total())


def from_counts(counts: Counts, vocab: int) -> Baselines:
    """The smoothed distributions (the formulas above)."""
    before, after = np.divmod(counts.pairs, vocab)
    context = np.bincount(before, counts.times, vocab)
    distinct = np.bincount(before, minlength=vocab)
    q = (np.bincount(after, minlength=vocab) + 1) / (len(counts.pairs) + vocab)
    d = discount(counts.times)
    left = np.divide(d * distinct, context, out=np.ones(vocab), where=context > 0)
    seen = (counts.times - d) / context[before] + left[before] * q[after]
    return Baselines(
        vocab=vocab,
        discount=d,
        unigram=np.log((counts.tokens + 1) / (counts.tokens.sum() + vocab)),
        pairs=counts.pairs,
        seen=np.log(seen),
        backoff=np.log(left),
        continuation=np.log(q),
    )


def discount(times: Ints) -> float:
    """D = n1 / (n1 + 2 n2), in (0, 1].

    Where no pair occurs once or none twice the estimate means nothing (0 would deny unseen
    pairs, 1 the seen ones): then 0.5.
    """
    once, twice = int((times == 1).sum()), int((times == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5


class _Pairs:
    """Counts of pair codes: a table while the vocabulary is small, else merged sorted runs."""

    def __init__(self, vocab: int) -> None:
        self._table = np.zeros(vocab * vocab, np.int64) if vocab * vocab <= _TABLE else None
        self._runs: list[tuple[Ints, Ints]] = []

    def add(self, codes: Ints) -> None:
        if self._table is not None:
            self._table += np.bincount(codes, minlength=len(self._table))
            return
        self._runs.append(np.unique(codes, return_counts=True))
        # Equal sizes merge, as in a merge sort, so no pair is copied more than log N times.
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._runs.append(_merge(self._runs.pop(), self._runs.pop()))

    def total(self) -> tuple[Ints, Ints]:
        if self._table is not None:
            codes = np.flatnonzero(self._table)
            return codes, self._table[codes]
        while len(self._runs) > 1:
            self._runs.append(_merge(self._runs.pop(), self._runs.pop()))
        return self._runs[0] if self._runs else (np.zeros(0, np.int64), np.zeros(0, np.int64))


def _merge(one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    codes, inverse = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    times = np.bincount(inverse, np.concatenate([one[1], other[1]]), len(codes))
    return codes, times.astype(np.int64)
