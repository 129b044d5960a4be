"""exa ckpt: list, verify, protect, repair, prune, compare and export checkpoints, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exa_cli.base.errors import Damaged, ExaError, Findings, Invalid, NotFound, Unreachable
from exa_cli.base.files import read_json, to_json
from exa_cli.base.talk import say, warn
from exa_cli.commands import _ckpt_care, _ckpt_diff, _complete
from exa_cli.commands import _ckpt_target as targets
from exa_cli.commands._ckpt_target import counted, find_run

if TYPE_CHECKING:
    from exa_cli.checkpoint.select import Accepts
    from exa_cli.checkpoint.verdict import ForeignReport, Report
    from exa_cli.commands._ckpt_target import Target


@click.group(name="ckpt")
def command() -> None:
    """List, verify, protect, repair, prune, compare and export checkpoints.

    RUN is a run's name, directory or unique prefix. DIR is one checkpoint's directory, or one
    that another program wrote.

    \b
    Example:
      exa ckpt verify demo
    """


for _verb in (_ckpt_care.protect, _ckpt_care.repair, _ckpt_care.prune, _ckpt_diff.diff):
    command.add_command(_verb)


@command.command(name="ls")
@click.argument("run_text", metavar="RUN", shell_complete=_complete.runs)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_checkpoints(run_text: str, as_json: bool) -> None:
    """List checkpoints, the newest first; looks at manifests and footers, not at the data.

    \b
    Example:
      exa ckpt ls demo --json
    """
    from exa_cli.checkpoint.verify import survey

    run = find_run(run_text)
    accepts = targets.accepts(run)
    rows = [_row(report, accepts) for report in survey(run / "checkpoints")]
    if as_json:
        click.echo(to_json({"schema": 1, "checkpoints": rows}), nl=False)
        return
    click.echo(
        f"{'step':>10}  {'structure':<11}{'counts':<8}{'epoch':>6}{'GB':>10}  {'written':<25}name"
    )
    for row in rows:
        click.echo(_line(row))


@command.command()
@click.argument("text", metavar="RUN|DIR", shell_complete=_complete.runs)
@click.option("--step", type=click.IntRange(min=0), help="Only checkpoints of this step.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(text: str, step: int | None, as_json: bool) -> None:
    """Read every byte of checkpoints, and of their parity, and check it.

    Exit code 0: all good; 9: something is incomplete, or damaged and repairable; 7: something
    is damaged beyond that. Damage is named by file and chunk. A DIR that another program wrote
    is checked by its parity; without, by what its format offers (torch DCP has CRCs), and what
    that cannot show is said.

    \b
    Example:
      exa ckpt verify demo --step 400
    """
    target = targets.find(text)
    if target.foreign:
        return _verify_foreign(target, as_json)
    accepts = target.accepts()
    reports = []
    for report in _verified(target, step):
        reports.append(report)
        if not as_json:
            _tell(report, accepts)
    if as_json:
        found = [_verdict(report, accepts) for report in reports]
        click.echo(to_json({"schema": 1, "checkpoints": found}), nl=False)
    targets.conclude({report.name: report.verdict for report in reports})
    return None


def _verify_foreign(target: Target, as_json: bool) -> None:
    from exa_cli.checkpoint import weigh

    assert target.only is not None
    try:
        report = weigh.verify_foreign(target.only)
    except OSError as error:
        where = str(error.filename or target.only)
        raise Unreachable(f"cannot read the directory: {error.strerror}", where=where) from error
    if as_json:
        click.echo(to_json({"schema": 1, "checkpoints": [_foreign_verdict(report)]}), nl=False)
    else:
        _tell_foreign(report)
    targets.conclude({report.name: report.verdict})


def _foreign_verdict(report: ForeignReport) -> dict[str, Any]:
    return {
        "step": None,
        "verdict": report.verdict,
        "damaged": targets.damaged(report),
        "name": report.name,
        "counts": None,
        "protected": report.protected,
        "unseen": list(report.unseen),
    }


def _tell_foreign(report: ForeignReport) -> None:
    click.echo(f"{report.name}  {report.verdict}{'' if report.protected else ', not protected'}")
    for damage in report.damaged:
        click.echo(targets.line(damage))
    for words in report.unseen:
        warn(words)


@command.command()
@click.argument("run_text", metavar="RUN", shell_complete=_complete.runs)
@click.argument("step_text", metavar="STEP")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="New directory.")
@click.option(
    "--dtype",
    type=click.Choice(["keep", "fp32", "bf16"]),
    default="keep",
    show_default=True,
    help="Convert fp32 and bf16 weights (rounded to nearest even).",
)
def export(run_text: str, step_text: str, out: Path, dtype: str) -> None:
    """Write the model's weights as safetensors with a config.json; STEP is a number or `latest`.

    Every chunk is checked on the way; where one is damaged, the next best checkpoint that fits
    STEP is taken, with a warning. Equal weights give equal bytes.

    \b
    Example:
      exa ckpt export demo latest -o demo-weights --dtype bf16
    """
    run = find_run(run_text)
    config = _config(run)
    *better, last = _candidates(run, step_text)
    for name in better:
        try:
            return _export(run / "checkpoints" / name, out, config, dtype)
        except Damaged as damage:
            warn(f"{name}: {damage.where}: {damage.what}; taking the next")
    return _export(run / "checkpoints" / last, out, config, dtype)


def _export(checkpoint: Path, out: Path, config: dict[str, Any], dtype: str) -> None:
    from exa_cli.checkpoint import export as exports

    try:
        made = exports.export(checkpoint, out, config=config, dtype=dtype)
    except OSError as error:
        where = error.filename or str(out)
        raise Unreachable(f"the export failed: {error.strerror}", where=where) from error
    say(f"exported {checkpoint.name}: {made.tensors} tensors, {made.bytes / 1e9:.3f} GB")
    for name in made.files:
        click.echo(out / name)


def _row(report: Report, accepts: Accepts) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "step": report.step,
        "name": report.name,
        "structure": report.verdict,
        "counts": counted(report, accepts),
        "epoch": report.epoch,
        "written": manifest.written if manifest else None,
        "bytes": manifest.bytes if manifest else None,
        "files": len(manifest.files) if manifest else None,
        "tensors": len(manifest.tensors) if manifest else None,
        "world": manifest.layout["world"] if manifest else None,
        "damaged": targets.damaged(report),
    }


def _line(row: dict[str, Any]) -> str:
    size = f"{row['bytes'] / 1e9:.3f}" if row["bytes"] is not None else "-"
    epoch = "-" if row["epoch"] is None else row["epoch"]
    counts = "yes" if row["counts"] else "no"
    written = row["written"] or "-"
    head = f"{row['step']:>10}  {row['structure']:<11}{counts:<8}{epoch:>6}{size:>10}"
    return f"{head}  {written:<25}{row['name']}"


def _verdict(report: Report, accepts: Accepts) -> dict[str, Any]:
    return {
        "step": report.step,
        "verdict": report.verdict,
        "damaged": targets.damaged(report),
        "name": report.name,
        "counts": counted(report, accepts),
        "protected": report.protected,
    }


def _tell(report: Report, accepts: Accepts) -> None:
    superseded = report.epoch is not None and not counted(report, accepts)
    note = f"  (does not count: epoch {report.epoch} was superseded)" if superseded else ""
    click.echo(f"{report.name}  {report.verdict}{note}")
    for damage in report.damaged:
        click.echo(targets.line(damage))
    if report.verdict == "repairable":
        say("  exa ckpt repair makes it good")


def _verified(target: Target, step: int | None) -> Iterator[Report]:
    """Reports as they are made: reading everything may take long."""
    from exa_cli.checkpoint import verify as checks

    wanted = target.reports(step)
    if not wanted:
        warn(f"there are no checkpoints in {target.run}")
    for report in wanted:
        yield checks.verify(target.path(report.name))


def _candidates(run: Path, text: str) -> tuple[str, ...]:
    """Checkpoints of a step that may be used, the best first. Raises NotFound or Damaged."""
    from exa_cli.checkpoint.select import choose
    from exa_cli.checkpoint.verify import survey

    root = run / "checkpoints"
    reports = [report for report in survey(root) if text in ("latest", str(report.step))]
    choice = choose(reports, targets.accepts(run))
    if choice.candidates:
        return choice.candidates
    if not reports:
        raise NotFound(f"there is no checkpoint {text!r}", where=str(root), hint="exa ckpt ls RUN")
    verdicts = {report.verdict for report in reports}
    hint = None
    error: type[ExaError] = Damaged if "damaged" in verdicts else NotFound
    if "repairable" in verdicts:
        error, hint = Findings, "exa ckpt repair"
    listed = "\n".join(f"- {one.name}: {one.reason}" for one in choice.skipped)
    raise error(f"no checkpoint {text!r} can be used:\n{listed}", where=str(root), hint=hint)


def _config(run: Path) -> dict[str, Any]:
    """The model's part of the run's plan."""
    path = run / "plan.json"
    try:
        config: dict[str, Any] = read_json(path)["model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "config.json is written from it"
        raise Invalid(
            f"cannot read the model's config: {error!r}", where=str(path), hint=hint
        ) from error
    return config
