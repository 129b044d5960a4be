"""Damage to files, as the world does it, for tests of verify and repair."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exa_cli.checkpoint.sidecar import SIDECAR


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it, nothing cleans up after it."""


@contextlib.contextmanager
def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """End the block just before the ``call``-th change to the filesystem, and allow none after.

    Yields a list that holds, after the block, how many calls were left.
    """
    left = [call]

    def counted(real: Callable[..., object], changes: Callable[..., bool]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            if changes(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return real(*args, **kwargs)

        return wrapper

    def always(*_: object, **__: object) -> bool:
        return True

    def writes(path: object, flags: int = 0, *_: object, **__: object) -> bool:
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", counted(os.open, writes))
        for name in ("rename", "replace", "fsync", "write", "fchmod"):
            patch.setattr(os, name, counted(getattr(os, name), always))
        for name in ("mkdir", "unlink", "rmdir"):
            patch.setattr(Path, name, counted(getattr(Path, name), always))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree, always))
        with contextlib.suppress(Killed):
            yield left


def snapshot(directory: Path, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every regular file's content by its path, but for those under ``without``."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.relative_to(directory).parts[0] not in without
    }


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def shards(directory: Path, sizes: list[int], seed: int = 1) -> Path:
    """A directory of files of random bytes, which nothing but a sidecar can check."""
    directory.mkdir(parents=True)
    for number, size in enumerate(sizes):
        (directory / f"shard-{number}.bin").write_bytes(content(size, seed + number))
    return directory


@functools.cache
def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def owners(directory: Path) -> dict[str, bytes]:
    return snapshot(directory, without=(SIDECAR,))
