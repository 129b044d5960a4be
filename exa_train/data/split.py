"""Which documents are held out, and which the tokenizer learns from. Pure.

Each decision is a hash of the seed and the document's own text. It does not change with the
order, the names or the number of the other documents, and equal documents always fall on the
same side, so no exact copy of a held-out document is trained on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exa_cli.base.errors import Invalid
from exa_train.data.mix import U64, key, mix64

Mask = npt.NDArray[np.bool_]


def scores(identities: U64, seed: int, purpose: str) -> U64:
    """A uniform 64-bit number per document, independent between seeds and purposes.

    Args:
        identities: (N,) hashes of the documents' text.
    """
    return mix64(identities ^ np.uint64(key(purpose, seed)))


def held_out(identities: U64, fraction: float, seed: int) -> Mask:
    """True for the documents that are kept from training: (N,) bool.

    The share is ``fraction`` on average. A corpus too small for that still gets one document
    (and its copies) on each side: the lowest score is held out, the highest trained on.

    Raises:
        Invalid: fewer than two different documents.
    """
    ranks = scores(identities, seed, "held-out")
    low, high = ranks.min(), ranks.max()
    if low == high:
        raise Invalid(
            "the corpus holds one document only (or copies of one): nothing can be held out",
            hint="a .txt file is one document, and is cut only if it has enough different lines; "
            "give more text, several files, or .jsonl with one document a line",
        )
    limit = np.uint64(min(int(fraction * 2.0**64), 2**64 - 1))
    chosen: Mask = (ranks == low) | ((ranks < limit) & (ranks != high))
    return chosen


def sample(identities: U64, sizes: U64, limit: int, seed: int) -> npt.NDArray[np.int64]:
    """Documents that together hold about ``limit`` bytes, chosen by hash: their indices, rising.

    At least one; the last one chosen may go over the limit.
    """
    order = np.argsort(scores(identities, seed, "tokenizer-sample"), kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]
    return np.sort(order[before < np.uint64(max(limit, 1))])
