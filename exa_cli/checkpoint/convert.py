"""Element type conversion for exports: fp32 and bf16, exact or rounded to nearest even.

The only place of this room that computes with numbers, so the only one that needs numpy.
"""

from __future__ import annotations

from typing import Any

from exa_cli.base.errors import Invalid

TARGETS = {"fp32": "F32", "bf16": "BF16"}
_FLOATS = ("F32", "BF16")


def target_dtype(dtype: str, wish: str) -> str:
    """The stored dtype of a tensor of ``dtype`` under ``--dtype``; others stay what they are."""
    return TARGETS[wish] if wish != "keep" and dtype in _FLOATS else dtype


def convert(data: memoryview, dtype: str, target: str) -> bytes | memoryview:
    """Bytes of ``dtype`` as bytes of ``target``. Raises Invalid when numpy is missing."""
    if dtype == target:
        return data
    np = _numpy()
    if (dtype, target) == ("BF16", "F32"):
        widened: bytes = (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).tobytes()
        return widened
    if (dtype, target) == ("F32", "BF16"):
        return _round(np, np.frombuffer(data, dtype="<u4"))
    raise ValueError(f"no conversion from {dtype} to {target}")


def _round(np: Any, bits: Any) -> bytes:
    """IEEE 754 binary32 to bfloat16: nearest, ties to even; a NaN stays a NaN (quiet)."""
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    bias = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = (bits + bias) >> np.uint32(16)
    kept = (bits >> np.uint32(16)) | np.uint32(0x40)
    halves: bytes = np.where(nan, kept, rounded).astype("<u2").tobytes()
    return halves


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        hint = "pip install numpy, or export with --dtype keep"
        raise Invalid("converting needs numpy, which is not installed", hint=hint) from error
    return numpy
