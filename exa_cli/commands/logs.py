"""exa logs: what a run printed."""

from __future__ import annotations

import time
from pathlib import Path

import click

from exa_cli.base.errors import NotFound
from exa_cli.base.files import read_json
from exa_cli.commands._common import emit, json_option, run_argument
from exa_cli.login import observe
from exa_cli.runs.find import find
from exa_cli.runs.rundir import RunDir, attempts


@click.command()
@run_argument
@click.option("--attempt", type=click.IntRange(min=1), help="Which attempt; default the last.")
@click.option("--life", type=click.IntRange(min=1), help="Which life; default the last.")
@click.option("--rank", type=click.IntRange(min=0), help="A rank's log, not the supervisor's.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until the job ends.")
@json_option
def command(
    run: str, attempt: int | None, life: int | None, rank: int | None, follow: bool, as_json: bool
) -> None:
    """Print the supervisor's log of RUN's last life, or a rank's.

    \b
    Examples:
      exa logs demo -f
      exa logs demo --rank 0
    """
    found = find(run)
    folder = life_folder(found, attempt, life)
    path = rank_log(folder, rank) if rank is not None else folder / "stdout.log"
    if as_json:
        emit({"schema": 1, "run": found.run_id, "life": str(folder), "path": str(path)})
        return
    if not path.exists():
        raise NotFound("there is no such log", where=str(path), hint=_hint(rank))
    _print(found, path, follow)


def _hint(rank: int | None) -> str:
    if rank is None:
        return "the job has not started yet; exa status shows its state"
    return "logs of rank 0 and of failed ranks are kept; the others stay on their nodes"


def life_folder(run: RunDir, attempt: int | None, life: int | None) -> Path:
    """The folder of a life. Raises NotFound when there is none."""
    name = f"{attempt:03d}" if attempt else next(iter(reversed(attempts(run))), None)
    lives = run.attempt(name) / "lives" if name else run.path / "attempts"
    numbers = sorted(int(p.name) for p in lives.glob("[0-9]*")) if name and lives.is_dir() else []
    chosen = life or max(numbers, default=0)
    if chosen not in numbers:
        hint = "the job has not started yet; exa status shows its state"
        raise NotFound("there is no such life", where=str(lives), hint=hint)
    return lives / str(chosen)


def rank_log(folder: Path, rank: int) -> Path:
    """A rank's log: the kept copy, or the live one where this machine can read it."""
    kept = folder / "ranks" / f"{rank:06d}.log"
    if kept.exists():
        return kept
    try:
        live = Path(read_json(folder / "launch.json")["ranks"][rank]["log"])
    except (OSError, ValueError, LookupError):
        return kept
    return live if live.exists() else kept


def _print(run: RunDir, path: Path, follow: bool) -> None:
    with open(path, encoding="utf-8", errors="replace") as file:
        while True:
            while text := file.read(1 << 16):
                click.echo(text, nl=False)
            if not follow:
                return
            if observe.look([run])[0].state.state not in ("queued", "running"):
                click.echo(file.read(), nl=False)
                return
            time.sleep(0.5)
