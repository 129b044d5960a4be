"""Comparing two checkpoints by tensor, whatever their layouts and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from exa_cli.base.errors import Invalid
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.source import GROUP_BYTES, Source, in_groups

Kind = Literal["same", "differs", "shape", "only in A", "only in B"]
_INTEGERS = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
# Exponent bits, mantissa bits, bias; E4M3 has no infinities, and NaN where all bits are ones.
_SMALL = {"F8_E5M2": (5, 2, 15), "F8_E4M3": (4, 3, 7)}


@dataclass(frozen=True)
class Difference:
    """How one tensor compares.

    ``elements`` of ``count`` differ in their bits; ``largest`` is the largest absolute
    difference of floats that are finite on both sides, None where there is no such pair;
    ``nonfinite`` differing elements are NaN or infinite on a side. ``shape``: dtypes or shapes
    differ, and the values were not compared.
    """

    name: str
    kind: Kind
    a: str | None
    b: str | None
    count: int = 0
    elements: int = 0
    largest: float | None = None
    nonfinite: int = 0


def diff(a: Path, b: Path) -> Iterator[Difference]:
    """Compare two checkpoint directories, every chunk of both checked, sorted by name.

    Raises Damaged when something that is read is not what was written, Invalid when something
    differs and numpy is missing, OSError.
    """
    left, right = Source.open(a), Source.open(b)
    both = [n for n in left.names if n in set(right.names) and _alike(left, right, n)]
    compared = dict(_compared(left, right, both))
    for name in sorted({*left.names, *right.names}):
        yield compared.get(name) or _apart(left, right, name)


def _alike(left: Source, right: Source, name: str) -> bool:
    a, b = left.tensor(name), right.tensor(name)
    return (a.dtype, a.shape) == (b.dtype, b.shape)


def _apart(left: Source, right: Source, name: str) -> Difference:
    a = _described(left, name) if name in left.names else None
    b = _described(right, name) if name in right.names else None
    kind: Kind = "only in B" if a is None else "only in A" if b is None else "shape"
    return Difference(name, kind, a, b)


def _described(source: Source, name: str) -> str:
    tensor = source.tensor(name)
    return f"{tensor.dtype}[{','.join(map(str, tensor.shape))}]"


@dataclass(frozen=True)
class _Named:
    name: str
    bytes: int


def _compared(left: Source, right: Source, names: list[str]) -> Iterator[tuple[str, Difference]]:
    sized = [_Named(name, left.tensor(name).bytes) for name in names]
    for group in in_groups(sized, GROUP_BYTES):
        here = [one.name for one in group]
        for name, a, b in zip(here, left.read(here), right.read(here), strict=True):
            yield name, _difference(name, left.tensor(name).dtype, _described(left, name), a, b)


def _difference(name: str, dtype: str, what: str, a: memoryview, b: memoryview) -> Difference:
    count = a.nbytes // ITEM_BYTES[dtype]
    if a == b:
        return Difference(name, "same", what, what, count)
    np = _numpy()
    bits = _INTEGERS[ITEM_BYTES[dtype]]
    where = np.frombuffer(a, bits) != np.frombuffer(b, bits)
    elements = int(where.sum())
    values = _values(np, a, dtype, where), _values(np, b, dtype, where)
    if values[0] is None or values[1] is None:
        return Difference(name, "differs", what, what, count, elements)
    finite = np.isfinite(values[0]) & np.isfinite(values[1])
    with np.errstate(over="ignore"):
        apart = np.abs(values[0][finite] - values[1][finite])
    largest = float(apart.max()) if apart.size else None
    nonfinite = elements - int(finite.sum())
    return Difference(name, "differs", what, what, count, elements, largest, nonfinite)


def _values(np: Any, data: memoryview, dtype: str, where: Any) -> Any:
    """The selected elements as float64; None for a dtype that is not of floats."""
    if dtype in _FLOATS:
        return np.frombuffer(data, _FLOATS[dtype])[where].astype("f8")
    if dtype == "BF16":
        bits = np.frombuffer(data, "<u2")[where].astype("<u4") << 16
        return bits.view("<f4").astype("f8")
    if dtype in _SMALL:
        return _table(np, dtype)[np.frombuffer(data, "u1")[where]]
    return None


def _table(np: Any, dtype: str) -> Any:
    """The value of each of the 256 bytes."""
    exponents, mantissas, bias = _SMALL[dtype]
    bits = np.arange(256)
    mantissa = bits & ((1 << mantissas) - 1)
    exponent = (bits >> mantissas) & ((1 << exponents) - 1)
    normal = np.ldexp(1 + mantissa / (1 << mantissas), exponent - bias)
    tiny = np.ldexp(mantissa / (1 << mantissas), 1 - bias)
    found = np.where(exponent == 0, tiny, normal) * np.where(bits & 0x80, -1.0, 1.0)
    top = exponent == (1 << exponents) - 1
    beyond = top if dtype == "F8_E5M2" else (bits & 0x7F) == 0x7F
    found[beyond] = np.nan
    return found


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        hint = "pip install numpy"
        raise Invalid("telling how far tensors differ needs numpy", hint=hint) from error
    return numpy
