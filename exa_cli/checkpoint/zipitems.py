"""The zip archives that a file of torch's distributed checkpoint consists of, by their CRCs.

torch writes each item (a tensor, an object) as a zip archive of its own, one after another, and
never looks at their CRCs again. They are read here from the end of the file: the record that
ends an archive says where it began, and that is where the one before it ended. Nothing is
unpickled; the bytes of an entry are read as bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint.guarded import read_up_to

_PIECE = 4 << 20
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_HAS_DESCRIPTOR = 8
_LARGE = 0xFFFFFFFF


@dataclass(frozen=True)
class _Archive:
    """Where an archive and its directory lie in the file; ``stop`` is one past its last byte."""

    start: int
    directory: int
    directory_end: int
    entries: int
    stop: int


@dataclass(frozen=True)
class _Entry:
    name: bytes
    method: int
    flags: int
    crc: int
    bytes: int
    at: int


def faults(fd: int, size: int) -> Iterator[str]:
    """What is wrong with a file of archives, by byte range. Raises OSError."""
    stop = size
    if size == 0:
        yield "is empty"
    while stop > 0:
        try:
            archive = _ending_at(fd, stop)
        except Damaged as damage:
            yield f"bytes 0-{stop - 1}: {damage.what}; nothing before it can be checked"
            return
        try:
            yield from _entry_faults(fd, archive, _directory(fd, archive))
        except Damaged as damage:
            yield f"bytes {archive.start}-{stop - 1}: {damage.what}"
        stop = archive.start


def _take(fd: int, at: int, length: int) -> bytes:
    data = bytes(read_up_to(fd, length, at)) if at >= 0 else b""
    if len(data) != length:
        raise Damaged("a zip record lies outside of the file")
    return data


def _ending_at(fd: int, stop: int) -> _Archive:
    """The archive whose last byte is before ``stop``."""
    at = stop - _END.size
    magic, disk, disk_d, here, entries, length, offset, comment = _END.unpack(
        _take(fd, at, _END.size)
    )
    if magic != b"PK\5\6" or disk or disk_d or comment:
        raise Damaged("no zip archive ends here")
    if _has_locator(fd, at):
        at -= _LOCATOR.size + _END64.size
        record = _END64.unpack(_take(fd, at, _END64.size))
        if record[0] != b"PK\6\6":
            raise Damaged("the zip64 record is not one")
        here, entries, length, offset = record[6:]
    start = at - length - offset
    if start < 0 or here != entries:
        raise Damaged("the zip directory's place contradicts the file")
    return _Archive(start, at - length, at, entries, stop)


def _has_locator(fd: int, end: int) -> bool:
    at = end - _LOCATOR.size
    return at >= 0 and _take(fd, at, 4) == b"PK\6\7"


def _directory(fd: int, archive: _Archive) -> list[_Entry]:
    data = _take(fd, archive.directory, archive.directory_end - archive.directory)
    found: list[_Entry] = []
    at = 0
    while at + _CENTRAL.size <= len(data):
        head = _CENTRAL.unpack_from(data, at)
        name_at = at + _CENTRAL.size
        name_end, extra_end = name_at + head[10], name_at + head[10] + head[11]
        if head[0] != b"PK\1\2" or extra_end + head[12] > len(data):
            raise Damaged("the zip directory is not one")
        length, place = _sizes(head[9], head[16], data[name_end:extra_end])
        place += archive.start
        if place + length > archive.directory:
            raise Damaged("the zip directory names a place outside of its archive")
        found.append(_Entry(data[name_at:name_end], head[4], head[3], head[7], length, place))
        at = extra_end + head[12]
    if len(found) != archive.entries or at != len(data):
        raise Damaged(f"the zip directory lists {len(found)} entries of {archive.entries}")
    return found


def _sizes(length: int, place: int, extra: bytes) -> tuple[int, int]:
    """Bytes and place of an entry; large ones stand in the zip64 extra field, in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, count = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{count // 8}Q", extra, at + 4))
            length = next(values, length) if length == _LARGE else length
            if place == _LARGE:
                *_, place = (place, *values)
        at += 4 + count
    return length, place


def _entry_faults(fd: int, archive: _Archive, entries: list[_Entry]) -> Iterator[str]:
    """The entries' own faults, and bytes of the archive that belong to none."""
    expected = archive.start
    for entry in sorted(entries, key=lambda entry: entry.at):
        stop = min((e.at for e in entries if e.at > entry.at), default=archive.directory)
        if entry.at != expected:
            yield f"bytes {expected}-{entry.at - 1} belong to no zip entry"
        fault = _entry_fault(fd, entry, stop)
        if fault:
            yield f"bytes {entry.at}-{stop - 1} ({_shown(entry.name)}): {fault}"
        expected = stop


def _shown(name: bytes) -> str:
    return ascii(name.decode("utf-8", "replace"))


def _entry_fault(fd: int, entry: _Entry, stop: int) -> str | None:
    head = read_up_to(fd, _LOCAL.size, entry.at)
    if len(head) < _LOCAL.size:
        return "lies outside of the file"
    local = _LOCAL.unpack(head)
    name_at = entry.at + _LOCAL.size
    begin = name_at + local[9] + local[10]
    if local[0] != b"PK\3\4" or bytes(read_up_to(fd, local[9], name_at)) != entry.name:
        return "the zip header is not what was written"
    if entry.method != 0 or local[3] != 0 or local[2] != entry.flags:
        return "the zip header contradicts the directory"
    if begin + entry.bytes > stop:
        return "reaches into what follows it"
    if _crc(fd, begin, entry.bytes) != entry.crc:
        return "the CRC differs"
    return _tail_fault(
        entry, bytes(read_up_to(fd, stop - begin - entry.bytes, begin + entry.bytes))
    )


def _tail_fault(entry: _Entry, tail: bytes) -> str | None:
    """What follows the data must be its data descriptor, and nothing when there is none."""
    sizes = [
        struct.pack(form, entry.bytes, entry.bytes)
        for form in ("<2L", "<2Q")
        if entry.bytes <= _LARGE or form == "<2Q"
    ]
    if not entry.flags & _HAS_DESCRIPTOR:
        return "is followed by bytes that nothing accounts for" if tail else None
    known = [b"PK\7\x08" + struct.pack("<L", entry.crc) + one for one in sizes]
    return None if tail in known else "the data descriptor is not what was written"


def _crc(fd: int, at: int, length: int) -> int | None:
    crc, stop = 0, at + length
    while at < stop:
        piece = read_up_to(fd, min(_PIECE, stop - at), at)
        if not piece:
            return None
        crc = zlib.crc32(piece, crc)
        at += len(piece)
    return crc
