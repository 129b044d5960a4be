"""Node-local directories: from a profile's template to a directory that is only ours."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from exa_cli.base.errors import Invalid

PLACES = ("tmp", "uid")

_PLACE = re.compile(r"\$\{(?P<var>[A-Za-z_]\w*)(:-(?P<default>[^${}]*))?\}|\{(?P<name>[a-z]+)\}")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def wrong_with(template: str) -> str | None:
    """What is wrong with a template, in words; None when it is legal."""
    names = [match["name"] for match in _PLACE.finditer(template) if match["name"]]
    if unknown := [name for name in names if name not in PLACES]:
        return f"{{{unknown[0]}}} is not known; there are: " + ", ".join(PLACES)
    if set(_PLACE.sub("", template)) & set("${}"):
        return "expected ${NAME}, ${NAME:-default} or a known {place} at every $ and {"
    return None


def expand(template: str, values: Mapping[str, str], env: Mapping[str, str]) -> Path:
    """The path of a template. As in a shell, an empty variable counts as not set.

    Raises Invalid when a variable without a default is not set, or the path is not absolute.
    """

    def value(match: re.Match[str]) -> str:
        if match["name"]:
            return values[match["name"]]
        found = env.get(match["var"]) or match["default"]
        if not found:
            raise Invalid(f"${match['var']} is not set", where=f"local_storage.path = {template!r}")
        return found

    path = Path(_PLACE.sub(value, template))
    if not path.is_absolute() or ".." in path.parts:
        raise Invalid(f"not an absolute path: {path}", where=f"local_storage.path = {template!r}")
    return path


def own_folder(template: str, tmp: str, env: Mapping[str, str] | None = None) -> Path:
    """The node-local directory of this user, made private.

    Args:
        template: the profile's ``local_storage.path``.
        tmp: what ``{tmp}`` stands for.
        env: where its variables are read; None = this process's environment.

    Raises:
        Invalid: the template cannot be filled in, or what is there is somebody else's.
        OSError: it cannot be made.
    """
    values = {"tmp": tmp, "uid": str(os.getuid())}
    return make_private(expand(template, values, os.environ if env is None else env))


def make_private(path: Path) -> Path:
    """Make a directory, and what is missing above it, that nobody else can enter.

    Where others can write (``/tmp``), what is there already may be theirs: a directory or link
    laid under our name is refused, not used.

    Raises:
        Invalid: somebody else's, or a file in the way. OSError: it cannot be made.
    """
    for folder in [*reversed(path.parents), path][1:]:
        _make(folder)
        if folder.parent.stat().st_mode & _OTHERS_WRITE:
            _check_owner(folder)
    if path.stat().st_uid != os.geteuid():
        raise _not_ours(path)
    path.chmod(0o700)
    return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        # EEXIST; or above what is ours EACCES, EROFS for a directory that is there.
        if not folder.exists():
            raise
    if not folder.is_dir():
        raise Invalid("a file is where a node-local directory should be", where=str(folder))


def _check_owner(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        raise _not_ours(folder)


def _not_ours(folder: Path) -> Invalid:
    return Invalid(
        "this node-local directory is not ours",
        where=str(folder),
        hint="set TMPDIR to a directory of your own",
    )
