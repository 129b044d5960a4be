"""A 64-bit mixer for decisions that must be the same everywhere: which document, which window."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]


def key(*parts: object) -> int:
    """64 bits that name a tuple of plain values (BLAKE2b of their text form)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix64(values: U64) -> U64:
    """A bijection of 64-bit words in which each input bit flips each output bit half the time.

    The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014; constants: Stafford's
    variant 13). Multiplication wraps modulo 2**64.
    """
    z = values ^ (values >> np.uint64(30))
    z = z * np.uint64(0xBF58476D1CE4E5B9)
    z = z ^ (z >> np.uint64(27))
    z = z * np.uint64(0x94D049BB133111EB)
    mixed: U64 = z ^ (z >> np.uint64(31))
    return mixed
