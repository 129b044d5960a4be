"""exa data: prepare text for training; look at prepared data.

Preparing needs numpy, h5py and SentencePiece, so it is another program, ``exa_train.data``,
started from here. Looking needs the manifest only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from exa_cli.base import files, proc, seal
from exa_cli.base.errors import Damaged, Invalid, NotFound, Usage

PROGRAM = "exa_train.data"
KIND, SCHEMA = "exa-tokens", 1


@click.group(name="data")
def command() -> None:
    """Prepare text for training; look at prepared data.

    \b
    Example:
      exa data prepare builtin:python-stdlib -o data/stdlib --vocab 512
      exa data show data/stdlib
    """


@command.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, metavar="DIR", help="Where the result goes.")
@click.option("--vocab", type=int, metavar="N", help="Tokens to learn from the text.")
@click.option("--tokenizer", metavar="FILE.model", help="Use this SentencePiece model instead.")
@click.option("--text-field", metavar="NAME", help="Field of a .jsonl line.  [default: text]")
@click.option("--held-out", type=float, metavar="SHARE", help="Of the documents.  [default: 0.01]")
@click.option("--seed", type=int, metavar="N", help="Chooses held-out documents.  [default: 0]")
@click.option("--shard-tokens", type=int, metavar="N", help="Tokens a shard.  [default: 67108864]")
@click.option("--workers", type=int, metavar="N", help="Processes.  [default: one per core]")
@click.option("--skip-bad", is_flag=True, help="Leave out unreadable documents; count them.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def prepare(inputs: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Turn text into a tokenizer, token shards and a held-out split.

    INPUT is a file (.txt .md .rst .py .jsonl .jsonl.gz), a folder, or builtin:python-stdlib. A
    file is one document; in .jsonl each line is one. One document alone is cut at line ends
    into up to 100 pieces, which count as documents. The result depends on the inputs and
    options only. Killed, it goes on where it was when the same command is run again.

    \b
    Example:
      exa data prepare corpus/ more.jsonl.gz -o data/mine --vocab 32000
    """
    if not options["out"]:
        raise Usage("DIR is empty", where="--out", hint="an unset variable of your shell?")
    arguments = ["prepare"]
    for name, value in options.items():
        arguments += _spelled(f"--{name.replace('_', '-')}", value)
    click.get_current_context().exit(
        _run_program([*arguments, *_spelled("--json", as_json), "--", *inputs])
    )


@command.command()
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(directory: str, as_json: bool) -> None:
    """Read prepared data from end to end and compare every checksum.

    \b
    Example:
      exa data verify data/stdlib
    """
    click.get_current_context().exit(
        _run_program(["verify", *_spelled("--json", as_json), "--", directory])
    )


@command.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def show(directory: Path, as_json: bool) -> None:
    """What a prepared directory holds.

    \b
    Example:
      exa data show data/stdlib --json
    """
    manifest = read_manifest(directory)
    click.echo(files.to_json(manifest) if as_json else describe(directory, manifest), nl=False)


def _spelled(option: str, value: Any) -> list[str]:
    """An option as it stands on a command line; nothing for one that was not given."""
    if value is None or value is False:
        return []
    return [option] if value is True else [f"{option}={value}"]


def _run_program(arguments: list[str]) -> int:
    """Run the preparing program on our terminal; it ends when we do. Returns its exit code."""
    child = subprocess.Popen(
        [sys.executable, "-m", PROGRAM, *arguments], preexec_fn=proc.die_with_parent()
    )
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:  # it had the Ctrl-C too, and says what to do next
            continue
        return code if code >= 0 else 128 - code


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a prepared directory, its seal checked.

    Raises:
        NotFound: no prepared data. Invalid: another kind or schema. Damaged: it changed.
    """
    path = directory / "manifest.json"
    try:
        manifest = files.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        hint = "exa data prepare INPUT… -o DIR --vocab N"
        raise NotFound("no prepared data here", where=str(path), hint=hint) from None
    except ValueError as error:
        raise Damaged(f"the manifest is damaged: {error}", where=str(path)) from None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise Invalid("not a manifest of prepared data", where=str(path))
    if manifest.get("schema") != SCHEMA:
        raise Invalid(f"schema {manifest.get('schema')!r} is not known here", where=str(path))
    if not seal.check(manifest):
        hint = "prepare the data again into a new directory"
        raise Damaged("the manifest's seal does not fit its content", where=str(path), hint=hint)
    return manifest


def describe(directory: Path, manifest: dict[str, Any]) -> str:
    """The manifest for people."""
    tokenizer = manifest["tokenizer"]
    origin = "learnt from this text" if tokenizer["trained"] else "given"
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in manifest["skipped"].items())
    rows = [
        ("directory", str(directory)),
        ("data id", manifest["data_id"]),
        ("inputs", f"{', '.join(manifest['inputs'])} ({len(manifest['sources']):,} files)"),
        ("left out", left_out or "nothing"),
        *_cut_line(manifest.get("cut")),
        ("tokenizer", f"{manifest['vocab']:,} tokens, {origin}, {tokenizer['sha256'][:16]}"),
        *((name, _split_line(split)) for name, split in manifest["splits"].items()),
    ]
    return "".join(f"{name:<10} {value}\n" for name, value in rows)


def _cut_line(cut: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [("cut", f"one document, into {cut['pieces']:,} pieces")] if cut else []


def _split_line(split: dict[str, Any]) -> str:
    count = len(split["shards"])
    return (
        f"{split['tokens']:,} tokens in {count:,} {'file' if count == 1 else 'files'}, "
        f"{split['documents']:,} documents, {split['bytes_text'] / 1e6:,.1f} MB of text"
    )
