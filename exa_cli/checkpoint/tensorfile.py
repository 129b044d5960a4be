"""The safetensors format, written as a stream: a header, then the tensors one after another.

Format: https://github.com/huggingface/safetensors (8 bytes little-endian header length, JSON
header, data without gaps). Written here so that an export needs neither the library nor the
whole file in memory, and so that equal weights give equal bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from exa_cli.checkpoint.dtypes import ITEM_BYTES


@dataclass(frozen=True)
class Head:
    """A tensor of the file: its name, safetensors dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def header(heads: Sequence[Head]) -> bytes:
    """Everything before the data, for tensors stored in the order given."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for head in heads:
        end = at + head.bytes
        entries[head.name] = {
            "dtype": head.dtype,
            "shape": list(head.shape),
            "data_offsets": [at, end],
        }
        at = end
    body = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    body += b" " * (-len(body) % 8)  # the data starts aligned, as the library itself writes it
    return len(body).to_bytes(8, "little") + body
