"""Reading a data file: nothing leaves this module that was not checked against its sum.

Files are read with pread into memory, never mapped: a mapped page can change between check
and use, and an I/O error on it is a SIGBUS instead of an exception.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint.datafile import (
    CHUNK_BYTES,
    TRAILER,
    FileRecord,
    Footer,
    Identity,
    check_record,
    chunk_span,
    chunk_sum,
    decode_footer,
    footer_span,
    require_little_endian,
)


@dataclass(frozen=True)
class DataFile:
    """A data file whose footer was read and found to be the one the manifest means."""

    path: Path
    footer: Footer


@dataclass(frozen=True)
class Want:
    """Bytes ``at`` … ``at + length`` of a file's stream, and where they go.

    ``buffer`` is called when the first byte arrives and ``done`` after the last, so that a
    reader of many strided slices holds memory for few of them.
    """

    at: int
    length: int
    buffer: Callable[[], memoryview]
    done: Callable[[], None] | None = None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Damaged("is missing", where=path.name) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _read_into(fd: int, view: memoryview, offset: int, name: str) -> None:
    """Fill ``view``: pread(2) may give less than it was asked for."""
    filled = 0
    while filled < view.nbytes:
        got = os.preadv(fd, [view[filled:]], offset + filled)
        if got == 0:
            raise Damaged(f"ends at byte {offset + filled}", where=name)
        filled += got


def _read(fd: int, length: int, offset: int, name: str) -> bytes:
    data = bytearray(length)
    _read_into(fd, memoryview(data), offset, name)
    return bytes(data)


def open_data(path: Path, record: FileRecord, identity: Identity) -> DataFile:
    """Read and check everything of a file but its chunks.

    Raises Damaged (``where`` is the file's name, ``what`` the reason) when the file is missing
    or is not the one ``record`` and ``identity`` describe; OSError when it cannot be read.
    """
    require_little_endian()
    with _opened(path) as fd:
        size = os.fstat(fd).st_size
        if size != record.bytes:
            raise Damaged(f"has {size} bytes instead of {record.bytes}", where=record.name)
        if size < TRAILER.size:
            raise Damaged("is too short to be a data file", where=record.name)
        trailer = _read(fd, TRAILER.size, size - TRAILER.size, record.name)
        offset, length, checksum = footer_span(trailer, size, record.name)
        body = _read(fd, length, offset, record.name)
    footer = decode_footer(body, checksum, offset, record.name)
    check_record(footer, record, identity)
    return DataFile(path, footer)


def _read_chunk(fd: int, data: DataFile, index: int, view: memoryview) -> None:
    """Read one chunk into ``view``, which has its size. Raises Damaged when its sum differs."""
    low, _ = chunk_span(index, data.footer.data_bytes)
    _read_into(fd, view, low, data.path.name)
    if chunk_sum(view, data.footer.identity.seed) != data.footer.sums[index]:
        raise Damaged(bad_chunk(data.footer, index), where=data.path.name)


def bad_chunk(footer: Footer, index: int) -> str:
    """Where a damaged chunk lies and what lies in it."""
    low, high = chunk_span(index, footer.data_bytes)
    hit = [s.fqn for s in footer.slices if max(low, s.at) < min(high, s.at + s.bytes)]
    inside = ", ".join(hit[:3]) + (f" and {len(hit) - 3} more" if len(hit) > 3 else "")
    place = f"chunk {index} (bytes {low}-{high - 1}) is not what was written"
    return f"{place}; it holds {inside}" if hit else place


def scan_chunks(data: DataFile) -> Iterator[str]:
    """Read the whole stream; yield one line for each chunk that is not what was written."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with _opened(data.path) as fd:
        for index in range(len(data.footer.sums)):
            low, high = chunk_span(index, data.footer.data_bytes)
            try:
                _read_chunk(fd, data, index, buffer[: high - low])
            except Damaged as damage:
                yield damage.what
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                yield f"chunk {index} (bytes {low}-{high - 1}) cannot be read: {error.strerror}"


@dataclass(frozen=True)
class _Part:
    """The part of a want that lies in one chunk: at ``source`` in it, ``target`` in the want."""

    want: int
    source: int
    target: int
    length: int


def read_ranges(data: DataFile, wants: Iterable[Want]) -> int:
    """Deliver ranges of the stream; returns the bytes read.

    Each chunk that is touched is read once, whole, and checked before a byte of it is handed
    out. A chunk that one want fills is read in place: its target holds unchecked bytes until
    this function returns, and keeps them if it raises. Raises Damaged and OSError.
    """
    delivery = _Delivery([want for want in wants if want.length])
    scratch = memoryview(bytearray(CHUNK_BYTES))
    total = 0
    with _opened(data.path) as fd:
        for index, parts in sorted(delivery.by_chunk().items()):
            low, high = chunk_span(index, data.footer.data_bytes)
            chunk = delivery.whole(parts, high - low)
            if chunk is not None:
                _read_chunk(fd, data, index, chunk)
            else:
                _read_chunk(fd, data, index, scratch[: high - low])
                delivery.copy(parts, scratch)
            delivery.account(parts)
            total += high - low
    return total


class _Delivery:
    """Who gets which part of a chunk, and who has got everything."""

    def __init__(self, wants: list[Want]) -> None:
        self._wants = wants
        self._left = [want.length for want in wants]
        self._open: dict[int, memoryview] = {}

    def by_chunk(self) -> dict[int, list[_Part]]:
        parts: dict[int, list[_Part]] = defaultdict(list)
        for number, want in enumerate(self._wants):
            at, end = want.at, want.at + want.length
            while at < end:
                index, source = divmod(at, CHUNK_BYTES)
                length = min(CHUNK_BYTES - source, end - at)
                parts[index].append(_Part(number, source, at - want.at, length))
                at += length
        return parts

    def whole(self, parts: list[_Part], chunk_bytes: int) -> memoryview | None:
        """The target of a chunk that belongs to one want alone."""
        if len(parts) == 1 and parts[0].length == chunk_bytes:
            return self._target(parts[0])
        return None

    def copy(self, parts: list[_Part], chunk: memoryview) -> None:
        for part in parts:
            self._target(part)[:] = chunk[part.source : part.source + part.length]

    def account(self, parts: list[_Part]) -> None:
        for part in parts:
            self._left[part.want] -= part.length
            if self._left[part.want] == 0:
                del self._open[part.want]
                done = self._wants[part.want].done
                if done is not None:
                    done()

    def _target(self, part: _Part) -> memoryview:
        if part.want not in self._open:
            self._open[part.want] = self._wants[part.want].buffer()
        return self._open[part.want][part.target : part.target + part.length]
