"""Reading sources into documents, strictly: a fault names its file and its place in it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import xxhash

from exa_cli.base.errors import ExaError, Invalid
from exa_train.data.inputs import Source

DOCUMENT = np.dtype([(name, "<u8") for name in ("high", "low", "offset", "start", "bytes")])
"""A document, or a piece of one: the two halves of its text's xxh3-128, where the document's
line begins in the (unpacked) source, where in the document's text it starts (0 unless that was
cut), and the bytes of its text in UTF-8. An array of these stays small at any corpus size."""

Documents = npt.NDArray[np.void]

_BLOCK = 1 << 22


class BadDocument(Invalid):
    """A document that cannot be read as text. ``reason`` is what the manifest counts it under."""

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, reason: str = "bad"
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.reason = reason


@dataclass
class Scanned:
    """What one pass over a source found.

    Attributes:
        bytes: size of the file as it lies on disk.
        xxh3_128: of those bytes.
        documents: its documents in order.
        skipped: what was left out: reason → count.
        fault: why the source cannot be used at all, or None.
    """

    source: Source
    bytes: int = 0
    xxh3_128: str = ""
    documents: Documents = field(default_factory=lambda: np.zeros(0, DOCUMENT))
    skipped: Counter[str] = field(default_factory=Counter)
    fault: ExaError | None = None


def scan(source: Source, text_field: str) -> Scanned:
    """Read a source once: its checksum and its documents. Faults are returned, not raised."""
    scanned = Scanned(source)
    try:
        scanned.bytes, scanned.xxh3_128 = checksum(Path(source.path))
        rows = list(_rows(source, text_field, scanned.skipped))
        scanned.documents = np.array(rows, DOCUMENT)
    except ExaError as error:
        scanned.fault = error
    except OSError as error:
        scanned.fault = Invalid(f"cannot be read: {error.strerror or error}", where=source.path)
    return scanned


def _rows(
    source: Source, text_field: str, skipped: Counter[str]
) -> Iterator[tuple[int, int, int, int, int]]:
    for offset, text in _tolerated(source, text_field, skipped):
        if text.isspace() or not text:
            skipped["empty"] += 1
            continue
        raw = text.encode()
        yield *identity(raw), offset, 0, len(raw)


def _tolerated(source: Source, text_field: str, skipped: Counter[str]) -> Iterator[tuple[int, str]]:
    """Offset and text of each readable document; others raise, or are counted if tolerated."""
    for offset, document in _candidates(source, text_field):
        if isinstance(document, str):
            yield offset, document
        elif source.tolerant:
            skipped[document.reason] += 1
        else:
            raise document


def _candidates(source: Source, text_field: str) -> Iterator[tuple[int, str | BadDocument]]:
    if source.form == "text":
        yield 0, _caught(Path(source.path).read_bytes(), source.path)
        return
    with open_stream(source) as stream:
        offset = 0
        for number, raw in enumerate(_lines(stream, source), start=1):
            if raw.strip():
                yield offset, _caught(raw, f"{source.path}:{number}", text_field)
            offset += len(raw)


def _caught(raw: bytes, where: str, text_field: str | None = None) -> str | BadDocument:
    try:
        return decode(raw, where) if text_field is None else parse_line(raw, where, text_field)
    except BadDocument as fault:
        return fault


def _lines(stream: BinaryIO, source: Source) -> Iterator[bytes]:
    """The stream's lines; a damaged archive is a fault of the source, tolerated or not."""
    try:
        yield from stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Invalid(
            f"the gzip file is damaged: {error}",
            where=source.path,
            hint="fetch it again; gzip -t FILE tells whether it is whole",
        ) from error


def open_stream(source: Source) -> BinaryIO:
    """The source's bytes, unpacked. Seeking forward in an archive reads what lies between."""
    if source.form == "jsonl.gz":
        return cast(BinaryIO, gzip.open(source.path, "rb"))
    return open(source.path, "rb")


def decode(raw: bytes, where: str) -> str:
    """Bytes as UTF-8 text.

    Raises:
        BadDocument: NUL bytes, or not UTF-8; ``where`` is given with the byte offset.
    """
    if (nul := raw.find(b"\0")) >= 0:
        raise BadDocument(
            "not text: it holds a NUL byte (a binary file, or UTF-16)",
            where=f"{where}, byte {nul}",
            hint="convert it to UTF-8, or leave such files out with --skip-bad",
            reason="binary",
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadDocument(
            f"not valid UTF-8: byte 0x{raw[error.start]:02x} ({error.reason})",
            where=f"{where}, byte {error.start}",
            hint="convert it (iconv -t UTF-8), or leave such files out with --skip-bad",
            reason="not UTF-8",
        ) from None


def parse_line(raw: bytes, where: str, text_field: str) -> str:
    """The text of one JSON line.

    Raises:
        BadDocument: not text, not JSON, no such field, or a field that is no Unicode text.
    """
    line = decode(raw, where).removeprefix("\ufeff")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad_line(f"not a JSON line: {error}", where) from None
    if not isinstance(value, dict) or text_field not in value:
        raise _bad_line(f"no field {text_field!r} in this line", where, _fields(value))
    text = value[text_field]
    if not isinstance(text, str):
        raise _bad_line(f"field {text_field!r} is not a string", where, _fields(value))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"field {text_field!r} holds half a surrogate pair at character {error.start}"
        raise _bad_line(what, where) from None
    return text


def _bad_line(what: str, where: str, hint: str | None = None) -> BadDocument:
    return BadDocument(what, where=where, hint=hint, reason="bad line")


def _fields(value: Any) -> str:
    if not isinstance(value, dict):
        return "each line must be a JSON object"
    texts = [name for name, text in value.items() if isinstance(text, str)]
    return f"--text-field names another one; text fields here: {', '.join(texts) or 'none'}"


def identity(raw: bytes) -> tuple[int, int]:
    """The two 64-bit halves of a text's xxh3-128, high first."""
    return divmod(xxhash.xxh3_128_intdigest(raw), 1 << 64)


def checksum(path: Path) -> tuple[int, str]:
    """Size and xxh3-128 of a file."""
    digest, size = xxhash.xxh3_128(), 0
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


class DocumentReader:
    """Reads documents that a scan found, or pieces of them; checks that their text is the same.

    Keeps the last stream open: documents come in rising order, so an archive is unpacked once
    per worker and not once per request. Keeps the last line's text, for its next piece.
    """

    def __init__(self, text_field: str) -> None:
        self._text_field = text_field
        self._path = ""
        self._stream: BinaryIO | None = None
        self._line, self._line_at = b"", -1

    def texts(self, source: Source, documents: Documents) -> Iterator[str]:
        """The text of each document.

        Raises:
            Invalid: the source changed since it was scanned.
        """
        for document in documents:
            raw = self._read(source, document)
            if identity(raw) != (int(document["high"]), int(document["low"])):
                raise _changed(source)
            yield raw.decode()

    def _read(self, source: Source, document: np.void) -> bytes:
        start, size = int(document["start"]), int(document["bytes"])
        try:
            stream = self._open(source)
            if source.form == "text":
                stream.seek(start)
                return stream.read(size)
            return self._text_of_line(stream, int(document["offset"]))[start : start + size]
        except (BadDocument, EOFError, zlib.error, OSError) as error:
            raise _changed(source) from error

    def _text_of_line(self, stream: BinaryIO, offset: int) -> bytes:
        if self._line_at != offset:
            stream.seek(offset)
            self._line = parse_line(stream.readline(), self._path, self._text_field).encode()
            self._line_at = offset
        return self._line

    def _open(self, source: Source) -> BinaryIO:
        if self._stream is None or self._path != source.path:
            self.close()
            self._stream, self._path = open_stream(source), source.path
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._line, self._line_at = b"", -1


def _changed(source: Source) -> Invalid:
    return Invalid(
        "the file changed while it was being prepared",
        where=source.path,
        hint="run the same command again once nothing writes there",
    )
