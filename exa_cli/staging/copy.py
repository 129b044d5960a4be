"""Copy a set of files to a node's own disk, whole and verified, or not at all.

A staged folder is named by its content. It is filled under another name and renamed, so what
has the final name was complete and verified once; it is verified again before it is reused,
because local disks outlive jobs and are shared by the runs of a user.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.errors import Damaged, ExaError, Invalid

_BLOCK = 4 << 20


@dataclass(frozen=True)
class Item:
    """One file: its name in the folder, its size in bytes and its xxh3-128 in hex."""

    name: str
    bytes: int
    xxh3_128: str


@dataclass(frozen=True)
class Staged:
    """What staging did: ``copied`` is False when a verified copy was there already."""

    folder: Path
    copied: bool
    bytes: int
    seconds: float


def checksum(path: Path) -> str:
    """xxh3-128 of a file in hex."""
    import xxhash

    state = xxhash.xxh3_128()
    buffer = bytearray(_BLOCK)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(view[:count])
    return state.hexdigest()


def fault(folder: Path, item: Item) -> str | None:
    """What is wrong with one file of a staged folder, or None."""
    path = folder / item.name
    try:
        size = path.stat().st_size
        if size != item.bytes:
            return f"{item.name} has {size} bytes, not {item.bytes}"
        return None if checksum(path) == item.xxh3_128 else f"{item.name} has another checksum"
    except OSError as error:
        return f"{item.name}: {error.strerror}"


def is_whole(folder: Path, items: Iterable[Item]) -> bool:
    """Whether every file is there with its size and checksum."""
    return all(fault(folder, item) is None for item in items)


def stage(source: Path, target: Path, items: tuple[Item, ...]) -> Staged:
    """Make ``target`` hold the files of ``source``, verified.

    Raises:
        Damaged: a file of the source does not have its checksum.
        Invalid: no space, or the target cannot be written.
    """
    begin = clock.monotonic()
    total = sum(item.bytes for item in items)
    if is_whole(target, items):
        return Staged(target, False, total, clock.monotonic() - begin)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target.parent, total)
        _replace(source, target, items)
    except OSError as error:
        raise _cannot_stage(error, target) from error
    return Staged(target, True, total, clock.monotonic() - begin)


def _replace(source: Path, target: Path, items: tuple[Item, ...]) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        for item in items:
            _copy(source, temporary, item)
        if target.exists():
            os.rename(target, temporary / ".replaced")
        _into_place(temporary, target, items)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy(source: Path, folder: Path, item: Item) -> None:
    (folder / item.name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / item.name, folder / item.name)
    if wrong := fault(folder, item):
        raise Damaged(
            f"a file to stage is damaged: {wrong}",
            where=str(source / item.name),
            hint="prepare the data again with exa data prepare",
        )


def _into_place(temporary: Path, target: Path, items: tuple[Item, ...]) -> None:
    replaced = temporary / ".replaced"
    if replaced.exists():
        shutil.rmtree(replaced)
    try:
        os.rename(temporary, target)
    except OSError as error:
        # Another job of this user staged the same content first: its copy serves.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not is_whole(target, items):
            raise


def require_space(folder: Path, needed: int) -> None:
    """Raise OSError(ENOSPC) when ``folder``'s filesystem has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = f"{free / 1e9:.3f} GB free, {needed / 1e9:.3f} GB needed"
        raise OSError(errno.ENOSPC, text, str(folder))


def _cannot_stage(error: OSError, target: Path) -> ExaError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "free space there" if full else "the profile's local_storage names this folder"
    return Invalid(f"cannot stage: {error.strerror}", where=str(target), hint=hint)
