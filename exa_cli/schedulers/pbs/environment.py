"""The environment of PBS's commands. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from exa_cli.base import marks

LEFT_OUT = ("PBS_DPREFIX", *marks.ALL)
"""PBS_DPREFIX makes other lines of a script its directives (recordings: openpbs/13). The marks of
a run that exa may itself be part of must not be inherited: that run's sweep would end the job."""


def of_submission(env: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """For qsub. Which server it asks stays the user's choice (PBS_SERVER, PBS_CONF_FILE)."""
    return {**_plain(env), **added}


def of_question(env: Mapping[str, str]) -> dict[str, str]:
    """For all other commands. They print times of the zone they are told, without naming it."""
    return {**_plain(env), "TZ": "UTC", "LC_ALL": "C"}


def _plain(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in LEFT_OUT}
