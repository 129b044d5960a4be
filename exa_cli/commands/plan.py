"""exa plan: what would be submitted, where to and why, and what stands against it."""

from __future__ import annotations

from pathlib import Path

import click

from exa_cli.commands._common import asks_for_a_run, emit, json_option, paint
from exa_cli.login import draft as drafts
from exa_cli.login.draft import Options
from exa_cli.login.preflight import preview
from exa_cli.plan import show
from exa_cli.runs.rundir import RunDir, runs_root


@click.command()
@asks_for_a_run
@json_option
def command(
    spec: Path,
    options: Options,
    as_json: bool,
) -> None:
    """Show what `exa submit SPEC` would do, with every reason; submit and create nothing.

    Queue and the others with what rules them out, layout, sizes, pre-flight. Exits 3 with all
    faults when the submit would be refused.

    \b
    Examples:
      exa plan run.toml
      exa plan run.toml --nodes 16 --walltime 06:00:00 --json
    """
    made = drafts.draft(spec, options)
    seen = preview(made, RunDir(runs_root() / f"{made.name}-xxxx"))
    found = show.facts(
        made.profile,
        made.name,
        made.doc,
        seen.plan,
        seen.job,
        seen.choice,
        seen.rejected,
        seen.checks,
        seen.written.request["next"] if seen.written else None,
    )
    if as_json:
        emit(found)
    else:
        click.echo(show.text(found, paint), nl=False)
    seen.accepted()
