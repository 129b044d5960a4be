"""exa model: exact parameters, FLOPs and bytes of a model, without torch."""

from __future__ import annotations

import click

from exa_cli.arith import report
from exa_cli.arith.families import preset
from exa_cli.base.files import to_json
from exa_cli.commands import _complete


@click.group(name="model")
def command() -> None:
    """What a model is and what it costs, in exact integers.

    \b
    Example:
      exa model show alphaexa-250b --seq 8192
    """


@command.command()
@click.argument("preset_name", metavar="PRESET", shell_complete=_complete.presets)
@click.option("--seq", type=click.IntRange(min=1), help="Tokens per sequence for the FLOPs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(preset_name: str, seq: int | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Parameters in parts, FLOPs per token, bytes of state.

    \b
    Example:
      exa model show alphaexa-ci --set vocab=512 --set top_k=3 --json
    """
    config = preset(preset_name).override(list(settings))
    found = report.facts(preset_name, config, seq or config.max_seq)
    click.echo(to_json(found) if as_json else report.text(found), nl=False)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_presets(as_json: bool) -> None:
    """The presets and what each is for.

    \b
    Example:
      exa model list
    """
    rows = report.listing()
    if as_json:
        click.echo(to_json({"schema": 1, "presets": rows}), nl=False)
        return
    click.echo(f"{'preset':<16}{'total':>18}{'active':>17}")
    for row in rows:
        click.echo(f"{row['preset']:<16}{row['total']:>18,}{row['active']:>17,}  {row['about']}")
