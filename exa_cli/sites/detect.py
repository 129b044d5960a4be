"""What this machine has."""

from __future__ import annotations

import os
from pathlib import Path

from exa_cli.sites.machine import Node
from exa_cli.sites.schema import SiteProfile

_CPUINFO = Path("/proc/cpuinfo")
_BF16_UNITS = frozenset({"amx_bf16", "avx512_bf16"})
_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores(node: Node) -> int | None:
    """Cores one node gives to its ranks; None when the site does not say.

    Virtual nodes share the machine's cores evenly, and each has at least one.
    """
    if node.cpus == "unknown":
        return None
    here = usable_cores() if node.cpus == "detect" else node.cpus
    return max(1, here // node.count) if node.virtual else here


def cpus_per_rank(profile: SiteProfile, ranks_per_node: int) -> int | None:
    """CPUs of a rank as the batch system counts them; None when the site does not say."""
    found = cores(profile.node)
    if found is None:
        return None
    each, threads = max(1, found // ranks_per_node), profile.node.threads_per_core
    if profile.scheduler.cpu_is == "core":
        return each
    return each * threads if isinstance(threads, int) else None


def usable_cores() -> int:
    """Cores this process may use: by affinity, two threads of a core counting once, and by
    the container's quota. At least one."""
    cpus = os.sched_getaffinity(0)
    found = len({_core_of(cpu) for cpu in cpus})
    quota = _quota()
    return max(1, found if quota is None else min(found, int(quota)))


def _core_of(cpu: int) -> str:
    """A name shared by the threads of one core."""
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)  # no topology is shown here: each CPU counts as a core


def _quota() -> float | None:
    """CPUs' worth of time this container may use (cgroup v2, cpu.max); None = no limit."""
    try:
        limit, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def has_bf16_units(profile: SiteProfile) -> bool | None:
    """Whether ranks compute faster in bf16 than in fp32; None when it cannot be known here.

    The trainer computes on CPUs. One has such units with AMX or AVX512-BF16; any other widens
    each value or, without AVX-512, falls to a kernel 80 times slower than fp32 (torch 2.13, Zen 3).
    """
    if profile.node.cpus != "detect":
        return None
    return not _BF16_UNITS.isdisjoint(cpu_flags(_CPUINFO.read_text()))


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first CPU in the text of /proc/cpuinfo. Pure."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
