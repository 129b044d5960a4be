"""Writing a data file: one pass over the bytes, hashed and written a whole chunk at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from exa_cli.base.errors import Unreachable
from exa_cli.base.files import fsync_dir
from exa_cli.checkpoint.datafile import (
    ALIGN_BYTES,
    CHUNK_BYTES,
    FileRecord,
    Footer,
    Identity,
    Section,
    Slice,
    chunk_sum,
    encode_tail,
    require_little_endian,
    root_of,
)
from exa_cli.checkpoint.names import data_name


def write_all(fd: int, data: bytes | memoryview) -> None:
    """write(2) until everything is written: it may take less than it was given."""
    view = memoryview(data)
    while view:
        taken = os.write(fd, view)
        if taken == 0:
            raise Unreachable("the filesystem takes no bytes and gives no reason")
        view = view[taken:]


class DataFileWriter:
    """Writes ``data-WWWWWW.exa`` under a temporary name; `commit` gives it its own.

    A chunk that one slice fills goes from the tensor's memory straight to the file; only
    chunks that several slices share are put together in a buffer. Every write but the last
    is one whole chunk at a multiple of its size, which is what a striped filesystem wants.
    """

    def __init__(self, directory: Path, identity: Identity, rank: int) -> None:
        require_little_endian()
        self._path = directory / data_name(identity.writer)
        self._tmp = self._path.with_name(f".{self._path.name}.tmp")
        self._identity = identity
        self._rank = rank
        self._seed = identity.seed
        self._sums: list[bytes] = []
        self._slices: list[Slice] = []
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._filled = 0
        self._position = 0
        self._fd = os.open(self._tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def append(
        self,
        fqn: str,
        dtype: str,
        start: tuple[int, ...],
        size: tuple[int, ...],
        data: memoryview,
        see: Callable[[int, int], None] | None = None,
    ) -> Slice:
        """Add a box of a tensor; ``data`` is its bytes, row-major.

        ``see`` is called with each piece's byte range just before that piece is hashed and
        written, so that whoever wants to look at the values finds them in the cache.
        """
        self._pad()
        piece = Slice(fqn, dtype, start, size, self._position, data.nbytes)
        for low, high in self._cuts(data.nbytes):
            if see is not None:
                see(low, high)
            self._put(data[low:high])
        self._slices.append(piece)
        return piece

    def _pad(self) -> None:
        self._put(memoryview(bytes(-self._position % ALIGN_BYTES)))

    def _cuts(self, length: int) -> Iterator[tuple[int, int]]:
        """Ranges that end where chunks end."""
        low = 0
        while low < length:
            high = min(length, low + CHUNK_BYTES - self._filled)
            yield low, high
            low = high

    def _put(self, piece: memoryview) -> None:
        """Take a piece that does not cross the end of the chunk being filled."""
        if piece.nbytes == CHUNK_BYTES:
            self._emit(piece)
        else:
            self._buffer[self._filled : self._filled + piece.nbytes] = piece
            self._filled += piece.nbytes
            if self._filled == CHUNK_BYTES:
                self._flush()
        self._position += piece.nbytes

    def _flush(self) -> None:
        if self._filled:
            self._emit(self._buffer[: self._filled])
            self._filled = 0

    def _emit(self, chunk: memoryview) -> None:
        self._sums.append(chunk_sum(chunk, self._seed))
        write_all(self._fd, chunk)

    def commit(self) -> FileRecord:
        """Write the footer, make everything durable, give the file its name."""
        self._flush()
        section = Section(self._rank, tuple(self._slices))
        footer = Footer(self._identity, self._position, tuple(self._sums), (section,))
        tail = encode_tail(footer)
        write_all(self._fd, tail)
        os.fsync(self._fd)
        self._close()
        os.replace(self._tmp, self._path)
        fsync_dir(self._path.parent)
        return FileRecord(
            name=self._path.name,
            writer=self._identity.writer,
            bytes=self._position + len(tail),
            data_bytes=self._position,
            root=root_of(self._sums, self._identity),
        )

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def abandon(self) -> None:
        """Close and remove the file unless it has its name already."""
        self._close()
        self._tmp.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close and remove the file under either name; only for a checkpoint that is not one."""
        self.abandon()
        self._path.unlink(missing_ok=True)
