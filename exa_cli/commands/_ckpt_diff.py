"""exa ckpt diff: two checkpoints, tensor by tensor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exa_cli.base.errors import Findings, Unreachable, Usage
from exa_cli.base.files import to_json
from exa_cli.commands import _ckpt_target as targets
from exa_cli.commands import _complete

if TYPE_CHECKING:
    from exa_cli.checkpoint.diff import Difference


@click.command()
@click.argument("a", metavar="A", shell_complete=_complete.runs)
@click.argument("b", metavar="B", shell_complete=_complete.runs)
@click.option("--all", "everything", is_flag=True, help="List tensors that are the same, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(a: str, b: str, everything: bool, as_json: bool) -> None:
    """Compare two checkpoints tensor by tensor, whatever their layouts; every chunk is checked.

    A and B are a checkpoint's directory, RUN for its newest, or RUN:STEP. Exit code 0: all
    tensors are the same bits; 9: something differs.

    \b
    Example:
      exa ckpt diff demo:200 demo:400
    """
    from exa_cli.checkpoint import diff as diffs

    left, right = _checkpoint(a), _checkpoint(b)
    found: list[Difference] = []
    try:
        for one in diffs.diff(left, right):
            found.append(one)
            if not as_json and (everything or one.kind != "same"):
                click.echo(_line(one))
    except OSError as error:
        where = str(error.filename) if error.filename else f"{left}, {right}"
        raise Unreachable(f"cannot read a checkpoint: {error.strerror}", where=where) from error
    if as_json:
        answer = {"schema": 1, "a": str(left), "b": str(right), "tensors": list(map(asdict, found))}
        click.echo(to_json(answer), nl=False)
    different = sum(one.kind != "same" for one in found)
    if different:
        raise Findings(f"{different} of {len(found)} tensors differ", where=f"{left}, {right}")
    if not as_json:
        click.echo(f"all {len(found)} tensors are the same")


def _checkpoint(text: str) -> Path:
    """The directory that A or B names."""
    run, colon, step = text.rpartition(":")
    named, wanted = (run, step) if colon and not Path(text).exists() else (text, None)
    target = targets.find(named)
    if target.foreign:
        hint = "a directory step-….…, RUN or RUN:STEP"
        raise Usage("diff compares checkpoints of exa", where=text, hint=hint)
    if target.only is not None:
        return target.only
    number = targets.step_of(target, wanted or "latest")
    accepts = target.accepts()
    reports = target.reports(number)
    counting = [report for report in reports if targets.counted(report, accepts)]
    return target.path((counting or reports)[0].name)


def _line(one: Difference) -> str:
    if one.kind == "shape":
        return f"{one.name}  {one.a} in A, {one.b} in B"
    if one.kind != "differs":
        return f"{one.name}  {one.kind}"
    line = f"{one.name}  {one.elements} of {one.count} elements differ"
    if one.largest is not None:
        line += f", by {one.largest:.6g} at most"
    if one.nonfinite:
        line += f", {one.nonfinite} of them not finite"
    return line
