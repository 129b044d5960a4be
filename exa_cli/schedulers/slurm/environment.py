"""The environment of Slurm's commands. Pure.

Each of them takes options from variables: ``SBATCH_PARTITION`` moves a job to another
partition, ``SQUEUE_FORMAT`` changes a table, ``SCANCEL_STATE`` lets scancel pass a job over.
Inside another job there are many more. None of that may decide over a run.
"""

from __future__ import annotations

from collections.abc import Mapping

from exa_cli.base import marks

PREFIXES = (
    "SACCT_", "SALLOC_", "SBATCH_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_", "SLURMD_",
    "SQUEUE_", "SRUN_",
)  # fmt: skip

KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
"""Where the cluster is and who we are; no option of a command."""


def of_submission(env: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """For sbatch, which hands it on to the job.

    Without the marks of a run that exa may itself be part of: what inherits them would be
    ended by that run's sweep.
    """
    return {**_plain(env), **added}


def of_question(env: Mapping[str, str]) -> dict[str, str]:
    """For all other commands. They print times of the zone they are told, without naming it."""
    return {**_plain(env), "TZ": "UTC", "LC_ALL": "C"}


def _plain(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not _an_option(name)}


def _an_option(name: str) -> bool:
    return name in marks.ALL or (name.startswith(PREFIXES) and name not in KEPT)
