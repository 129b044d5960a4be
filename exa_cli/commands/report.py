"""exa report: a run's story, as text and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from exa_cli.base.errors import Invalid
from exa_cli.base.talk import say, warn
from exa_cli.commands._common import emit, json_option, run_argument
from exa_cli.commands._watch import sparkline
from exa_cli.login import observe, report
from exa_cli.runs import metrics
from exa_cli.runs.find import find


@click.command()
@run_argument
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="The PNG; default RUN/metrics/loss.png."
)
@json_option
def command(run: str, out: Path | None, as_json: bool) -> None:
    """Attempts, lives, tokens and the loss curve of RUN.

    \b
    Example:
      exa report demo -o loss.png
    """
    found = find(run)
    view = observe.look([found])[0]
    told = report.story(view)
    if as_json:
        emit(told)
        return
    records = metrics.read(found.metrics / "metrics.jsonl")
    curve = sparkline([r["ce"] for r in records if r.get("ce") is not None], 60)
    click.echo(report.text(told, curve))
    picture = out or found.metrics / "loss.png"
    try:
        from exa_cli.login.plot import loss_curve

        click.echo(f"picture      {loss_curve(told, records, picture)}")
    except Invalid as error:
        if out:
            raise
        warn(str(error))
    click.echo(f"directory    {found.path}")
    if view.trouble:
        say(view.trouble)
