"""What a directory that exa did not write consists of."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base.errors import Invalid, NotFound, Unreachable
from exa_cli.checkpoint import sidecar


@dataclass(frozen=True)
class Contents:
    """Regular files by path, with their bytes; and what is not one (links, pipes, sockets)."""

    files: dict[str, int]
    others: tuple[str, ...]


def contents(directory: Path) -> Contents:
    """Walk a directory, without following links and without exa's own sidecar.

    Raises NotFound, Unreachable when a folder of it cannot be listed, and Invalid for a name
    that cannot be written down.
    """
    if not directory.is_dir():
        raise NotFound("there is no such directory", where=str(directory))
    files: dict[str, int] = {}
    others: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in _listed(directory / folder):
            if not folder and sidecar.is_ours(entry.name):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            mode = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(mode.st_mode):
                pending.append(name)
            elif stat.S_ISREG(mode.st_mode) and not sidecar.is_leftover(entry.name):
                files[name] = mode.st_size
            elif not stat.S_ISREG(mode.st_mode):
                others.append(name)
    return Contents(files, tuple(sorted(others)))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise Unreachable(f"cannot list a folder: {error.strerror}", where=str(folder)) from error


def require_files(directory: Path) -> Contents:
    """`contents`; raises Invalid when there is nothing to protect."""
    found = contents(directory)
    if not any(found.files.values()):
        links = ", all that is there are links" if found.others else ""
        raise Invalid(
            f"there is no data in this directory{links}",
            where=str(directory),
            hint="name the directory that holds the files themselves" if links else None,
        )
    return found
