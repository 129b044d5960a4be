"""exa resume: continue a run, or finish a submit that was cut off."""

from __future__ import annotations

import click

from exa_cli.base.talk import say
from exa_cli.commands._common import emit, json_option, run_argument, wait_for
from exa_cli.login import resume as resuming
from exa_cli.login.keep import ahead
from exa_cli.runs.find import find


@click.command()
@run_argument
@click.option(
    "--force",
    is_flag=True,
    help="Go on after a cancel; begin at step 0 if every checkpoint is damaged; take over from "
    "an exa that died on another machine.",
)
@click.option("--nodes", type=click.IntRange(1), help="On so many nodes from now on: the samples "
    "and their order stay, the last bits of sums may not.",
)  # fmt: skip
@click.option("--walltime", help="Another time limit for this attempt, HH:MM:SS.")
@click.option("--follow", is_flag=True, help="Show progress until the job ends.")
@click.option("--wait", is_flag=True, help="Return when the job has ended: 0 done, 8 failed.")
@json_option
def command(
    run: str,
    force: bool,
    nodes: int | None,
    walltime: str | None,
    follow: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Continue RUN from its last committed step.

    A run that is live or has finished is left as it is. A submit that was cut off is finished,
    and never repeated.

    \b
    Example:
      exa resume demo --follow
      exa resume demo --nodes 8
    """
    found = find(run)
    done = resuming.resume(found, {"walltime": walltime}, force=force, nodes=nodes)
    if as_json:
        emit(done.submission.to_json())
    else:
        click.echo(found.run_id)
    say(done.why if not done.submitted else f"job {done.submission.job_id}: {done.why}")
    if done.submitted:
        ahead(done.submission)
    if follow:
        from exa_cli.commands._watch import follow_run

        follow_run(found)
    elif wait:
        wait_for(found)
