"""exa cancel: end a run's job; exa never brings it back by itself."""

from __future__ import annotations

import click

from exa_cli.base.talk import say
from exa_cli.commands._common import emit, json_option, run_argument
from exa_cli.login import cancel as cancelling
from exa_cli.runs.find import find


@click.command()
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """End RUN's job. It saves if its site gives it the time; nothing resubmits it.

    \b
    Example:
      exa cancel demo
    """
    done = cancelling.cancel(find(run))
    if as_json:
        emit(done.to_json())
    say(done.words)
