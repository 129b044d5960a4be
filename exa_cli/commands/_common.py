"""What several verbs share: printing data, and following a run."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exa_cli.base import clock
from exa_cli.base.errors import ExaError, RunFailed, Unreachable
from exa_cli.base.files import to_json
from exa_cli.base.talk import say
from exa_cli.commands import _complete
from exa_cli.runs.rundir import RunDir

if TYPE_CHECKING:
    from exa_cli.runs.state import RunState

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", metavar="RUN", shell_complete=_complete.runs)


_ASKED = (
    click.argument("spec", type=click.Path(path_type=Path), metavar="SPEC"),
    click.option("--site", help="Site profile: a name or a path.", shell_complete=_complete.sites),
    click.option("--name", help="Name of the run; one that is taken is refused."),
    click.option("--nodes", type=click.IntRange(min=1), help="Nodes to ask for."),
    click.option("--walltime", help="Time limit of one job, HH:MM:SS."),
    click.option("--queue", help="Queue or partition."),
    click.option("--account", help="Project or account to charge."),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="TABLE.KEY=VALUE",
        help="Override a key.",
        shell_complete=_complete.keys,
    ),
)


def asks_for_a_run(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a verb: SPEC, and the options that say what a run of it is to be, which the
    verb gets as one ``options`` (`exa_cli.login.draft.Options`)."""

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        from exa_cli.login.draft import Options

        names = [field.name for field in dataclasses.fields(Options)]
        options = Options(**{name: given.pop(name) for name in names})
        command(options=options, **given)

    for add in reversed(_ASKED):
        collected = add(collected)
    return collected


def emit(value: Any) -> None:
    """A JSON answer on stdout."""
    click.echo(to_json(value), nl=False)


COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def paint(verdict: str, words: str) -> str:
    """Words in their verdict's colour, on a terminal that wants any."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR")
    return words if plain else click.style(words, fg=COLOURS.get(verdict))


LIVE = ("queued", "running", "resubmitting", "unknown")
"""States of a run that may still change by themselves."""

FORGOTTEN_S = 90.0
"""How long a job may be known to nobody before waiting for it is given up. The supervisor's last
words can reach this host late: NFS clients keep what they know of a directory for a minute."""


def wait_for(run: RunDir, each: Callable[[str], object] = lambda state: None) -> None:
    """Return when the run is over. Raises RunFailed unless it ended well.

    Meanwhile it is kept alive as `exa watch` would do it. ``each`` is called with the state about
    once a second. Raises Unreachable for a job that the scheduler does not know and that left no
    word: nobody will ever tell its end.
    """
    from exa_cli.login import observe

    known, keeper = clock.monotonic(), _Keeper(run)
    while True:
        view = observe.look([run])[0]
        state = view.state.state
        each(state)
        if state not in LIVE and not (state == "failed" and keeper.goes_on()):
            break
        if state == "resubmitting":
            keeper.goes_on()
        if state != "unknown" or view.trouble:
            known = clock.monotonic()
        elif clock.monotonic() - known > FORGOTTEN_S:
            raise _forgotten(run)
        time.sleep(1.0)
    tell_end(run, view.state, f"exa logs {run.run_id} shows what it said")


def poll_s(run: RunDir) -> float:
    """Seconds between two questions that a run's site wants; a minute where it cannot be read."""
    from exa_cli.login import scheduler

    try:
        return float(scheduler.frozen(run).scheduler.poll_s)
    except ExaError:
        return 60.0


class _Keeper:
    """Keeps a run alive for who waits for it, asking no oftener than its site wants."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._next, self._more = run, float("-inf"), True

    def goes_on(self) -> bool:
        """Do what the run's policy says comes next; whether anything is still to come."""
        from exa_cli.login.keep import keep

        now = clock.monotonic()
        if now < self._next:
            return self._more
        self._next = now + poll_s(self._run)
        try:
            kept = keep(self._run)
        except Unreachable as error:
            say(f"{error.what}; looking again")
            return True  # somebody else is at it, or the batch system is silent
        if kept.action == "submitted":
            say(kept.words)
        self._more = kept.action != "settled"
        return self._more


def tell_end(run: RunDir, state: RunState, silent: str) -> None:
    """Say that a run is done. Raises RunFailed for any other end, with its evidence, or ``silent``
    where there is none."""
    if state.state == "done":
        say(f"{run.run_id} is done: {state.step} steps")
        return
    how = "has ended" if state.state in LIVE else state.state
    last = state.current
    raise RunFailed(
        f"{run.run_id} {how}: {state.cause or 'nobody said why'}",
        where="; ".join(last.evidence[:2] if last else ()) or silent,
        hint=f"exa resume {run.run_id} goes on",
    )


def _forgotten(run: RunDir) -> Unreachable:
    return Unreachable(
        f"nobody knows what became of the job of {run.run_id}",
        where="the scheduler does not know it, and its supervisor left no word",
        hint=f"exa resume {run.run_id} says what can be done",
    )
