"""What several verbs share: printing data, and following a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from exa_cli.base.errors import RunFailed
from exa_cli.base.files import to_json
from exa_cli.base.talk import say
from exa_cli.runs.rundir import RunDir

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", metavar="RUN")


def emit(value: Any) -> None:
    """A JSON answer on stdout."""
    click.echo(to_json(value), nl=False)


def wait_for(run: RunDir, each: Callable[[str], None] = lambda state: None) -> None:
    """Return when the run's job has ended. Raises RunFailed unless it ended well.

    ``each`` is called with the state about once a second.
    """
    from exa_cli.login import observe

    while True:
        view = observe.look([run])[0]
        state = view.state.state
        each(state)
        if state not in ("queued", "running", "resubmitting", "unknown"):
            break
        time.sleep(1.0)
    if state == "done":
        say(f"{run.run_id} is done: {view.state.step} steps")
        return
    last = view.state.attempts[-1]
    raise RunFailed(
        f"{run.run_id} {state}: {view.state.cause}",
        where="; ".join(last.evidence[:2]) or None,
        hint=f"exa resume {run.run_id} goes on from the last committed step",
    )
