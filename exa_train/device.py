"""Devices: the only module that names one. Everything else receives a `Device`.

The two peaks that utilisation is stated against live here too: what a matmul of this process
reaches (measured), and what the core's FMA units could do (computed).
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from dataclasses import dataclass

import torch

from exa_train.faults import LaunchFailed


@dataclass(frozen=True)
class Device:
    """A device kind, which one of them, and the collectives' backend that serves it."""

    kind: str
    index: int
    backend: str

    @property
    def torch(self) -> torch.device:
        return torch.device(self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}")


BACKENDS = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl"}


def pick(kind: str = "cpu", local_rank: int = 0) -> Device:
    """The device of a rank. Raises LaunchFailed when torch cannot use it on this machine."""
    if kind not in BACKENDS:
        raise LaunchFailed(f"no device kind {kind!r}", hint=f"one of {', '.join(BACKENDS)}")
    if kind == "cpu":
        return Device("cpu", 0, BACKENDS["cpu"])
    module = getattr(torch, kind)
    if not module.is_available() or local_rank >= module.device_count():
        raise LaunchFailed(
            f"torch finds no {kind} device for local rank {local_rank}",
            where=f"torch {torch.__version__} sees {module.device_count()}",
            hint="load the site's torch, or ask for as many ranks a node as it has devices",
        )
    module.set_device(local_rank)
    return Device(kind, local_rank, BACKENDS[kind])


PRIMITIVES = 4096
"""Matrix products that oneDNN keeps compiled, by shape. Experts get another number of rows in
every step, so there are thousands of shapes, and compiling one takes 0.4 ms: with oneDNN's own
limit of 1,024 that was 10 ms of a 73 ms step of alphaexa-ci. Each holds about 0.15 MB."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def set_up(threads: int) -> None:
    """Threads, allocator and caches of this process. Call before any other torch work.

    One operator runs at a time, on ``threads`` CPU threads. None of it changes a result but
    the number of threads.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))
    keep_memory()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


def keep_memory() -> bool:
    """Have glibc keep freed memory: every step allocates again what the last one freed.

    By default blocks over 128 kB (up to 32 MB, adaptively) go back to the kernel, which clears
    each page again: 3,000 page faults a step, 2 % of it. False where there is no such libc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, 1 << 30), mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    return kept == (1, 1)


def measured_peaks(device: Device, precision: str, *, seconds: float = 0.3) -> dict[str, float]:
    """FLOP/s of the best square matmul of 1024 that this process reaches now, by precision.

    A bf16 run is measured in both: it makes some products in fp32, and on a CPU without bf16
    units fp32 is the faster one by far. The peak of the process is the greatest of them.
    """
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision == "fp32":
        del wanted["bf16"]
    return {name: _matmul_peak(device, dtype, seconds) for name, dtype in wanted.items()}


def _matmul_peak(device: Device, dtype: torch.dtype, seconds: float) -> float:
    """The best of as many products as fit in ``seconds``, run while the other ranks do the same:
    what a step of nothing but matmuls would get beside its neighbours.

    The first one prepares the kernel; it counts only where no second one fits.
    """
    a = torch.full((1024, 1024), 0.5, dtype=dtype, device=device.torch)
    out = torch.empty_like(a)
    end = time.perf_counter() + seconds
    first = best = _timed_product(a, out, device)
    if first < seconds:
        best = _timed_product(a, out, device)
    while time.perf_counter() < end:
        best = min(best, _timed_product(a, out, device))
    return 2 * 1024**3 / best


def _timed_product(a: torch.Tensor, out: torch.Tensor, device: Device) -> float:
    begin = time.perf_counter()
    torch.mm(a, a, out=out)
    _wait(device)
    return time.perf_counter() - begin


def slower_words(products: dict[str, float]) -> str:
    """What to say when bf16 is not the faster precision here. Pure."""
    fp32, bf16 = (products[name] / 1e9 for name in ("fp32", "bf16"))
    return (
        f"warning: a matmul reaches {bf16:.1f} GFLOP/s in bf16 and {fp32:.1f} in fp32 here (no "
        'bf16 units?): train.precision = "fp32" is faster, "auto" chooses it'
    )


def _wait(device: Device) -> None:
    if device.kind != "cpu":
        getattr(torch, device.kind).synchronize()


@dataclass(frozen=True)
class CorePeak:
    """FLOP/s of one core's FMA units, or None, with the reason in words."""

    flops: float | None
    why: str


def core_peak(cpuinfo: str, precision: str) -> CorePeak:
    """FMA peak of one core from the text of /proc/cpuinfo: FLOP per cycle × "cpu MHz". Pure.

    FLOP per cycle in fp32 = 2 units × 2 (multiply, add) × lanes: 32 with AVX2, 64 with AVX-512;
    AMD's family 25 (Zen 4) runs AVX-512 on 256-bit units, so 32. In bf16: 2048 with AMX
    (1,024 multiply-adds a cycle), twice the fp32 rate for AMD's AVX512_BF16; without either,
    bf16 is widened to fp32 and gets the fp32 rate. Sources: Intel 64 Optimization Reference
    Manual (AMX, Skylake server port layout), AMD Software Optimization Guides 57647 and 58455.
    Unknown is an answer: other vendors, and Intel's AVX512_BF16 without AMX.
    """
    facts = dict(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", cpuinfo, re.MULTILINE))
    flags = set(facts.get("flags", "").split())
    vendor, mhz = facts.get("vendor_id", "unknown"), _number(facts.get("cpu MHz"))
    rate = _flop_per_cycle(vendor, facts.get("cpu family", ""), flags, precision)
    if rate is None or mhz is None:
        return CorePeak(None, f"not known for {vendor} {facts.get('model name', '')}".strip())
    return CorePeak(rate * mhz * 1e6, f"{rate} FLOP a cycle × {mhz:.0f} MHz ({vendor})")


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


def _flop_per_cycle(vendor: str, family: str, flags: set[str], precision: str) -> int | None:
    if vendor not in ("AuthenticAMD", "GenuineIntel") or not {"avx2", "fma"} <= flags:
        return None
    narrow = "avx512f" not in flags or (vendor == "AuthenticAMD" and family == "25")
    fp32 = 32 if narrow else 64
    if precision == "fp32":
        return fp32
    if "amx_bf16" in flags:
        return 2048
    if "avx512_bf16" in flags:
        return 2 * fp32 if vendor == "AuthenticAMD" else None
    return fp32


def believable(core: CorePeak, measured: float, threads: int) -> CorePeak:
    """``core``, or unknown when a matmul beat it: then "cpu MHz" is not the clock it runs at.

    Virtual machines often report the nominal clock of a core that boosts well above it.
    """
    if core.flops is not None and measured > core.flops * threads:
        return CorePeak(None, f"unknown: a matmul beats {core.why}, so that clock is not real")
    return core
