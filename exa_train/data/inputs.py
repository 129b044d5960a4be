"""From what the user named to a fixed list of files."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from exa_cli.base.errors import Invalid

FORMS = {
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".py": "text",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl.gz",
}
KNOWN = " ".join(FORMS)
STDLIB = "builtin:python-stdlib"
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Source:
    """One file to read.

    Attributes:
        name: how the manifest calls it: the input as the user wrote it, and the path below.
        path: where it is read.
        form: "text" (one document), "jsonl" or "jsonl.gz" (one document a line).
        tolerant: unreadable documents are counted and left out instead of ending the work.
    """

    name: str
    path: str
    form: str
    tolerant: bool = False


@dataclass
class Found:
    """The sources in order, and what was passed over: reason → count."""

    sources: list[Source] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Walk:
    """One input's rules. ``seen`` is shared by all inputs: a file is read once."""

    found: Found
    seen: set[tuple[int, int]]
    tolerant: bool = False
    only: tuple[str, ...] = tuple(FORMS)
    without: tuple[str, ...] = ()
    count_others: bool = True


def discover(inputs: Sequence[str], *, skip_bad: bool = False) -> Found:
    """All files below the inputs: inputs in the order given, folders in name order.

    Folders are searched with their subfolders; symbolic links are followed, each folder and
    file once. Hidden entries and ``__pycache__`` are passed over.

    Raises:
        Invalid: an input that is missing, cannot be listed or is of an unknown kind.
    """
    found, seen = Found(), set[tuple[int, int]]()
    for text in inputs:
        if text.startswith("builtin:"):
            _add_builtin(text, found, seen)
        else:
            _add_input(text, _Walk(found, seen, tolerant=skip_bad))
    return found


def form_of(name: str) -> str | None:
    """What kind of file a name promises, or None: the longest known extension wins."""
    lower = name.lower()
    fits = [extension for extension in FORMS if lower.endswith(extension)]
    return FORMS[max(fits, key=len)] if fits else None


def _add_builtin(text: str, found: Found, seen: set[tuple[int, int]]) -> None:
    if text != STDLIB:
        raise Invalid(f"there is no built-in corpus {text!r}", hint=f"there is {STDLIB}")
    root = sysconfig.get_path("stdlib")
    # Some of its tests are written in other encodings on purpose: hence tolerant.
    walk = _Walk(found, seen, tolerant=True, only=(".py",), without=_INSTALLED, count_others=False)
    before = len(found.sources)
    _add_folder(text, root, walk)
    if len(found.sources) == before:
        raise Invalid(
            "this Python has no standard library in files", where=root, hint="name a folder of text"
        )


def _add_input(text: str, walk: _Walk) -> None:
    try:
        mode = os.stat(text).st_mode
    except OSError as error:
        raise Invalid(f"the input cannot be read: {error.strerror}", where=text) from error
    if stat.S_ISDIR(mode):
        _add_folder(text.rstrip("/") or "/", text, walk)
    elif not stat.S_ISREG(mode):
        raise Invalid("the input is neither a file nor a folder", where=text)
    elif form_of(text) is None:
        raise Invalid("the input's extension is not known", where=text, hint=f"known: {KNOWN}")
    else:
        _add_file(text, text, walk)


def _add_folder(name: str, path: str, walk: _Walk) -> None:
    for below, entry in _files_below(path, walk):
        if entry.name.lower().endswith(walk.only):
            _add_file(f"{name}/{below}", entry.path, walk)
        elif walk.count_others:
            walk.found.skipped["unknown extension"] += 1


def _files_below(root: str, walk: _Walk) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Each file with its path below ``root``, in name order, depth first."""
    pending = [("", root)]
    while pending:
        below, folder = pending.pop()
        if not _first_visit(folder, walk.seen):
            continue
        folders = []
        for entry in _listing(folder):
            place = f"{below}{entry.name}"
            if _passed_over(entry, walk):
                continue
            if entry.is_dir():
                folders.append((f"{place}/", entry.path))
            elif entry.is_file():
                yield place, entry
            else:  # a socket, a pipe, a link to nowhere
                walk.found.skipped["not a file"] += 1
        pending += reversed(folders)


def _passed_over(entry: os.DirEntry[str], walk: _Walk) -> bool:
    return entry.name.startswith(".") or entry.name in ("__pycache__", *walk.without)


def _listing(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise Invalid(f"a folder cannot be listed: {error.strerror}", where=folder) from error


def _first_visit(path: str, seen: set[tuple[int, int]]) -> bool:
    """Whether this file or folder is new, by what it is and not by its name."""
    status = os.stat(path)
    identity = (status.st_dev, status.st_ino)
    new = identity not in seen
    seen.add(identity)
    return new


def _add_file(name: str, path: str, walk: _Walk) -> None:
    form = form_of(path)
    if not _first_visit(path, walk.seen):
        walk.found.skipped["repeated file"] += 1
    elif form is not None:
        walk.found.sources.append(Source(printable(name), path, form, walk.tolerant))


def printable(name: str) -> str:
    """A file name as text, whatever bytes it holds (JSON cannot carry undecodable ones)."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
