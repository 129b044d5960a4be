"""The data a run learns from: prepared already, or prepared on first use and cached."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from exa_cli.base import cache
from exa_cli.base.errors import Damaged, ExaError, Invalid
from exa_cli.base.files import read_json
from exa_cli.base.talk import say
from exa_cli.plan.freeze import DataFacts
from exa_cli.spec.declare import nearest
from exa_cli.spec.runfile import Data

BUILTIN = "builtin:"
BUILTINS = ("builtin:python-stdlib",)


def is_prepared(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def facts(folder: Path) -> DataFacts:
    """What a prepared folder's manifest says of it. Raises Damaged."""
    path = folder / "manifest.json"
    try:
        manifest = read_json(path)
        return DataFacts(str(folder), manifest["vocab"], manifest["data_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"the data's manifest cannot be read: {error}",
            where=str(path),
            hint="prepare the data again with exa data prepare",
        ) from error


def expected(asked: Data, base: Path) -> tuple[Path, DataFacts]:
    """Where the data lies or will lie, and what is known of it. Touches nothing.

    Raises Invalid when the path does not exist.
    """
    if asked.path.startswith(BUILTIN):
        _refuse_unknown(asked.path)
        folder = cache.root(os.environ) / "data" / f"stdlib-{_builtin_key(asked)}"
    else:
        source = _source(asked, base)
        if is_prepared(source):
            return source, facts(source)
        folder = cache.root(os.environ) / "data" / f"text-{_text_key(asked, source)}"
    if is_prepared(folder):
        return folder, facts(folder)
    return folder, DataFacts(str(folder), asked.vocab, None)


def ensure(asked: Data, base: Path) -> DataFacts:
    """Prepared data, made now if it is not there. Raises what `exa data prepare` complains of."""
    folder, known = expected(asked, base)
    if known.data_id is not None:
        return known
    say(f"preparing {asked.path} with {asked.vocab} tokens, once, into {folder}")
    source = asked.path
    if not source.startswith(BUILTIN):
        source = str(_source(asked, base))
    prepare([source], folder, asked.vocab, ["--text-field", asked.text_field])
    return facts(folder)


def prepare(inputs: list[str], out: Path, vocab: int, options: list[str]) -> None:
    """Run the preparation program. Its own message is on stderr when this raises."""
    argv = [sys.executable, "-m", "exa_train.data", "prepare", *options]
    argv += ["--out", str(out), "--vocab", str(vocab), "--", *inputs]
    out.parent.mkdir(parents=True, exist_ok=True)
    status = subprocess.run(argv, stdin=subprocess.DEVNULL).returncode
    if status:
        raise _failed(status, inputs)


def _failed(status: int, inputs: list[str]) -> ExaError:
    kinds: dict[int, type[ExaError]] = {cls.code: cls for cls in ExaError.__subclasses__()}
    cls = kinds.get(status, Invalid)
    return cls(f"the data could not be prepared (status {status})", where=", ".join(inputs))


def _refuse_unknown(path: str) -> None:
    if path not in BUILTINS:
        raise Invalid(f"there is no {path!r}", where="data.path", hint=nearest(path, BUILTINS))


def _source(asked: Data, base: Path) -> Path:
    """Where the data lies. Raises Invalid for what is no path, or cannot be looked at."""
    try:
        if not asked.path:
            raise ValueError("it is empty")
        source = Path(os.path.realpath(base / Path(asked.path).expanduser()))
        source.exists()
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        what = f"data.path = {asked.path!r} cannot be used: {why}"
        raise Invalid(what, where="data.path") from error
    return source


def _builtin_key(asked: Data) -> str:
    stdlib = sysconfig.get_paths()["stdlib"]
    return _digest([asked.path, str(asked.vocab), sys.version, stdlib])


def _text_key(asked: Data, source: Path) -> str:
    """A name for what the text is now: other sizes or times, another preparation."""
    if not source.exists():
        raise Invalid(
            f"there is nothing at data.path = {asked.path!r}",
            where=str(source),
            hint="give a folder, a file, a directory made by exa data prepare, "
            'or "builtin:python-stdlib"',
        )
    files = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    marks = [f"{p}:{s.st_size}:{s.st_mtime_ns}" for p in files for s in [p.stat()]]
    return _digest([str(asked.vocab), asked.text_field, *marks])


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
