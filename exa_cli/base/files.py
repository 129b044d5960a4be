"""Durable files: written whole, renamed into place, fsynced when they must survive.

The rules every writer in exa follows: a reader never sees half a file; what is
reported as written is on the disk; one writer per file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def is_full(error: OSError) -> bool:
    """Whether a call failed for lack of space, or for a quota on it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def fsync_dir(path: Path) -> None:
    """Make the names in a directory survive a power cut (POSIX: a rename needs this too)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    tmp = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield tmp
    finally:
        with contextlib.suppress(FileNotFoundError):
            tmp.unlink()


def _write_all(path: Path, data: bytes) -> None:
    with open(path, "xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def write_bytes(target: Path, data: bytes) -> None:
    """Replace ``target`` by ``data`` atomically; durable when this returns."""
    with _temporary(target) as tmp:
        _write_all(tmp, data)
        os.replace(tmp, target)
    fsync_dir(target.parent)


def write_text(target: Path, text: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(target, text.encode())


def write_private(target: Path, text: str) -> None:
    """Replace ``target`` atomically, readable by its owner only. Not durable: for what can be
    made again."""
    with _temporary(target) as tmp:
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(tmp, target)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """The one JSON form exa writes: stable key order as given, no NaN."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(target: Path, value: Any) -> None:
    """`write_text` of `to_json`."""
    write_text(target, to_json(value))


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises OSError or ValueError, which the caller gives a meaning."""
    return json.loads(path.read_bytes())


def create_exclusive(target: Path, data: bytes) -> bool:
    """Create ``target`` with its full content, or return False if it exists already.

    Content and existence appear together: the data is written under another name and
    hard-linked, which fails when the target is there (link(2), EEXIST). Of any number of
    processes on any number of nodes, exactly one gets True.
    """
    with _temporary(target) as tmp:
        _write_all(tmp, data)
        try:
            os.link(tmp, target)
        except FileExistsError:
            return False
    fsync_dir(target.parent)
    return True
