"""exa doctor: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import dataclasses

import click

from exa_cli.base.errors import Findings
from exa_cli.commands import _complete
from exa_cli.commands._common import emit, json_option, paint
from exa_cli.login import doctor
from exa_cli.plan.preflight import Check


@click.command()
@click.option(
    "--site", help="Site profile: a name or a path.", shell_complete=_complete.sites
)  # fmt: skip
@json_option
def command(site: str | None, as_json: bool) -> None:
    """Look at what exa needs here: profile, batch system, launcher, packages, folders, limits.

    Submits nothing and leaves nothing behind. Exits 9 when something must be mended.

    \b
    Example:
      exa doctor --site polaris
    """
    name, checks = doctor.examine(site)
    if as_json:
        rows = [dataclasses.asdict(check) for check in checks]
        emit({"schema": 1, "site": name, "checks": rows})
    else:
        for check in checks:
            _show(check)
    faults = sum(check.verdict == "fault" for check in checks)
    if faults:
        things = "one thing" if faults == 1 else f"{faults} things"
        raise Findings(f"{things} must be mended before a job of {name} can run from here")


def _show(check: Check) -> None:
    verdict = paint(check.verdict, f"{check.verdict:<8}")
    click.echo(f"{verdict} {check.name:<13} {check.says}")
    if check.verdict != "ok":
        for note in filter(None, (check.where and f"at: {check.where}", check.hint)):
            click.echo(f"{'':<23}{note}")
