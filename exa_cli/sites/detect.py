"""What this machine has."""

from __future__ import annotations

import os
from pathlib import Path

from exa_cli.sites.schema import Node

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
