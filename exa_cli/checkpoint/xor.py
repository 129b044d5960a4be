"""The arithmetic of parity: XOR of chunks, the shorter ones taken as if zeros followed.

The only place of parity that computes with numbers. numpy does it at the speed of memory;
without numpy, Python's integers do the same some thirty times slower, which is enough to
repair a chunk on a node that has nothing installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

Bytes = bytes | bytearray | memoryview


class Xor:
    """Takes up chunks one by one; ``value`` is their XOR, ``width`` bytes long."""

    def __init__(self, width: int) -> None:
        self._value = bytearray(width)
        self._numpy = _numpy()

    def add(self, chunk: Bytes) -> None:
        """Raises ValueError for a chunk longer than the width."""
        length = memoryview(chunk).nbytes
        if length > len(self._value):
            raise ValueError(f"a chunk of {length} bytes in a group of {len(self._value)}")
        if length == 0:
            return
        if self._numpy is None:
            self._value[:length] = _plain(self._value[:length], chunk)
            return
        mine = self._numpy.frombuffer(self._value, dtype="u1", count=length)
        theirs = self._numpy.frombuffer(chunk, dtype="u1", count=length)
        self._numpy.bitwise_xor(mine, theirs, out=mine)

    @property
    def value(self) -> bytes:
        return bytes(self._value)


def xor(width: int, chunks: Iterable[Bytes]) -> bytes:
    """The XOR of all chunks."""
    total = Xor(width)
    for chunk in chunks:
        total.add(chunk)
    return total.value


def _plain(left: Bytes, right: Bytes) -> bytes:
    number = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return number.to_bytes(len(left), "little")


def _numpy() -> ModuleType | None:
    try:
        import numpy
    except ImportError:
        return None
    return numpy
