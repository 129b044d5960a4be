"""What a job's script finds in its environment. Pure.

As on a cluster, it is not the submitter's: a module loaded or a variable set in a terminal
must not decide whether a job works. What a job needs is in its script.
"""

from __future__ import annotations

from collections.abc import Mapping

from exa_cli.base import marks

KEPT = (
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME",
)  # fmt: skip
"""Who and where the user is; what PBS and Slurm give a job too."""

PREFIXES = ("EXA_", "LC_")

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def of_runner(env: Mapping[str, str]) -> dict[str, str]:
    """A submitter's environment without the marks of a job it may itself be part of: what
    inherits them would be swept with that job."""
    return {name: value for name, value in env.items() if name not in marks.ALL}


def kept(env: Mapping[str, str]) -> dict[str, str]:
    """What of a submitter's environment a job gets."""
    given = {
        name: value
        for name, value in of_runner(env).items()
        if name in KEPT or name.startswith(PREFIXES)
    }
    return {"PATH": DEFAULT_PATH, **given}


def of_script(environment: Mapping[str, str], job_id: str) -> dict[str, str]:
    """The whole environment of a job's script."""
    return {**environment, marks.JOB_ID: job_id}
