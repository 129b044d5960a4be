"""Peaks that utilisation is stated against: known, or said to be unknown."""

from __future__ import annotations

import pytest

from exa_train import device
from exa_train.device import CorePeak, believable, core_peak
from exa_train.faults import LaunchFailed

BASE = {"avx2", "fma"}


def cpuinfo(vendor: str, family: int, flags: set[str], mhz: str = "2000.000") -> str:
    core = (
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel name\t: a core\n"
        f"cpu MHz\t\t: {mhz}\nflags\t\t: {' '.join(sorted(BASE | flags))}\n"
    )
    return core + "\n" + core


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "fp32", "bf16"),
    [
        ("AuthenticAMD", 23, set(), 32, 32),
        ("AuthenticAMD", 25, {"avx512f", "avx512_bf16"}, 32, 64),
        ("AuthenticAMD", 26, {"avx512f", "avx512_bf16"}, 64, 128),
        ("GenuineIntel", 6, {"avx512f"}, 64, 64),
        ("GenuineIntel", 6, {"avx512f", "avx512_bf16", "amx_bf16"}, 64, 2048),
        ("GenuineIntel", 6, {"avx512f", "avx512_bf16"}, 64, None),
        ("HygonGenuine", 24, set(), None, None),
    ],
)
def test_flop_per_cycle_by_core(
    vendor: str, family: int, flags: set[str], fp32: int | None, bf16: int | None
) -> None:
    text = cpuinfo(vendor, family, flags)
    for precision, rate in (("fp32", fp32), ("bf16", bf16)):
        expected = None if rate is None else rate * 2e9
        assert core_peak(text, precision).flops == expected


@pytest.mark.parametrize("text", ["", "processor: 0\nCPU implementer: 0x41\n"])
def test_another_architecture_is_unknown_and_says_so(text: str) -> None:
    found = core_peak(text, "fp32")
    assert found.flops is None
    assert "not known" in found.why


def test_a_clock_that_is_not_a_number_makes_the_peak_unknown() -> None:
    assert core_peak(cpuinfo("GenuineIntel", 6, set(), mhz="unknown"), "fp32").flops is None


def test_a_peak_that_a_matmul_beats_is_not_believed() -> None:
    core = CorePeak(100e9, "64 FLOP a cycle × 1563 MHz (GenuineIntel)")
    assert believable(core, 190e9, threads=2) == core
    assert believable(core, 210e9, threads=2).flops is None
    assert believable(CorePeak(None, "why"), 1e9, 1) == CorePeak(None, "why")


@pytest.mark.parametrize(
    ("precision", "measured"), [("fp32", {"fp32"}), ("bf16", {"fp32", "bf16"})]
)
def test_the_measured_peaks_are_speeds_this_machine_can_have(
    precision: str, measured: set[str]
) -> None:
    peaks = device.measured_peaks(device.pick(), precision, seconds=0.01)
    assert set(peaks) == measured
    assert all(1e7 < peak < 1e14 for peak in peaks.values())


def test_a_precision_that_is_not_the_faster_one_is_named_with_both_speeds() -> None:
    words = device.slower_words({"fp32": 78e9, "bf16": 0.94e9})
    assert "0.9 GFLOP/s in bf16" in words and "78.0 in fp32" in words


def test_an_unknown_device_is_refused_by_name() -> None:
    with pytest.raises(LaunchFailed, match="tpu"):
        device.pick("tpu")


def test_a_device_that_torch_cannot_use_is_refused() -> None:
    with pytest.raises(LaunchFailed, match="no cuda device for local rank 99"):
        device.pick("cuda", 99)
