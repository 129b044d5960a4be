"""The folder of checkpoints: a directory comes to exist once, and goes without a trace.

The order of the system calls is what makes a kill at any point harmless; each function says
which order it keeps and why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path

from exa_cli.base.errors import Invalid
from exa_cli.base.files import fsync_dir, read_json, write_json
from exa_cli.checkpoint.names import MANIFEST, OPEN, directory_name, parse_directory
from exa_cli.checkpoint.sidecar import SIDECAR

_ATTEMPTS = 3
_OPENING = re.compile(r"\.opening-(\d+)-(.+)")


def begin(root: Path, step: int, generation: str, epoch: int) -> Path:
    """Create the directory of a new checkpoint, with the record of who opened it.

    The record comes first, under another name that carries the epoch: so there is never a
    directory whose owner is unknown. Raises FileExistsError if the directory exists.
    """
    root.mkdir(parents=True, exist_ok=True)
    target = root / directory_name(step, generation)
    if target.exists():
        raise FileExistsError(f"{target} exists; a checkpoint is never written twice")
    opening = root / f".opening-{epoch:06d}-{target.name}"
    try:
        opening.mkdir()
        record = {"schema": 1, "epoch": epoch, "generation": generation, "step": step}
        write_json(opening / OPEN, record)
        os.rename(opening, target)
        fsync_dir(root)
    except OSError:
        for path in (opening, target):
            shutil.rmtree(path, ignore_errors=True)
        raise
    return target


def remove(root: Path, name: str) -> None:
    """Remove one checkpoint of ``root``.

    The manifest goes first, durably, so that a half-removed checkpoint is incomplete and never
    damaged; before it its copy, so that nothing brings it back. The record of who opened it goes
    last, so that a later sweep can finish the work.
    Raises Invalid for anything that is not a checkpoint directory directly in ``root``.
    """
    directory = root / name
    if parse_directory(name) is None or directory.is_symlink() or not directory.is_dir():
        raise Invalid("this is no checkpoint directory", where=str(directory))
    for holder in (directory / SIDECAR, directory):
        if not (holder / MANIFEST).exists():
            continue
        with contextlib.suppress(FileNotFoundError):
            (holder / MANIFEST).unlink()
            fsync_dir(holder)
    _remove_tree(directory)
    fsync_dir(root)


def _remove_tree(directory: Path) -> None:
    """Remove a directory; somebody may be adding parity to it at this moment."""
    for attempt in range(_ATTEMPTS):
        try:
            _empty(directory)
            return directory.rmdir()
        except OSError as error:
            raced = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
            if not raced or attempt == _ATTEMPTS - 1 or not directory.exists():
                raise
    return None


def _empty(directory: Path) -> None:
    for entry in sorted(directory.iterdir(), key=lambda path: path.name == OPEN):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def sweep_incomplete(root: Path, epoch: int) -> list[str]:
    """Remove directories that epochs before ``epoch`` opened and never committed.

    Their writers are superseded: what they might still commit would not count. A directory of
    this or a later epoch is left alone, as is one without a readable owner. Returns the names.
    """
    if not root.is_dir():
        return []
    swept = []
    for path in sorted(root.iterdir()):
        owner = _opening_epoch(path) if path.name.startswith(".") else _open_epoch(path)
        if owner is not None and owner < epoch and not path.is_symlink():
            # A superseded copy may still be writing there: then the next life sweeps it.
            with contextlib.suppress(OSError):
                _remove_tree(path)
                swept.append(path.name)
    if swept:
        fsync_dir(root)
    return swept


def _opening_epoch(path: Path) -> int | None:
    match = _OPENING.fullmatch(path.name)
    return int(match[1]) if match and parse_directory(match[2]) else None


def _open_epoch(path: Path) -> int | None:
    """The epoch that opened a directory which has no manifest, nor the copy of a lost one."""
    if parse_directory(path.name) is None:
        return None
    if any((holder / MANIFEST).exists() for holder in (path, path / SIDECAR)):
        return None
    try:
        epoch = read_json(path / OPEN)["epoch"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return epoch if isinstance(epoch, int) else None
