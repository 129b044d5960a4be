"""Tensors as bytes: element types, raw memory, statistics."""

from __future__ import annotations

import math

import torch

from exa_cli.base.errors import Invalid
from exa_cli.checkpoint.manifest import Stats

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
# Statistics are for what an optimizer computes with; float8 has no arithmetic on the CPU.
_MEASURED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# What is measured at a time: small enough that three passes over it stay in a core's own cache.
_PIECE_BYTES = 512 << 10


def dtype_name(dtype: torch.dtype) -> str:
    """The safetensors name. Raises Invalid for a type that has none (complex, quantised)."""
    if dtype not in _NAMES:
        raise Invalid(f"a checkpoint cannot hold tensors of {dtype}")
    return _NAMES[dtype]


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """A CPU tensor with the same elements in row-major order, 1-D; a view where possible."""
    return tensor.detach().cpu().contiguous().reshape(-1)


def raw(flat_tensor: torch.Tensor) -> memoryview:
    """The memory of a contiguous 1-D CPU tensor as bytes; writing to it writes the tensor."""
    return flat_tensor.view(torch.uint8).numpy().data


class Measure:
    """Statistics of one slice, taken piece by piece while the bytes pass through the cache."""

    def __init__(self, values: torch.Tensor) -> None:
        """``values``: 1-D. Types without statistics are ignored."""
        self._values = values if values.dtype in _MEASURED else None
        self._item = values.element_size()
        self._step = _PIECE_BYTES // self._item
        self._count = self._finite = 0
        self._low, self._high, self._sum = math.inf, -math.inf, 0.0
        self._scratch = torch.empty(0, dtype=values.dtype)

    def see(self, low: int, high: int) -> None:
        """Take in the elements in bytes ``low`` … ``high``."""
        if self._values is None:
            return
        for piece in torch.split(self._values[low // self._item : high // self._item], self._step):
            self._count += piece.numel()
            if not self._add(piece):
                self._add(piece[torch.isfinite(piece)])

    def _add(self, piece: torch.Tensor) -> bool:
        """Add values; False, and nothing added, if one of them is not finite."""
        if not piece.numel():
            return True
        least, most = (float(bound) for bound in torch.aminmax(piece))
        if not (math.isfinite(least) and math.isfinite(most)):
            return False
        self._finite += piece.numel()
        self._low, self._high = min(self._low, least), max(self._high, most)
        self._sum += self._sum_of_magnitudes(piece)
        return True

    def _sum_of_magnitudes(self, piece: torch.Tensor) -> float:
        if self._scratch.numel() < piece.numel():
            self._scratch = torch.empty_like(piece)
        magnitudes = torch.abs(piece, out=self._scratch[: piece.numel()])
        wide = torch.float64 if piece.dtype == torch.float64 else torch.float32
        total = float(magnitudes.sum(dtype=wide))
        return total if math.isfinite(total) else float(magnitudes.sum(dtype=torch.float64))

    def stats(self) -> Stats | None:
        if self._values is None:
            return None
        return _stats(self._count, self._finite, self._low, self._high, self._sum)


def merge(parts: list[Stats]) -> Stats:
    """Statistics of a tensor from those of its slices."""
    measured = [part for part in parts if part.finite]
    return _stats(
        sum(part.count for part in parts),
        sum(part.finite for part in parts),
        min((part.low for part in measured if part.low is not None), default=math.inf),
        max((part.high for part in measured if part.high is not None), default=-math.inf),
        sum(part.mean_abs * part.finite for part in measured if part.mean_abs is not None),
    )


def _stats(count: int, finite: int, low: float, high: float, total: float) -> Stats:
    if not finite or not math.isfinite(total):
        return Stats(count, finite, low if finite else None, high if finite else None, None)
    return Stats(count, finite, low, high, total / finite)
