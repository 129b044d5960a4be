"""exa ckpt protect, repair and prune: what changes the folder of checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from exa_cli.base.errors import Damaged, ExaError, Usage
from exa_cli.base.files import to_json
from exa_cli.base.talk import say, warn
from exa_cli.commands import _ckpt_target as targets
from exa_cli.commands import _complete

if TYPE_CHECKING:
    from exa_cli.checkpoint.parity import Protection
    from exa_cli.checkpoint.repair import Repaired
    from exa_cli.commands._ckpt_target import Target


@click.command()
@click.argument("text", metavar="RUN|DIR", shell_complete=_complete.runs)
@click.argument("step", metavar="[STEP]", required=False)
@click.option(
    "--group",
    type=click.IntRange(1, 255),
    default=8,
    show_default=True,
    help="Chunks that share one parity: one of them can be lost. 1 makes a copy.",
)
@click.option("--renew", is_flag=True, help="Take changed files of a foreign DIR as they are now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def protect(text: str, step: str | None, group: int, renew: bool, as_json: bool) -> None:
    """Make parity beside checkpoints: damage can then be repaired.

    DIR is a checkpoint, or any directory of files that another program wrote (torch DCP,
    safetensors, shards of any kind): those are read, never changed; what exa knows of them goes
    into DIR/exa-parity. STEP is a number or `latest`; without it all of the run's checkpoints
    are protected.

    \b
    Example:
      exa ckpt protect demo latest
      exa ckpt protect /data/dcp/step-500
    """
    from exa_cli.checkpoint import parity

    target = targets.find(text)
    names = _names(target, step)
    made = targets.each(names, lambda name: parity.protect(target.path(name), group, renew=renew))
    rows: list[dict[str, Any]] = []
    refused: list[ExaError] = []
    for name, found in made:
        if isinstance(found, ExaError):
            refused.append(_refused(name, found))
            continue
        rows.append(asdict(found))
        if not as_json:
            _tell_protection(found)
    if as_json:
        click.echo(to_json({"schema": 1, "protected": rows}), nl=False)
    _raise(refused)


def _names(target: Target, step: str | None) -> list[str]:
    """The names of what is to be worked on; incomplete checkpoints only when asked for."""
    wanted = targets.step_of(target, step)
    if target.only is not None:
        return [target.only.name]
    found = target.reports(wanted)
    left = [r.name for r in found if r.verdict == "incomplete" and wanted is None]
    for name in left:
        say(f"{name}  incomplete, left alone")
    if not found:
        warn(f"there are no checkpoints in {target.run}")
    return [report.name for report in found if report.name not in left]


def _tell_protection(made: Protection) -> None:
    share = made.parity_bytes / made.bytes if made.bytes else 0
    did = "protected" if made.made else "is protected already"
    click.echo(
        f"{made.name}  {did}: {made.files} files, {made.bytes / 1e9:.3f} GB and {share:.1%} parity"
    )
    if made.lasting < made.files:
        hard = made.files - made.lasting
        say(f"  {hard} of the files can lose chunks, but not be lost whole: too large for that")
    if made.skipped:
        from exa_cli.checkpoint.guarded import shown

        warn(f"not covered, since no regular files: {', '.join(map(shown, made.skipped))}")


@click.command()
@click.argument("text", metavar="RUN|DIR", shell_complete=_complete.runs)
@click.argument("step", metavar="[STEP]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def repair(text: str, step: str | None, as_json: bool) -> None:
    """Bring back, bit for bit, what was protected; nothing is changed where that is impossible.

    Exit code 0: repaired, or there was nothing to repair; 7: beyond repair. Each change is
    noted in REPAIR.jsonl. A repair that was cut off can be repeated.

    \b
    Example:
      exa ckpt repair demo 400
    """
    from exa_cli.checkpoint import repair as repairs

    target = targets.find(text)
    names = _names(target, step)
    rows: list[dict[str, Any]] = []
    refused: list[ExaError] = []
    for name, found in targets.each(names, lambda name: repairs.repair(target.path(name))):
        if isinstance(found, ExaError):
            refused.append(_refused(name, found))
            rows.append({"name": name, "repaired": [], "refused": found.what})
            continue
        changes = [asdict(change) for change in found.changes]
        rows.append({"name": name, "repaired": changes, "refused": None})
        if not as_json:
            _tell_repair(name, found)
    if as_json:
        click.echo(to_json({"schema": 1, "checkpoints": rows}), nl=False)
    _raise(refused)


def _tell_repair(name: str, done: Repaired) -> None:
    from exa_cli.checkpoint.guarded import shown

    click.echo(f"{name}  {'repaired' if done.changes else 'good, nothing to repair'}")
    for change in done.changes:
        chunk = "" if change.chunk is None else f" chunk {change.chunk}"
        click.echo(f"  {shown(change.file)}{chunk}: from {change.source}")


def _refused(name: str, error: ExaError) -> ExaError:
    return type(error)(f"{name}: {error.what}", where=error.where, hint=error.hint)


def _raise(refused: list[ExaError]) -> None:
    """Leave with the first kind of refusal; damage goes before all others."""
    from exa_cli.base.errors import several

    if refused:
        worst = sorted(refused, key=lambda error: not isinstance(error, Damaged))
        raise several(type(worst[0]), worst)


@click.command()
@click.argument("text", metavar="RUN", shell_complete=_complete.runs)
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="Verified checkpoints that stay."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(text: str, keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove checkpoints older than the newest ones that were read and found good.

    The newest KEEP that are good in every byte stay, with everything younger than the oldest of
    them. What is damaged, repairable or incomplete is not counted. While there are fewer than
    KEEP, nothing is removed.

    \b
    Example:
      exa ckpt prune demo --keep 3 --dry-run
    """
    from exa_cli.checkpoint import folder
    from exa_cli.checkpoint.prune import removals
    from exa_cli.checkpoint.verify import survey

    target = targets.find(text)
    if target.run is None or target.only is not None:
        raise Usage("prune needs a RUN", hint="a single directory is for you to remove")
    root = target.run / "checkpoints"
    verified = _verified(target, keep)
    if len(verified) < keep:
        say(f"{len(verified)} of {keep} checkpoints are verified: nothing is removed")
    old = removals(survey(root), keep=keep, verified=verified, accepts=target.accepts())
    removed: list[dict[str, Any]] = []
    for removal in old:
        if not dry_run and (root / removal.name).exists():
            folder.remove(root, removal.name)
        removed.append(asdict(removal))
        if not as_json:
            click.echo(f"{removal.name}  {'would be ' if dry_run else ''}removed: {removal.reason}")
    if as_json:
        answer = {"schema": 1, "dry_run": dry_run, "verified": verified, "removed": removed}
        click.echo(to_json(answer), nl=False)


def _verified(target: Target, keep: int) -> list[str]:
    """The newest checkpoints that count and whose every byte was just read and found good."""
    from exa_cli.checkpoint.verify import verify

    accepts = target.accepts()
    good: list[str] = []
    for report in target.reports(None):
        if len(good) == keep:
            break
        if not targets.counted(report, accepts):
            continue
        found = verify(target.path(report.name))
        if found.verdict == "good":
            good.append(report.name)
        else:
            warn(f"{report.name} is {found.verdict} and not counted")
    return good
