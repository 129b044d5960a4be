"""exa watch: keep runs alive from the login node."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import click

from exa_cli.base import clock
from exa_cli.base.errors import ExaError, RunFailed, Unreachable
from exa_cli.base.talk import say, warn
from exa_cli.commands import _complete
from exa_cli.commands._common import LIVE, emit, json_option, poll_s
from exa_cli.login import observe
from exa_cli.login.keep import Kept, keep, lacks_links
from exa_cli.login.observe import View
from exa_cli.runs.find import all_runs, find
from exa_cli.runs.rundir import RunDir

SHORTEST_S, LONGEST_S = 1.0, 60.0
DAY_S = 86_400.0


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=_complete.runs)
@click.option("--once", is_flag=True, help="Look once and return.")
@click.option("--now", is_flag=True, hidden=True)
@json_option
def command(runs: tuple[str, ...], once: bool, now: bool, as_json: bool) -> None:
    """Hand in the next attempt of each RUN as its policy says.

    Without a name it watches all runs that are live, and those that ended within the last day
    without anybody having decided what follows. Older ones have to be named.

    Returns when nothing is left to be done for any of them: 0 when all are done, 8 otherwise.
    A run that its user cancelled is never handed in again. Ctrl-C ends the watch, no job.

    \b
    Examples:
      exa watch
      exa watch demo --once
    """
    watched = [find(name) for name in runs] if runs else _fresh(all_runs())
    told: dict[str, str] = {}
    results: dict[str, Kept] = {}
    while True:
        for run, live in _seen(watched):
            results[run.run_id] = live or _keep(run, now)
            _tell(run, results[run.run_id], told)
        left = [run for run in watched if results[run.run_id].action != "settled"]
        if once or not left:
            break
        time.sleep(_pause(left, results))
    if as_json:
        emit({"schema": 1, "runs": [{"run": n, **_json(kept)} for n, kept in results.items()]})
    if not once:
        _judge(watched)


def _fresh(runs: Sequence[RunDir]) -> list[RunDir]:
    """Runs that are worth watching unasked: nobody expects an old one to rise again."""
    views, broken = observe.survey(runs)
    chosen = [view.run for view in views if _is_fresh(view)]
    over = f"; {len(views) - len(chosen)} are over" if len(views) > len(chosen) else ""
    say(f"watching {len(chosen)} runs{over}" if runs else "there are no runs to watch")
    for each in broken:
        warn(f"{each.run.run_id} is not watched: {each.error}")
    return chosen


def _is_fresh(view: View) -> bool:
    last = view.state.current
    if view.state.state != "failed" or last is None:
        return view.state.state in LIVE
    ended = last.ended or observe.last_sign(view, last.attempt)
    return last.then is None and clock.now() - ended < DAY_S


def _json(kept: Kept) -> dict[str, str | None]:
    at = clock.iso(kept.at) if kept.at else None
    return {"action": kept.action, "at": at, "reason": kept.words}


def _seen(runs: Sequence[RunDir]) -> Iterator[tuple[RunDir, Kept | None]]:
    """Each run, and that it is live where there is nothing to do for it: by one question to each
    batch system for all of them, or an answer that is young enough."""
    views, broken = observe.survey(runs)
    for view in views:
        last, state = view.state.current, view.state.state
        idle = state in ("queued", "running") and not (last and lacks_links(view, last))
        yield view.run, Kept("live", f"{view.run.run_id} is {state}") if idle else None
    for each in broken:
        yield each.run, None


def _keep(run: RunDir, now: bool) -> Kept:
    """Do what is to be done for a run; what cannot be done now is tried again."""
    try:
        return keep(run, now=now)
    except Unreachable as error:
        return Kept("waits", str(error), clock.now() + LONGEST_S)
    except (ExaError, OSError) as error:
        return Kept("settled", str(error))


def _tell(run: RunDir, kept: Kept, told: dict[str, str]) -> None:
    if told.get(run.run_id) != kept.words:
        told[run.run_id] = kept.words
        say(f"{run.run_id}: {kept.words}")


def _pause(left: Sequence[RunDir], results: dict[str, Kept]) -> float:
    """Seconds to the next look: when something is due, and no oftener than a site wants."""
    asked = max(SHORTEST_S, min(LONGEST_S, *(poll_s(run) for run in left)))
    whens = (results[run.run_id].at for run in left)
    due = (asked if when is None else when - clock.now() for when in whens)
    return min(LONGEST_S, max(asked, min(due)))


def _judge(watched: Sequence[RunDir]) -> None:
    """Raise RunFailed when one of the runs is not done."""
    views, broken = observe.survey(watched)
    bad = [v.run.run_id for v in views if v.state.state not in ("done", "cancelled")]
    bad += [b.run.run_id for b in broken]
    if bad:
        raise RunFailed(f"not done: {', '.join(bad)}", hint="exa status RUN says why")
