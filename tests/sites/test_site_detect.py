"""Cores of a node, by the profile or by looking."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from exa_cli.sites import detect
from exa_cli.sites.detect import cores, has_bf16_units, usable_cores
from exa_cli.sites.load import load_site
from exa_cli.sites.machine import Node
from exa_cli.sites.software import Torch


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight CPUs, two threads to a core: CPU i and i+4 share one."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(detect, "_CPUS", tmp_path)
    monkeypatch.setattr(detect, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


def test_what_a_site_does_not_say_is_unknown_and_not_zero() -> None:
    assert cores(Node(cpus="unknown")) is None


def test_two_threads_of_a_core_count_once(machine: Path) -> None:
    assert usable_cores() == 4


def test_only_what_this_process_may_use_counts(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5})
    assert usable_cores() == 2


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("?", 4)],
)
def test_a_containers_quota_counts(machine: Path, quota: str, expected: int) -> None:
    (machine / "cpu.max").write_text(quota + "\n")
    assert usable_cores() == expected


def test_without_a_topology_each_cpu_is_a_core(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "_CPUS", machine / "none")
    assert usable_cores() == 8


def test_virtual_nodes_share_the_machine_and_have_one_core_at_least(machine: Path) -> None:
    assert cores(Node(cpus="detect", virtual=True, count=2)) == 2
    assert cores(Node(cpus="detect", virtual=True, count=3)) == 1
    assert cores(Node(cpus="detect", virtual=True, count=16)) == 1
    assert cores(Node(cpus="detect")) == 4
    assert cores(Node(cpus=32, count=2)) == 32


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma avx2", False), ("avx512f avx512bw", False), ("avx512_bf16", True), ("amx_bf16", True)],
)
def test_this_machines_bf16_units_are_read_from_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n\nflags\t\t: x\n")
    monkeypatch.setattr(detect, "_CPUINFO", tmp_path / "cpuinfo")
    assert has_bf16_units(load_site("local", {}).profile) is expected


def test_another_machines_cpus_are_unknown_whatever_its_devices() -> None:
    local = load_site("local", {}).profile
    elsewhere = dataclasses.replace(local, node=dataclasses.replace(local.node, cpus=64))
    assert has_bf16_units(elsewhere) is None
    gpu = dataclasses.replace(elsewhere, torch=Torch(device="cuda", backend="nccl"))
    assert has_bf16_units(gpu) is None
