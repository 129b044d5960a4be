"""Real jobs on the local batch system, in a spool of its own; a fake Slurm and a fake PBS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_pbs import FakePbs
from fake_slurm import FakeSlurm
from scheduler_kit import Jobs, pbs_on, slurm_on

from exa_cli.schedulers.pbs.backend import Pbs
from exa_cli.schedulers.slurm.backend import Slurm


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path)
    yield made
    made.end_all()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSlurm]:
    made = FakeSlurm(tmp_path / "cluster").install()
    yield made
    made.end_all()


@pytest.fixture
def slurm(fake: FakeSlurm) -> Slurm:
    """The fake, with a time limit and a patience short enough for tests."""
    return slurm_on(fake)


@pytest.fixture
def fake_pbs(tmp_path: Path) -> Iterator[FakePbs]:
    made = FakePbs(tmp_path / "cluster").install()
    yield made
    made.end_all()


@pytest.fixture
def pbs(fake_pbs: FakePbs) -> Pbs:
    """The fake, with a time limit and a patience short enough for tests."""
    return pbs_on(fake_pbs)
