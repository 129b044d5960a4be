"""What a shell offers after TAB: runs, sites, presets, keys. Files only; nobody is asked.

Whatever goes wrong, nothing is offered: a trace in the middle of somebody's line helps nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import click

from exa_cli.base.errors import ExaError

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _offering(known: Callable[[], Iterable[str]]) -> Complete:
    def offer(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [name for name in known() if name.startswith(incomplete)]
        except (ExaError, OSError):
            return []

    return offer


def _runs() -> list[str]:
    from exa_cli.runs.find import all_runs

    return [run.run_id for run in all_runs()]


def _sites() -> Iterable[str]:
    from exa_cli.sites.load import known_sites

    return known_sites()


def _presets() -> Iterable[str]:
    from exa_cli.arith.families import PRESETS

    return PRESETS


def _keys() -> Iterator[str]:
    import dataclasses

    from exa_cli.spec.declare import hints
    from exa_cli.spec.document import subtable
    from exa_cli.spec.runfile import RunFile

    for name, hint in hints(RunFile).items():
        inner = subtable(hint)
        fields = dataclasses.fields(inner) if inner else ()
        yield from (f"{name}.{field.name}=" for field in fields)


runs = _offering(_runs)
sites = _offering(_sites)
presets = _offering(_presets)
keys = _offering(_keys)
