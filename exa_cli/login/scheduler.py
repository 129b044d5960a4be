"""The batch system of a run or a site, ready to be spoken to."""

from __future__ import annotations

import os
from dataclasses import asdict

from exa_cli.runs.rundir import RunDir
from exa_cli.schedulers.registry import make
from exa_cli.schedulers.types import Scheduler, Settings
from exa_cli.sites.load import read_frozen
from exa_cli.sites.schema import SiteProfile


def of_site(site: SiteProfile) -> Scheduler:
    """The batch system of a profile."""
    return make(site.scheduler.kind, Settings(asdict(site.scheduler), dict(os.environ)))


def of_run(run: RunDir) -> Scheduler:
    """The batch system a run was submitted to, from its frozen profile."""
    return of_site(frozen(run))


def frozen(run: RunDir) -> SiteProfile:
    """The profile a run was submitted with. Raises NotFound or Invalid."""
    return read_frozen(run.path / "site.toml")
