"""Slurm from the distribution's packages, installed when they are missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SLURM = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "srun": "slurm-client",
    "munged": "munge",
    "ip": "iproute2",
    "unshare": "util-linux",
}
"""Program → the package it is in."""

ACCOUNTING = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
_PLUGIN = "slurm-wlm-mysql-plugin"
_POLICY = Path("/usr/sbin/policy-rc.d")


def unusable(*, install: bool, accounting: bool = False) -> str | None:
    """Why no lab cluster can run on this machine; None when one can.

    ``install``: whether missing packages may be installed. Running the tests is no leave to
    change somebody's machine; CI gives it, and so does who brings a cluster up by hand.
    """
    if os.geteuid() != 0:
        return "a Slurm cluster of namespaces needs root"
    if absent := wanted(accounting):
        if not install:
            return f"Slurm is not installed; the packages are {' '.join(sorted(absent))}"
        if not shutil.which("apt-get"):
            return "Slurm is not installed, and there is no apt-get to install it with"
    flags = ["--fork", "--pid", "--mount-proc", "--net", "--uts", "--ipc", "--mount"]
    tried = subprocess.run(["unshare", *flags, "true"], capture_output=True, text=True)
    if tried.returncode:
        return f"namespaces cannot be made here: {tried.stderr.strip()}"
    return None


def wanted(accounting: bool) -> set[str]:
    """The packages that are not here."""
    absent = missing(SLURM) | (missing(ACCOUNTING) if accounting else set())
    return absent | {_PLUGIN} if absent & set(ACCOUNTING.values()) else absent


def missing(programs: dict[str, str]) -> set[str]:
    return {package for program, package in programs.items() if not shutil.which(program)}


def ensure(accounting: bool) -> None:
    """Install what is missing. Raises CalledProcessError with apt-get's words."""
    absent = wanted(accounting)
    if not absent:
        return
    with _services_kept_down():
        if _apt("install", *sorted(absent)):
            _apt("update", check=True)
            _apt("install", *sorted(absent), check=True)


def _apt(verb: str, *words: str, check: bool = False) -> int:
    argv = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", verb]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        [*argv, *words], env=env, check=check, stdout=subprocess.DEVNULL
    ).returncode


@contextlib.contextmanager
def _services_kept_down() -> Iterator[None]:
    """The packages must not start a cluster of their own (Debian policy, policy-rc.d)."""
    try:
        with open(_POLICY, "x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink()
