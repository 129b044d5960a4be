"""What SentencePiece's Python interface does not tell about a model: how it changes text.

A ``.model`` file is a protocol buffer (``sentencepiece_model.proto``): field 3 is the
NormalizerSpec with 2 = precompiled_charsmap (empty for "identity"), 3 = add_dummy_prefix,
4 = remove_extra_whitespaces, 5 = escape_whitespaces; all three are true unless written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Normalizer:
    """How a model rewrites text before it encodes it."""

    rewrites_characters: bool
    adds_space: bool
    removes_spaces: bool
    escapes_spaces: bool

    @property
    def keeps_text(self) -> bool:
        """Whether nothing but the spelling of spaces changes."""
        changes = self.rewrites_characters or self.adds_space or self.removes_spaces
        return self.escapes_spaces and not changes


def normalizer(model: bytes) -> Normalizer:
    """The normaliser of a serialised model. Raises ValueError when it is not a message."""
    spec = b""
    for number, value in _fields(model):
        if number == 3 and isinstance(value, bytes):
            spec += value  # a message may come in pieces: they count as one
    found = dict(_fields(spec))
    return Normalizer(
        rewrites_characters=bool(found.get(2, b"")),
        adds_space=bool(found.get(3, 1)),
        removes_spaces=bool(found.get(4, 1)),
        escapes_spaces=bool(found.get(5, 1)),
    )


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Each field of a protocol buffer message: its number and its value."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        length, position = _length(kind, message, position)
        if position + length > len(message):
            raise ValueError("a protocol buffer message ends early")
        yield tag >> 3, message[position : position + length]
        position += length


def _length(kind: int, message: bytes, position: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(message, position)
    if kind in (_FIXED64, _FIXED32):
        return (8 if kind == _FIXED64 else 4), position
    raise ValueError(f"wire type {kind} in a protocol buffer message")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message):
            raise ValueError("a protocol buffer message ends early")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
