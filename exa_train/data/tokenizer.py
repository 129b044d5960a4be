"""SentencePiece, kept lossless: what is encoded decodes to exactly the same text."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from exa_cli.base.errors import Invalid
from exa_train.data import spmodel

UNK, BOS, EOS, PAD = range(4)
RESERVED = tuple(f"<reserved_{number}>" for number in range(8))
"""Control symbols: no text can spell them, so they are free for later use (chat turns, …)."""

FIXED = 4 + len(RESERVED) + 256
"""Vocabulary entries that do not depend on the text: specials and the byte fallback."""

SMALLEST = FIXED + 4
COVERAGE = 0.9995
FORMAT = 1
"""Raised whenever the same sample would train another model."""

_SPACE = "\u2581"
_NEVER = ("\0", "\t", _SPACE)
"""Characters that SentencePiece cannot hold in a piece, or uses itself."""
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LONGEST = 1 << 14

Tokens = npt.NDArray[np.int64]


class Tokenizer:
    """A SentencePiece model and the facts about it that preparing needs.

    Attributes:
        model: the serialised model; sha256: its hash.
        vocab: number of tokens; eos: the token that ends a document.
        special: name → id of the tokens that no text produces.
        lossless: decode(encode(text)) == text for every text.
    """

    def __init__(self, model: bytes, where: str = "tokenizer.model") -> None:
        self._processor = _processor(model, where)
        self.model = model
        self.sha256 = hashlib.sha256(model).hexdigest()
        self.vocab: int = self._processor.vocab_size()
        self.eos: int = self._processor.eos_id()
        if self.eos < 0:
            raise Invalid(
                "the tokenizer has no end-of-sequence token",
                where=where,
                hint="documents are told apart by it; train with eos_id set",
            )
        normalizer = spmodel.normalizer(model)
        self.special = _special(self._processor)
        self.lossless = normalizer.keeps_text and _has_bytes(self._processor)
        self._by_line = self.lossless and not _joins_lines(self._processor)
        self._space = self._ids_of_bytes(_SPACE.encode()) if self.lossless else []

    def encode(self, text: str) -> Tokens:
        """(N,) token ids, without begin or end tokens.

        A lossless model is fed line by line: several times faster on long texts. That changes
        no token, because no piece of such a vocabulary reaches over a line break, so no merge
        can. U+2581 is what SentencePiece writes for a space, and would come back as one; it is
        spelled in bytes instead.
        """
        pieces = _LINE.findall(text) if self._by_line else [text]
        if self.lossless and _SPACE in text:
            return np.array([token for piece in pieces for token in self._spelled(piece)], np.int64)
        encoded = self._processor.encode(pieces, num_threads=1)
        return np.fromiter(chain.from_iterable(encoded), np.int64, sum(map(len, encoded)))

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """The text of token ids; special tokens vanish."""
        return str(self._processor.decode([int(token) for token in tokens]))

    def _spelled(self, piece: str) -> list[int]:
        encoded = self._processor.encode(piece.split(_SPACE), num_threads=1)
        return list(encoded[0]) + [
            token for part in encoded[1:] for token in chain(self._space, part)
        ]

    def _ids_of_bytes(self, raw: bytes) -> list[int]:
        return [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in raw]


def load(path: Path) -> Tokenizer:
    """A model from a file. Raises Invalid when it is missing or not one."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read the tokenizer: {error.strerror}", where=str(path)) from error
    return Tokenizer(model, str(path))


def train(texts: Sequence[str], vocab: int) -> Tokenizer:
    """Learn a byte-pair vocabulary (Sennrich et al., 2016) of exactly ``vocab`` tokens.

    No normalisation, white space kept, digits split, bytes as the fallback for rare
    characters. One thread and a fixed sample: the same texts give the same model.

    Raises:
        Invalid: a vocabulary too small to hold the fixed part, or too large for the text.
    """
    if vocab < SMALLEST:
        raise Invalid(
            f"a vocabulary of {vocab} is too small",
            where="--vocab",
            hint=f"at least {SMALLEST}: 256 bytes, {FIXED - 256} special tokens and some text",
        )
    # SentencePiece strips a line break from the end of a line, so a space stands behind it.
    lines = [f"{part} " for text in texts for part in _short_lines(text)]
    lines = _only(alphabet(lines, (vocab - FIXED) // 2), lines)
    model = io.BytesIO()
    try:
        _run_trainer(lines, model, vocab)
    except (RuntimeError, OSError) as error:
        raise _explained(error, vocab) from error
    return Tokenizer(model.getvalue())


def _run_trainer(lines: list[str], model: io.BytesIO, vocab: int) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        byte_fallback=True,
        split_digits=True,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        control_symbols=list(RESERVED),
        max_sentence_length=8 * _LONGEST,
        num_threads=1,
        minloglevel=2,
    )


def alphabet(lines: Sequence[str], most: int) -> str:
    """The characters that get a token of their own; the others are spelled in bytes.

    The most frequent ones: so many that `COVERAGE` of the text is theirs, but at most ``most``,
    so that a small vocabulary over a large alphabet keeps room for merges.
    """
    text = np.frombuffer("".join(lines).encode("utf-32-le"), np.uint32)
    counts = np.bincount(text, minlength=128)
    counts[[ord(sign) for sign in _NEVER if ord(sign) < len(counts)]] = 0
    order = np.argsort(-counts, kind="stable")
    covered = np.cumsum(counts[order])
    enough = int(np.searchsorted(covered, COVERAGE * covered[-1])) + 1
    kept = order[: max(min(enough, most), 1)]
    return "".join(chr(sign) for sign in kept if counts[sign])


def _only(kept: str, lines: list[str]) -> list[str]:
    """The lines with every other character as a tab, which SentencePiece takes for a boundary
    and never for a part of a piece. (Its own setting for this ends at a coverage of 0.98.)"""
    other = re.compile(f"[^{re.escape(kept)}]")
    return [other.sub("\t", line) for line in lines]


def _short_lines(text: str) -> list[str]:
    return [
        line[start : start + _LONGEST]
        for line in _LINE.findall(text)
        for start in range(0, len(line), _LONGEST)
    ]


def _explained(error: Exception, vocab: int) -> Invalid:
    """SentencePiece's own error as ours. It knows the largest vocabulary the text allows."""
    limit = re.search(r"value <= (\d+)", str(error))
    if limit:
        return Invalid(
            f"a vocabulary of {vocab} is too large for this text: at most {limit.group(1)}",
            where="--vocab",
            hint="choose a smaller vocabulary or give more text",
        )
    return Invalid(f"SentencePiece could not learn from this text: {error}", where="--vocab")


def _processor(model: bytes, where: str) -> sentencepiece.SentencePieceProcessor:
    try:
        if model:  # an empty one would be taken for none at all
            return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        pass
    raise Invalid("not a SentencePiece model", where=where)


def _special(processor: sentencepiece.SentencePieceProcessor) -> dict[str, int]:
    size = processor.vocab_size()
    return {
        processor.id_to_piece(token): token
        for token in range(size)
        if processor.is_control(token) or processor.is_unknown(token)
    }


def _has_bytes(processor: sentencepiece.SentencePieceProcessor) -> bool:
    return sum(processor.is_byte(token) for token in range(processor.vocab_size())) == 256


def _joins_lines(processor: sentencepiece.SentencePieceProcessor) -> bool:
    pieces = map(processor.id_to_piece, range(processor.vocab_size()))
    return any("\n" in piece[:-1] for piece in pieces)
