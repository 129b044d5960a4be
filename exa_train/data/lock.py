"""One preparing process per directory, without trusting file locks or clocks.

Each process first writes a claim with its host and process, then looks for others. Whoever
sees another live claim withdraws. Since everybody writes before looking, two can never both go
on; two that start in the same instant may both withdraw. Claims of dead processes of this host
are removed. On another host a process cannot be asked: its claim counts as live.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import clock, files, proc
from exa_cli.base.errors import Invalid, Unreachable

PATTERN = ".preparing-*.json"


@dataclass(frozen=True)
class Claim:
    """Who prepares. ``realm`` is the host and PID namespace in which the pid means something."""

    realm: str
    process: proc.Process
    since: str

    def to_dict(self) -> dict[str, Any]:
        return {"realm": self.realm, "process": self.process.to_dict(), "since": self.since}

    @classmethod
    def from_dict(cls, raw: Any) -> Claim:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError."""
        return cls(str(raw["realm"]), proc.Process.from_dict(raw["process"]), str(raw["since"]))


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory, which is made if need be, or raise.

    Raises:
        Unreachable: another process prepares it, or may do so on a host we cannot ask.
        Invalid: it cannot be made. OSError: it cannot be written.
    """
    mine = directory / PATTERN.replace("*", secrets.token_hex(6))
    _claim(mine)
    try:
        for path in sorted(directory.glob(PATTERN)):
            if path != mine:
                _yield_to(path)
        for unfinished in directory.glob(f".{PATTERN}.*.tmp"):  # of a process that was killed
            unfinished.unlink(missing_ok=True)
        yield
    finally:
        mine.unlink(missing_ok=True)


def _claim(path: Path) -> None:
    """Write our claim. Others may remove an empty directory, or a file that looks left over,
    between two of our acts; so try again."""
    claim = Claim(_realm(), proc.myself(), clock.iso())
    for last in (False, False, True):
        _make(path.parent)
        try:
            files.write_json(path, claim.to_dict())
        except FileNotFoundError:
            if last:
                raise
        else:
            return


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(
            f"the output directory cannot be made: {error.strerror}", where=str(directory)
        ) from error


def _yield_to(path: Path) -> None:
    """Raise if another's claim may be live; remove it if its process is gone."""
    try:
        other = Claim.from_dict(files.read_json(path))
    except FileNotFoundError:
        return
    except (KeyError, TypeError, ValueError):
        raise _busy("a claim that cannot be read", path) from None
    if other.realm != _realm() or other.process.boot != proc.boot_id():
        raise _busy(f"a process on {other.realm.split()[0]} since {other.since}", path)
    if proc.alive(other.process):
        raise _busy(f"process {other.process.pid} since {other.since}", path)
    path.unlink(missing_ok=True)


def _busy(who: str, path: Path) -> Unreachable:
    return Unreachable(
        f"the directory is being prepared by {who}",
        where=str(path),
        hint="wait for it; if that process is gone for good, delete this file",
    )


def _realm() -> str:
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
