"""Cores of a node, by the profile or by looking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exa_cli.sites import detect
from exa_cli.sites.detect import cores, usable_cores
from exa_cli.sites.schema import Node


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
