"""The journal: append-only events, one file per writer, torn tails tolerated.

A writer never shares its file, so no lock is needed on any filesystem. A reader takes every
complete line; a line cut off by a kill is not an event, since the writer had not returned.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Damaged
from exa_cli.base.files import fsync_dir


@dataclass(frozen=True)
class Event:
    """One journal line. ``n`` counts within its writer, ``t`` is seconds since the epoch."""

    t: float
    writer: str
    n: int
    kind: str
    fields: dict[str, Any]


def writer_name(role: str) -> str:
    """A writer's name that no other process has: ``login-1f9c03aa``, ``job-001-2-1f9c03aa``."""
    return f"{role}-{secrets.token_hex(4)}"


class Journal:
    """The one writer of ``RUN/journal/WRITER.jsonl``."""

    def __init__(self, run_dir: Path, writer: str) -> None:
        self.path = run_dir / "journal" / f"{writer}.jsonl"
        self._n = 0
        self.path.parent.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o644)
        fsync_dir(self.path.parent)

    def append(self, event: str, **fields: Any) -> None:
        """Record an event; it is on the disk when this returns.

        Raises OSError, and then leaves no half line behind: the next event may be written.
        """
        record = {"t": clock.iso(), "n": self._n, "event": event, **fields}
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        whole = os.fstat(self._fd).st_size
        try:
            self._write(line)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, whole)
            raise
        self._n += 1

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_line(writer: str, line: str) -> Event:
    """One line → event. Raises ValueError or KeyError for what is not one."""
    if not line.isascii():
        line.encode()  # bytes that are no UTF-8 were kept as lone surrogates, which have no code
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    t, n, kind = clock.parse_iso(str(record.pop("t"))), record.pop("n"), record.pop("event")
    if lacking := [key for key in _TOLD.get(kind, ()) if key not in record]:
        raise KeyError(*lacking)
    return Event(t, writer, n, kind, record)


_TOLD = {
    "intent": ("attempt",),
    "accepted": ("attempt", "job_id"),
    "refused": ("attempt",),
    "cancelled": ("attempt",),
    "loaded": ("step",),
    "committed": ("step",),
    "ended": ("cause", "evidence"),
}
"""What readers rely on of each kind of event."""

_REPEATED = ('"event": "committed"', '"event": "validated"')
"""Events a rank writes again and again; in a line they stand as `Journal.append` writes them."""


def read_file(path: Path, *, brief: bool = False) -> list[Event]:
    """All whole events of one writer. Raises Damaged for a bad line that is not the last.

    ``brief`` leaves out all but the last of those that only tell progress: a long run has many,
    and the last says how far it came.
    """
    return _read_file(str(path), path.stem, brief)


def _read_file(path: str, writer: str, brief: bool) -> list[Event]:
    with open(path, "rb") as file:
        lines = file.read().decode("utf-8", "surrogateescape").split("\n")
    passed = _passed_over(lines) if brief else frozenset()
    events = []
    for number, line in enumerate(lines, start=1):
        if not line or number in passed:
            continue
        try:
            events.append(parse_line(writer, line))
        except (ValueError, KeyError) as error:
            if number == len(lines):
                break
            raise Damaged("a journal line cannot be read", where=f"{path}:{number}") from error
    return events


def _passed_over(lines: list[str]) -> frozenset[int]:
    """Numbers of the whole lines that tell a progress which a later whole line tells anew."""
    skipped: list[int] = []
    for kind in _REPEATED:
        skipped += [n for n, line in enumerate(lines[:-1], start=1) if kind in line[:96]][:-1]
    return frozenset(skipped)


def read(run_dir: Path, *, brief: bool = False) -> list[Event]:
    """Every event of a run, by time, then writer, then count; ``brief`` as in `read_file`.

    Clocks of several hosts differ, so no decision rests on the order across writers: attempts,
    lives and epochs are numbered for that.
    """
    folder = str(run_dir / "journal")
    names = [name for name in _listed(folder) if name.endswith(".jsonl")]
    # Plain strings: `exa status` reads some thousand of these files.
    files = [_read_file(f"{folder}/{name}", name[: -len(".jsonl")], brief) for name in names]
    return sorted(itertools.chain(*files), key=lambda e: (e.t, e.writer, e.n))


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.lexists(folder):
            raise  # something that is no journal is in its place
        return []
