"""Reading protected files chunk by chunk, and finding which chunks are lost.

A chunk is lost when it is missing, cannot be read, or its sum differs: parity treats all three
alike. Links are not followed, so that nothing outside of the directory is read or written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import sidecar
from exa_cli.checkpoint.datafile import CHUNK_BYTES, chunk_span, chunk_sum
from exa_cli.checkpoint.sidecar import SIDECAR, Index

# Hashing and reading release the interpreter's lock; more than this only fights over a disk.
WORKERS = 4


@contextlib.contextmanager
def opened(directory: Path, name: str) -> Iterator[int]:
    """A regular file inside ``directory``, reached without following a link.

    Raises Damaged when it is missing or something else stands in its place, and OSError.
    """
    for parent in list(Path(name).parents)[:-1]:
        if (directory / parent).is_symlink():
            raise Damaged(f"{str(parent)!r} is a symbolic link", where=name)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(directory / name, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Damaged("is missing", where=name) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Damaged("is not a regular file any more", where=name) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Damaged("is not a regular file any more", where=name)
        yield fd
    finally:
        os.close(fd)


def read_up_to(fd: int, length: int, offset: int) -> bytearray:
    """``length`` bytes, or fewer where the file ends. Raises OSError."""
    data = bytearray(length)
    view = memoryview(data)
    filled = 0
    while filled < length:
        got = os.preadv(fd, [view[filled:]], offset + filled)
        if got == 0:
            break
        filled += got
    view.release()
    del data[filled:]
    return data


@dataclass(frozen=True)
class FileState:
    """What was found of one protected file.

    ``fault`` says what is wrong with it as a whole (missing, another size); ``lost`` are the
    chunks that are not what was protected.
    """

    fault: str | None
    lost: tuple[int, ...]
    total: int

    @property
    def sound(self) -> bool:
        return self.fault is None and not self.lost


@dataclass(frozen=True)
class State:
    """What was found of everything that an index covers.

    ``files`` and ``parity`` in the index's order; a parity file's chunks are its groups'.
    """

    index: Index
    files: tuple[FileState, ...]
    parity: tuple[FileState, ...]

    @cached_property
    def lost_parity(self) -> frozenset[int]:
        """Groups whose parity is lost."""
        return frozenset(
            sidecar.parity_rows(self.index, number)[row]
            for number, file in enumerate(self.parity)
            for row in file.lost
        )

    @cached_property
    def _losses(self) -> dict[int, list[tuple[int, int]]]:
        """Group → its lost members."""
        found: dict[int, list[tuple[int, int]]] = {}
        for file, state in enumerate(self.files):
            for chunk in state.lost:
                group = self.index.plan.group_of(file, chunk)
                found.setdefault(group, []).append((file, chunk))
        return found

    @cached_property
    def beyond(self) -> tuple[str, ...]:
        """Groups that lost more than their parity makes good, a line for each."""
        return tuple(
            self._lament(group, members)
            for group, members in sorted(self._losses.items())
            if len(members) + (group in self.lost_parity) > 1
        )

    def _lament(self, group: int, members: list[tuple[int, int]]) -> str:
        lost = [f"chunk {chunk} of {shown(self.index.files[file].name)}" for file, chunk in members]
        if group in self.lost_parity:
            lost.append("its parity")
        return f"group {group} lost {', '.join(lost)}: one loss of a group can be made good"


def shown(name: str) -> str:
    """A file's name on one line, whatever is in it."""
    plain = name.isprintable() and name == name.strip() and name != ""
    return name if plain else ascii(name)


def look(directory: Path, index: Index, *, data: bool = True) -> State:
    """Read everything that ``index`` covers; without ``data`` only the parity, for files that
    were found right already. Raises OSError other than an unreadable medium."""
    seeds = [index.seed(i) for i in range(len(index.files))]
    jobs = [
        (directory, file.name, file.bytes, file.sums, seed, None)
        for file, seed in zip(index.files, seeds, strict=True)
    ]
    parity = [
        (directory / SIDECAR, file.name, file.bytes, file.sums, index.parity_seed, number)
        for number, file in enumerate(index.parity)
    ]

    def one(job: tuple[Path, str, int, tuple[str, ...], int, int | None]) -> FileState:
        where, name, size, sums, seed, number = job
        spans = data_spans(size) if number is None else parity_spans(index, number)
        return _look_at(where, name, size, list(zip(spans, sums, strict=True)), seed)

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        found = list(pool.map(one, (jobs if data else []) + parity))
    files = found[: len(jobs)] if data else [FileState(None, (), n) for n in index.plan.chunks]
    return State(index, tuple(files), tuple(found[len(found) - len(parity) :]))


def data_spans(size: int) -> list[tuple[int, int]]:
    return [chunk_span(i, size) for i in range(-(-size // CHUNK_BYTES))]


def parity_spans(index: Index, number: int) -> list[tuple[int, int]]:
    rows = sidecar.parity_rows(index, number)
    return [(index.offsets[row], index.offsets[row] + index.plan.width(row)) for row in rows]


def _look_at(
    where: Path, name: str, size: int, chunks: list[tuple[tuple[int, int], str]], seed: int
) -> FileState:
    everything = tuple(range(len(chunks)))
    try:
        with opened(where, name) as fd:
            found = os.fstat(fd).st_size
            lost = tuple(i for i, ((a, b), s) in enumerate(chunks) if not _sound(fd, a, b, s, seed))
    except Damaged as damage:
        return FileState(damage.what, everything, len(chunks))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return FileState(f"cannot be read: {error.strerror}", everything, len(chunks))
    fault = f"has {found} bytes instead of {size}" if found != size else None
    return FileState(fault, lost, len(chunks))


def _sound(fd: int, low: int, high: int, expected: str, seed: int) -> bool:
    try:
        data = read_up_to(fd, high - low, low)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    return len(data) == high - low and chunk_sum(data, seed).hex() == expected


def told(state: FileState, spans: list[tuple[int, int]]) -> list[str]:
    """The faults of one file in words, adjacent chunks together."""
    lines = [state.fault] if state.fault else []
    if state.lost and len(state.lost) == state.total and (state.fault or state.total > 1):
        if not state.fault:
            lines.append("no chunk is what was protected: another file stands here")
        return lines
    return lines + [_stretch(first, last, spans) for first, last in _stretches(state.lost)]


def _stretch(first: int, last: int, spans: list[tuple[int, int]]) -> str:
    which = f"chunk {first}" if first == last else f"chunks {first}-{last}"
    verb = "is" if first == last else "are"
    return f"{which} (bytes {spans[first][0]}-{spans[last][1] - 1}) {verb} not what was protected"


def _stretches(lost: tuple[int, ...]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for chunk in lost:
        if found and found[-1][1] == chunk - 1:
            found[-1] = (found[-1][0], chunk)
        else:
            found.append((chunk, chunk))
    return found
