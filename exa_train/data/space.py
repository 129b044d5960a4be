"""Disk space: asked for before work starts, and explained when it runs out all the same."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from exa_cli.base.errors import Invalid, Unreachable

SLACK = 1 << 20
"""For what is small and not counted: the manifest, headers, directories."""


def needed_for(tokens: int, itemsize: int, already: int = 0) -> int:
    """Bytes to hold the tokens twice, as parts and as shards, less what lies there already."""
    return max(2 * tokens * itemsize - already, 0) + SLACK


def free_bytes(directory: Path) -> int:
    """Bytes left for us where the directory is, or would be."""
    place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(place).free


def check(directory: Path, needed: int) -> None:
    """Raise Invalid when ``directory``'s file system has fewer than ``needed`` bytes left."""
    if (free := free_bytes(directory)) < needed:
        raise full(directory, needed, free)


@contextlib.contextmanager
def guarded(directory: Path, needed: int) -> Iterator[None]:
    """Turn the operating system's errors into ours.

    Raises:
        Invalid: no space or quota left. Unreachable: anything else, in its own words.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(directory, needed, free_bytes(directory)) from error
        raise Unreachable(
            f"the file system failed: {error.strerror or error}",
            where=str(error.filename or directory),
        ) from error


def full(directory: Path, needed: int, free: int) -> Invalid:
    """The error of a full disk, in bytes."""
    return Invalid(
        f"not enough space: about {needed:,} bytes are needed, {free:,} are free",
        where=str(directory),
        hint="free some, or give -o on another file system; finished parts are kept there",
    )
