"""exa ckpt: list, verify and export checkpoints, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exa_cli.base.errors import Damaged, Findings, Invalid, NotFound, Unreachable
from exa_cli.base.files import read_json, to_json
from exa_cli.base.talk import say, warn
from exa_cli.commands import _complete

if TYPE_CHECKING:
    from exa_cli.checkpoint.select import Accepts
    from exa_cli.checkpoint.verdict import Report


@click.group(name="ckpt")
def command() -> None:
    """List, verify and export a run's checkpoints.

    RUN is a run's name, directory or unique prefix.

    \b
    Example:
      exa ckpt verify demo
    """


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

    run = _run(run_text)
    accepts = _accepts(run)
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
@click.argument("run_text", metavar="RUN", shell_complete=_complete.runs)
@click.option("--step", type=click.IntRange(min=0), help="Only checkpoints of this step.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(run_text: str, step: int | None, as_json: bool) -> None:
    """Read every byte of the checkpoints and check it.

    Exit code 0: all good; 9: something is incomplete; 7: something is damaged. Damage is named
    by file and chunk.

    \b
    Example:
      exa ckpt verify demo --step 400
    """
    run = _run(run_text)
    accepts = _accepts(run)
    reports = []
    for report in _verified(run / "checkpoints", step):
        reports.append(report)
        if not as_json:
            _tell(report, accepts)
    if as_json:
        found = [_verdict(report, accepts) for report in reports]
        click.echo(to_json({"schema": 1, "checkpoints": found}), nl=False)
    _conclude(reports)


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
    run = _run(run_text)
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


def _run(text: str) -> Path:
    """A run, or any directory that holds checkpoints."""
    from exa_cli.runs.find import find_run, is_there

    if text and is_there(Path(text) / "checkpoints"):
        return Path(text).absolute()
    return find_run(text)


def _accepts(run: Path) -> Accepts:
    """Whether a checkpoint counts, by the claims of the run's lives."""
    from exa_cli.runs.claims import counts, read_claims

    claims = read_claims(run)
    return lambda name, epoch: counts(claims, name, epoch)


def _counted(report: Report, accepts: Accepts) -> bool:
    return report.epoch is not None and accepts(report.name, report.epoch)


def _row(report: Report, accepts: Accepts) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "step": report.step,
        "name": report.name,
        "structure": report.verdict,
        "counts": _counted(report, accepts),
        "epoch": report.epoch,
        "written": manifest.written if manifest else None,
        "bytes": manifest.bytes if manifest else None,
        "files": len(manifest.files) if manifest else None,
        "tensors": len(manifest.tensors) if manifest else None,
        "world": manifest.layout["world"] if manifest else None,
        "damaged": _damaged(report),
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
        "damaged": _damaged(report),
        "name": report.name,
        "counts": _counted(report, accepts),
    }


def _damaged(report: Report) -> list[dict[str, str]]:
    return [{"file": damage.file, "reason": damage.reason} for damage in report.damaged]


def _tell(report: Report, accepts: Accepts) -> None:
    superseded = report.epoch is not None and not _counted(report, accepts)
    note = f"  (does not count: epoch {report.epoch} was superseded)" if superseded else ""
    click.echo(f"{report.name}  {report.verdict}{note}")
    for damage in report.damaged:
        click.echo(f"  {damage.file}: {damage.reason}")


def _verified(root: Path, step: int | None) -> Iterator[Report]:
    """Reports as they are made: reading everything may take long."""
    from exa_cli.checkpoint import verify as checks

    wanted = [report for report in checks.survey(root) if step in (None, report.step)]
    if not wanted and step is not None:
        raise NotFound(f"there is no checkpoint of step {step}", where=str(root))
    if not wanted:
        warn(f"there are no checkpoints in {root}")
    for report in wanted:
        yield checks.verify(root / report.name)


def _conclude(reports: list[Report]) -> None:
    """Leave with the exit code of the worst verdict; the data is on stdout already."""
    for verdict, error in (
        ("damaged", Damaged),
        ("repairable", Findings),
        ("incomplete", Findings),
    ):
        names = [report.name for report in reports if report.verdict == verdict]
        if names:
            raise error(f"{len(names)} of {len(reports)} checkpoints {verdict}: {', '.join(names)}")


def _candidates(run: Path, text: str) -> tuple[str, ...]:
    """Checkpoints of a step that may be used, the best first. Raises NotFound or Damaged."""
    from exa_cli.checkpoint.select import choose
    from exa_cli.checkpoint.verify import survey

    root = run / "checkpoints"
    reports = [report for report in survey(root) if text in ("latest", str(report.step))]
    choice = choose(reports, _accepts(run))
    if choice.candidates:
        return choice.candidates
    if not reports:
        raise NotFound(f"there is no checkpoint {text!r}", where=str(root), hint="exa ckpt ls RUN")
    error = Damaged if any(report.verdict == "damaged" for report in reports) else NotFound
    listed = "\n".join(f"- {one.name}: {one.reason}" for one in choice.skipped)
    raise error(f"no checkpoint {text!r} can be used:\n{listed}", where=str(root))


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
