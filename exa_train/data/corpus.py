"""The corpus: every source scanned once, every document known by its hash and size."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exa_cli.base import talk
from exa_cli.base.errors import Invalid, several
from exa_train.data import cut
from exa_train.data.documents import DOCUMENT, DocumentReader, Scanned, scan
from exa_train.data.inputs import Source, discover
from exa_train.data.mix import U64
from exa_train.data.progress import megabytes
from exa_train.data.request import Request
from exa_train.data.workers import ordered_map

_PARALLEL_SCAN_BYTES = 1 << 26
_BATCH_BYTES = 1 << 23
_FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Corpus:
    """The scanned sources.

    Attributes:
        skipped: what was left out: reason → count.
        identities, sizes: (N,) over all documents in order.
        pieces: how many the only document was cut into; they stand in for documents. 0: not cut.
    """

    scanned: tuple[Scanned, ...]
    skipped: Counter[str]
    identities: U64
    sizes: U64
    pieces: int = 0

    @property
    def bytes(self) -> int:
        return int(self.sizes.sum())


def scan_corpus(request: Request) -> Corpus:
    """Read all inputs once. Raises Invalid naming each fault, or when no text is left."""
    found = discover(request.inputs, skip_bad=request.skip_bad)
    scanned = tuple(_scan_all(found.sources, request))
    _raise_faults(scanned)
    skipped = sum((source.skipped for source in scanned), found.skipped)
    corpus = _joined(scanned, skipped)
    if not len(corpus.sizes):
        raise Invalid(
            f"no text in the input ({_counts(skipped) or 'no files'})",
            where=", ".join(request.inputs),
            hint="give .txt .md .rst .py .jsonl or .jsonl.gz files with text in them",
        )
    _say_scanned(corpus)
    return _in_pieces(corpus, request) if _all_equal(corpus.identities) else corpus


def _joined(scanned: tuple[Scanned, ...], skipped: Counter[str], pieces: int = 0) -> Corpus:
    documents = np.concatenate([source.documents for source in scanned] or [np.zeros(0, DOCUMENT)])
    identities = documents["high"] ^ documents["low"]
    return Corpus(scanned, skipped, identities, documents["bytes"], pieces)


def _all_equal(identities: U64) -> bool:
    return bool((identities == identities[0]).all())


def _in_pieces(corpus: Corpus, request: Request) -> Corpus:
    """The corpus with its only document, and every copy of it, cut: unchanged where that gives
    no two different pieces."""
    pieces = cut.pieces(_first_text(corpus, request).encode())
    scanned = tuple(
        replace(source, documents=cut.placed(pieces, source.documents)) for source in corpus.scanned
    )
    found = _joined(scanned, corpus.skipped, len(pieces))
    if _all_equal(found.identities):
        return corpus
    talk.say(f"cut: the only document, at line ends into {len(pieces)} pieces, to hold some out")
    return found


def _first_text(corpus: Corpus, request: Request) -> str:
    source = next(source for source in corpus.scanned if len(source.documents))
    with contextlib.closing(DocumentReader(request.text_field)) as reader:
        return next(reader.texts(source.source, source.documents[:1]))


def _scan_all(sources: Sequence[Source], request: Request) -> Iterator[Scanned]:
    """In this process while the corpus is small: starting workers takes longer than reading."""
    batches = list(_batches(sources))
    small = sum(size for size, _ in batches) < _PARALLEL_SCAN_BYTES
    results = ordered_map(
        _scan_batch,
        [(batch, request.text_field) for _, batch in batches],
        workers=1 if small else request.workers,
        setup=_no_setup,
    )
    for result in results:
        yield from result


def _no_setup() -> None:
    """Scanning needs nothing prepared."""


def _scan_batch(work: tuple[list[Source], str]) -> list[Scanned]:
    return [scan(source, work[1]) for source in work[0]]


def _batches(sources: Sequence[Source]) -> Iterator[tuple[int, list[Source]]]:
    """Sources in groups of some megabytes, so that small files do not cost a message each."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        batch.append(source)
        with contextlib.suppress(OSError):  # the scan reports what cannot be read
            size += os.stat(source.path).st_size
        if size >= _BATCH_BYTES:
            yield size, batch
            batch, size = [], 0
    if batch:
        yield size, batch


def _raise_faults(scanned: Sequence[Scanned]) -> None:
    faults = [source.fault for source in scanned if source.fault]
    if len(faults) > _FAULTS_SHOWN:
        rest = len(faults) - _FAULTS_SHOWN
        faults = [*faults[:_FAULTS_SHOWN], Invalid(f"and {rest} more files like these")]
    if faults:
        raise several(Invalid, faults)


def _say_scanned(corpus: Corpus) -> None:
    left_out = _counts(corpus.skipped)
    talk.say(
        f"scan: {len(corpus.scanned):,} files, {len(corpus.sizes):,} documents, "
        f"{megabytes(corpus.bytes)} MB" + (f"; left out: {left_out}" if left_out else "")
    )


def _counts(skipped: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))


def texts(request: Request, corpus: Corpus, chosen: npt.NDArray[np.int64]) -> list[str]:
    """The text of documents by their rising numbers, in all at most ``sample_bytes`` characters."""
    reader = DocumentReader(request.text_field)
    found: list[str] = []
    position = 0
    for source in corpus.scanned:
        end = position + len(source.documents)
        first, last = np.searchsorted(chosen, (position, end))
        found += reader.texts(source.source, source.documents[chosen[first:last] - position])
        position = end
    reader.close()
    return [text[: request.sample_bytes] for text in found]
