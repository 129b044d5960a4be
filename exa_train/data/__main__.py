"""``python -m exa_train.data``: prepare text, check prepared data, print its baselines."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exa_cli.base import talk, trace
from exa_cli.base.errors import Damaged, ExaError, Invalid
from exa_cli.base.files import to_json

_NEEDED = ("numpy", "h5py", "sentencepiece", "xxhash")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every outcome becomes an exit code and a message."""
    arguments = parser().parse_args(argv)
    try:
        _require()
        _COMMANDS[arguments.command](arguments)
    except ExaError as error:
        talk.say(f"exa: {error}")
        return error.code
    except KeyboardInterrupt:
        talk.say("interrupted; finished parts are kept: run the same command again to go on")
        return 130
    except Exception as error:  # noqa: BLE001 - the last resort: say that it is a bug
        talk.say(f"exa: this is a bug in exa: {error!r}\n  at: {trace.keep(error)}")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m exa_train.data", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="text → tokenizer, token shards, manifest")
    _add_prepare_options(prepare)
    verify = commands.add_parser("verify", help="read everything and compare checksums")
    baselines = commands.add_parser(
        "baselines", help="unigram and bigram loss of the held-out text"
    )
    baselines.add_argument("--seq-len", type=int, default=256, metavar="N")
    for command in (verify, baselines):
        command.add_argument("directory", type=Path)
    for command in (prepare, verify, baselines):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return top


def _add_prepare_options(prepare: argparse.ArgumentParser) -> None:
    add = prepare.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="file, folder or builtin:python-stdlib")
    add("--out", "-o", type=Path, required=True, metavar="DIR")
    add("--vocab", type=int, metavar="N", help="tokens to learn")
    add("--tokenizer", type=Path, metavar="FILE.model", help="use this SentencePiece model")
    add("--text-field", default="text", metavar="NAME", help="field of a .jsonl line")
    add("--workers", type=int, metavar="N", help="processes (default: the cores of this job)")
    add("--held-out", type=float, default=0.01, metavar="SHARE", help="of the documents")
    add("--seed", type=int, default=0, metavar="N", help="of the choice of held-out documents")
    add("--shard-tokens", type=int, default=1 << 26, metavar="N")
    add("--part-bytes", type=int, default=1 << 22, metavar="N", help="text per restartable part")
    add("--sample-bytes", type=int, default=1 << 25, metavar="N", help="text to learn from")
    add("--skip-bad", action="store_true", help="leave out unreadable documents, and count them")


def _require() -> None:
    """Missing packages are a set-up fault, not a bug."""
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise Invalid(
                f"preparing data needs the package {name}: {error}",
                where=sys.executable,
                hint="pip install 'exa-hpc[train]'",
            ) from error


def _prepare(arguments: argparse.Namespace) -> None:
    from exa_train.data.prepare import prepare
    from exa_train.data.request import Request
    from exa_train.data.workers import available_cpus

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "json")}
    options |= {"inputs": tuple(arguments.inputs)}
    options |= {"workers": available_cpus() if arguments.workers is None else arguments.workers}
    outcome = prepare(Request(**options))
    summary = _summary(arguments.out, outcome)
    talk.say(_sentence(summary))
    if arguments.json:
        sys.stdout.write(to_json(summary))


def _summary(out: Path, outcome: Any) -> dict[str, Any]:
    splits = outcome.manifest.splits
    return {
        "schema": 1,
        "dir": str(out),
        "data_id": outcome.manifest.data_id,
        "reused": outcome.reused,
        "vocab": outcome.manifest.vocab,
        "documents": sum(split.documents for split in splits.values()),
        "bytes_text": sum(split.bytes_text for split in splits.values()),
        "tokens": {name: split.tokens for name, split in splits.items()},
        "seconds": round(outcome.seconds, 3),
    }


def _sentence(summary: dict[str, Any]) -> str:
    if summary["reused"]:
        return f"{summary['dir']} is already prepared from these inputs ({summary['data_id']})"
    tokens = sum(summary["tokens"].values())
    return (
        f"prepared {summary['dir']}: {summary['documents']:,} documents, "
        f"{summary['tokens']['train']:,} training and {summary['tokens']['heldout']:,} held-out "
        f"tokens, {summary['bytes_text'] / tokens:.2f} bytes a token, "
        f"in {summary['seconds']:.1f} s ({tokens / summary['seconds'] / 1e6:.2f} M tokens/s)"
    )


def _verify(arguments: argparse.Namespace) -> None:
    from exa_train.data.reader import verify

    faults = verify(arguments.directory)
    if arguments.json:
        rows = [{"file": name, "reason": reason} for name, reason in faults]
        sys.stdout.write(to_json({"schema": 1, "dir": str(arguments.directory), "damaged": rows}))
    for name, reason in faults:
        talk.say(f"{name}: {reason}")
    if faults:
        raise Damaged(
            f"{len(faults)} files are damaged",
            where=str(arguments.directory),
            hint="copy or prepare the data again",
        )
    talk.say(f"{arguments.directory}: every file is as it was written")


def _baselines(arguments: argparse.Namespace) -> None:
    from exa_train.data.baselines import fit
    from exa_train.data.reader import TokenSplit

    heldout = TokenSplit(arguments.directory, "heldout", arguments.seq_len)
    nats = fit(arguments.directory).nats(heldout.windows(range(len(heldout))))
    if arguments.json:
        sys.stdout.write(to_json({"schema": 1, "windows": len(heldout), "nats_per_token": nats}))
        return
    for name, value in nats.items():
        sys.stdout.write(f"{name:<8} {value:.4f} nats/token\n")


_COMMANDS = {"prepare": _prepare, "verify": _verify, "baselines": _baselines}


if __name__ == "__main__":
    sys.exit(main())
