"""exa init: write a commented run file."""

from __future__ import annotations

from pathlib import Path

import click

from exa_cli.base.errors import Invalid
from exa_cli.base.files import create_exclusive, write_bytes
from exa_cli.base.talk import say
from exa_cli.spec import document
from exa_cli.spec.runfile import RunFile

INTRO = """A run of exa. It works as it stands on the site "local":

    exa submit run.toml --follow

Every key is here; a commented one shows its default. "auto" is decided at the first submit,
frozen in the run's plan.json and explained there. docs/run-file.md is the reference."""

GIVEN = {
    "resources": {"walltime": "00:30:00"},
    "model": {"preset": "alphaexa-ci", "init_std": 0.05},
    "data": {"path": "builtin:python-stdlib", "vocab": 512},
    "train": {"steps": 800, "seq_len": 256, "lr": 2e-3, "schedule": "wsd"},
    "checkpoint": {"every": "auto"},
}


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="run.toml")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, force: bool) -> None:
    """Write a commented run file that runs as it stands on site local.

    \b
    Example:
      exa init && exa submit run.toml
    """
    if not path.name or path.is_dir():
        raise Invalid("that is a directory", where=str(path), hint=f"exa init {path / 'run.toml'}")
    if path.exists() and not path.is_file():
        raise Invalid("that is no file to be overwritten, but a device or pipe", where=str(path))
    text = document.commented(RunFile, GIVEN, INTRO).encode()
    try:
        if force:
            write_bytes(path, text)
        elif not create_exclusive(path, text):
            hint = "choose another name, or --force to overwrite it"
            raise Invalid("the file exists already", where=str(path), hint=hint)
    except OSError as error:
        raise Invalid(f"cannot write the run file: {error.strerror}", where=str(path)) from error
    say(f"wrote {path}; next: exa submit {path}")
