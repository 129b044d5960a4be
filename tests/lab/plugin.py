"""The fixture ``slurm``: a real Slurm of four nodes, brought up once a session and taken down at
its end, however that comes. ``slurm_accounting`` is one more, with slurmdbd.

On a machine that cannot have one, tests that ask for it are skipped with the reason; in CI they
fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator

import pytest
from lab import packages
from lab.cluster import Cluster
from lab.spec import Spec

SLOTS = range(10, 50)
"""Slots of test sessions; those below are for people (`slurm.py`)."""


@contextlib.contextmanager
def free_slot() -> Iterator[int]:
    """A slot that no other session has. The kernel gives the lock back whatever ends us; what
    we left behind then is cleared by the next session that comes here."""
    for slot in SLOTS:
        with open(f"{Spec(slot=slot).root}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield slot
            return
    raise RuntimeError("every slot for a lab cluster is taken")


def need_slurm(accounting: bool = False) -> None:
    """Skip, or in CI fail, where there can be no cluster."""
    in_ci = os.environ.get("CI") == "true"
    if (why := packages.unusable(install=in_ci, accounting=accounting)) is None:
        return
    if in_ci:
        pytest.fail(f"CI may not skip Slurm: {why}")
    pytest.skip(why)


@contextlib.contextmanager
def running(**shape: object) -> Iterator[Cluster]:
    """A cluster that is up inside the ``with``."""
    spec = Spec(**shape)  # type: ignore[arg-type]
    need_slurm(spec.accounting)
    with free_slot() as slot:
        cluster = Cluster(dataclasses.replace(spec, slot=slot))
        cluster.down()  # what a killed session left here
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="session")
def _slurm() -> Iterator[Cluster]:
    with running(gpus=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _slurm_accounting() -> Iterator[Cluster]:
    with running(nodes=2, accounting=True) as cluster:
        yield cluster


@pytest.fixture
def slurm(_slurm: Cluster) -> Cluster:
    """Four nodes n1 to n4, no accounting; nothing runs and every part works."""
    _slurm.calm()
    return _slurm


@pytest.fixture
def slurm_accounting(_slurm_accounting: Cluster) -> Cluster:
    """Two nodes with accounting: account ``lab``, QOS ``normal`` and ``quick``."""
    _slurm_accounting.calm()
    return _slurm_accounting
