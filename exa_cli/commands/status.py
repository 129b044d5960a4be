"""exa status: where runs stand."""

from __future__ import annotations

from typing import Any

import click

from exa_cli.base.errors import Unreachable
from exa_cli.base.talk import say, warn
from exa_cli.commands import _complete
from exa_cli.commands._common import emit, json_option
from exa_cli.login import observe
from exa_cli.login.observe import View
from exa_cli.runs.find import all_runs, find


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=_complete.runs)
@click.option("--watch", is_flag=True, help="Keep looking until the job ends or Ctrl-C.")
@click.option("--verbose", "-v", is_flag=True, help="Say what was asked of the scheduler.")
@json_option
def command(run: str | None, watch: bool, verbose: bool, as_json: bool) -> None:
    """All runs, or RUN in detail.

    Each state says where it comes from and how old it is. "unknown" means that nobody answered;
    it never means that the job is gone.

    \b
    Examples:
      exa status
      exa status demo --watch
    """
    if verbose:
        click.get_current_context().call_on_close(_say_spent)
    if run is None:
        _list(as_json)
        return
    found = find(run)
    if watch:
        from exa_cli.commands._watch import watch_run

        watch_run(found)
        return
    view = observe.look([found])[0]
    answer = observe.to_json(view)
    if as_json:
        emit(answer)
    else:
        click.echo(detail(answer, str(found.path)))
    _complain_of(view)


def _say_spent() -> None:
    """What it cost the scheduler, also when the answer was an error."""
    from exa_cli.schedulers import asked

    say(asked.spent().words)


def _list(as_json: bool) -> None:
    views, broken = observe.survey(all_runs())
    rows = [observe.summary(view) for view in views]
    rows += [observe.broken_summary(one) for one in broken]
    rows.sort(key=lambda row: str(row["run"]))
    if as_json:
        emit({"schema": 1, "runs": rows})
    elif rows:
        width = max(len(row["run"]) for row in rows)
        for row in rows:
            click.echo(_row(row, width))
    else:
        click.echo("no runs yet; exa init && exa submit run.toml makes one", err=True)
    _warn_once(views)
    for one in broken:
        warn(f"{one.run.run_id}: {one.error}")


def _warn_once(views: list[View]) -> None:
    """One warning for each trouble, however many runs have it."""
    troubles: dict[str, list[str]] = {}
    for view in views:
        if view.trouble:
            troubles.setdefault(view.trouble, []).append(view.run.run_id)
    for trouble, runs in troubles.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        warn(f"{runs[0]}{more}: {trouble}")


def _row(row: dict[str, Any], width: int) -> str:
    if row["state"] == "damaged":
        return f"{row['run']:<{width}}  damaged"
    why = f"  ({row['cause']})" if row["cause"] not in (None, "finished", row["state"]) else ""
    return f"{row['run']:<{width}}  {row['state']:<9}  {row['step']}/{row['steps_total']}{why}"


def _complain_of(view: View) -> None:
    """An unreachable scheduler is not an answer: say so, by the exit code too."""
    if view.trouble:
        raise Unreachable(
            f"the scheduler did not answer for {view.run.run_id}",
            where=view.trouble,
            hint="what is shown rests on the journal alone",
        )


def detail(answer: dict[str, Any], path: str) -> str:
    """A run in detail, as text."""
    best, coming = answer["checkpoint"], answer["next"]
    cause = f" ({answer['cause']})" if answer["cause"] not in (None, "finished") else ""
    teller = "the journal" if answer["source"] == "journal" else answer["source"]
    lines = [
        f"run         {answer['run']}",
        f"state       {answer['state']}{cause}, says {teller}, {answer['age_s']:.0f} s ago",
        f"step        {answer['step']} of {answer['steps_total']}",
        f"checkpoint  {_checkpoint(best)}",
        f"goodput     {_percent(answer['goodput'])}",
        f"directory   {path}",
    ]
    if coming:
        lines.append(f"next        {coming['action']}: {coming['reason']}")
    lines += ["", *(_attempt(a) for a in answer["attempts"])]
    return "\n".join(lines).rstrip()


def _checkpoint(best: dict[str, Any] | None) -> str:
    return f"step {best['step']}, {best['verdict']}" if best else "none yet"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%} of the jobs' time went into kept steps"


def _attempt(attempt: dict[str, Any]) -> str:
    steps = ""
    if attempt["first_step"] is not None:
        steps = f", steps {attempt['first_step']}–{attempt['last_step'] or '?'}"
    lives = f", {attempt['lives']} lives" if attempt["lives"] > 1 else ""
    head = f"attempt {attempt['attempt']}  job {attempt['job_id'] or 'none'}: {attempt['state']}"
    cause = f", {attempt['cause']}" if attempt["cause"] else ""
    return "\n".join([head + cause + steps + lives, *(f"  {e}" for e in attempt["evidence"])])
