"""exa submit: plan, render, submit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exa_cli.base.talk import say
from exa_cli.commands import _complete
from exa_cli.commands._common import asks_for_a_run, emit, json_option, wait_for
from exa_cli.login import draft as drafts
from exa_cli.login.draft import Draft, Options
from exa_cli.login.preflight import preview
from exa_cli.runs.rundir import RunDir, runs_root

if TYPE_CHECKING:
    from exa_cli.login.submit import Submission


@click.command()
@asks_for_a_run
@click.option("--dry-run", is_flag=True, help="Print the script; submit nothing.")
@click.option("--explain", is_flag=True, help="Print each script line with its origin.")
@click.option("--diff", metavar="RUN", help="Print what changed in the script since RUN's last.",
    shell_complete=_complete.runs,
)  # fmt: skip
@click.option("--here", is_flag=True, help="In the allocation of salloc or qsub -I one is in.")
@click.option("--follow", is_flag=True, help="Show progress until the job ends.")
@click.option("--wait", is_flag=True, help="Return when the job has ended: 0 done, 8 failed.")
@json_option
def command(
    spec: Path,
    options: Options,
    dry_run: bool,
    explain: bool,
    diff: str | None,
    here: bool,
    follow: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Make a new run of the run file SPEC and submit it.

    \b
    Examples:
      exa submit run.toml --follow
      exa submit run.toml --name trial --set train.steps=400 --wait
      exa submit run.toml --dry-run
      exa submit run.toml --diff trial
      salloc --nodes=2 exa submit run.toml --here --follow
    """
    made = drafts.draft(spec, options)
    if here:
        made = _fitted(made)
    if diff is not None:
        _show_diff(made, diff, as_json)
        return
    if dry_run or explain:
        _show(made, explain, as_json)
        return
    if here:
        _run_here(made, follow, as_json)
        return
    from exa_cli.login import submit
    from exa_cli.login.keep import ahead

    done = submit.submit(made)
    _answer(done, as_json)
    say(f"submitted {done.run.run_id} to {done.scheduler} as job {done.job_id}: {done.run.path}")
    ahead(done)
    if follow:
        from exa_cli.commands._watch import follow_run

        follow_run(done.run)
    elif wait:
        wait_for(done.run)


def _answer(done: Submission, as_json: bool) -> None:
    if as_json:
        emit(done.to_json())
    else:
        click.echo(done.run.run_id)


def _fitted(made: Draft) -> Draft:
    from exa_cli.login import here

    return here.fitted(made, here.present(made.profile.scheduler.kind, os.environ))


def _run_here(made: Draft, follow: bool, as_json: bool) -> None:
    """Start the run in this allocation, and wait for its end as the script does."""
    from exa_cli.commands._here import attend
    from exa_cli.commands._watch import plainly
    from exa_cli.login import here

    done = here.begin(made)
    _answer(done, as_json)
    say(f"{done.run.run_id} runs in this allocation, job {done.job_id}: {done.run.path}")
    attend(done, plainly(done.run) if follow else lambda: None)


def _show_diff(made: Draft, name: str, as_json: bool) -> None:
    """What the script of a run's last attempt would say now, against what it said. Nothing is
    created or submitted; no difference prints nothing."""
    from difflib import unified_diff

    run, attempt, old = drafts.last_script(name)
    new = drafts.scripted(made, run, attempt)[2]
    names = f"{run.run_id}, attempt {attempt}", f"{made.doc.name} now"
    lines = unified_diff(old.splitlines(keepends=True), new.text.splitlines(keepends=True), *names)
    text = "".join(lines)
    if as_json:
        emit({"schema": 1, "run": run.run_id, "attempt": attempt, "diff": text})
    else:
        click.echo(text, nl=False)


def _show(made: Draft, explain: bool, as_json: bool) -> None:
    """What would be submitted; nothing is created and nobody is asked."""
    run = RunDir(runs_root() / "dryrun")
    seen = preview(made, run, look=False)
    ready = seen.accepted()
    script = ready.script
    if as_json:
        origins = [{"line": line, "origin": origin} for line, origin in script.explained()]
        answer = {
            "schema": 1,
            "script": script.text,
            "request": ready.request,
            "origins": origins,
        }
        emit({**answer, "plan": ready.plan})
    elif explain:
        width = min(72, max(len(line) for line, _ in script.explained()))
        for line, origin in script.explained():
            click.echo(f"{line:<{width}}  # {origin}" if line else "")
    else:
        click.echo(script.text, nl=False)
    seen.warn()
    unchecked = ", ".join(seen.unchecked)
    say(f"dry run: nothing was created or submitted. Not checked: {unchecked}")
