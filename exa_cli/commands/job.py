"""exa job: the supervisor. Job scripts call it; users do not."""

from __future__ import annotations

from pathlib import Path

import click

from exa_cli.runs.rundir import RunDir


@click.command(hidden=True)
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--attempt", required=True)
@click.option("--life", type=int, required=True)
def command(run_dir: Path, attempt: str, life: int) -> int:
    """Live one life of an attempt of the run in RUN_DIR.

    Exits 0 when nothing is left to do, 75 when the run can go on, 70 when a person has to look.
    """
    from exa_cli.job.supervise import supervise

    return supervise(RunDir(run_dir.absolute()), attempt, life)
