"""Bringing back what was written, bit for bit, from parity and from the manifest's copy.

All or nothing is decided before anything is changed: where one group lost too much, the
directory stays as it is. Then each file is put together under another name, synced, compared
with its checksums (a checkpoint's also with its manifest), noted in the log, and renamed over
the damaged one. A kill at any point leaves each file either as it was or right, and what was
lost together never depends on a file that is being replaced. So a repair can be repeated.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.errors import Damaged, ExaError, Invalid
from exa_cli.base.files import fsync_dir, write_bytes
from exa_cli.checkpoint import guarded, parity, sidecar, weigh
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.datafile import chunk_span, chunk_sum
from exa_cli.checkpoint.guarded import State
from exa_cli.checkpoint.manifest import Manifest
from exa_cli.checkpoint.names import MANIFEST
from exa_cli.checkpoint.sidecar import SIDECAR, Index
from exa_cli.checkpoint.verdict import ForeignReport, Report
from exa_cli.checkpoint.verify import check_file, verify
from exa_cli.checkpoint.write import write_all
from exa_cli.checkpoint.xor import Xor


@dataclass(frozen=True)
class Change:
    """One line of the log: what was put right, from what.

    ``chunk`` is None for a file that is small and was replaced whole, or only had another
    length. ``before`` and ``after`` are checksums; ``before`` is None for what was not there.
    """

    file: str
    chunk: int | None
    source: str
    before: str | None
    after: str


@dataclass(frozen=True)
class Repaired:
    """``report`` is from after the repair, and its verdict is good."""

    changes: tuple[Change, ...]
    report: Report | ForeignReport


def repair(directory: Path) -> Repaired:
    """Repair a checkpoint, or a foreign directory that was protected.

    Raises Damaged when that is not possible, and then nothing was changed; OSError when reading
    or writing fails, and then it can be repeated.
    """
    report = _report(directory)
    if report.verdict == "good":
        return Repaired((), report)
    if report.verdict != "repairable":
        raise Damaged(_refusal(report), where=str(directory))
    manifest = report.manifest if isinstance(report, Report) else None
    changes = _Repair(directory, manifest).run()
    after = _report(directory)
    if after.verdict != "good":
        raise Damaged(_refusal(after), where=str(directory), hint="it was repaired and broke again")
    return Repaired(tuple(changes), after)


def _report(directory: Path) -> Report | ForeignReport:
    if sidecar.is_checkpoint(directory):
        return verify(directory)
    if not sidecar.exists(directory):
        hint = "exa ckpt verify checks what can be checked without parity"
        raise Invalid("this directory is not protected", where=str(directory), hint=hint)
    return weigh.verify_foreign(directory)


def _refusal(report: Report | ForeignReport) -> str:
    if report.verdict == "incomplete":
        return "was never committed: there is nothing to go by"
    lines = [f"{guarded.shown(damage.file)}: {damage.reason}" for damage in report.damaged]
    parity_too = "" if report.protected else " and has no parity"
    return f"cannot be repaired: it is {report.verdict}{parity_too}\n- " + "\n- ".join(lines)


@dataclass(frozen=True)
class Mended:
    """``fault`` says why a repair that should be possible failed; then nothing is worse."""

    report: Report
    changes: tuple[Change, ...]
    fault: str | None


def mend(directory: Path, look: Callable[[Path], Report] = verify) -> Mended:
    """Repair a checkpoint if it needs that and if that is possible.

    For whoever chooses checkpoints: afterwards the report's verdict is what `select.choose`
    goes by. With ``look=inspect`` only what shows in the structure is mended, and the data of a
    sound one is not read. Raises only what ``look`` raises.
    """
    report = look(directory)
    if report.verdict != "repairable":
        return Mended(report, (), None)
    try:
        done = repair(directory)
    except (ExaError, OSError) as error:
        return Mended(report, (), str(error))
    assert isinstance(done.report, Report)
    return Mended(done.report, done.changes, None)


class _Repair:
    """One repair, of a directory of which all losses can be made good."""

    def __init__(self, directory: Path, manifest: Manifest | None) -> None:
        self._directory = directory
        self._manifest = manifest
        self._changes: list[Change] = []
        self._now = clock.iso()

    def run(self) -> list[Change]:
        copy = self._manifest_bytes()
        index = self._index(copy)
        if index is not None:
            self._sweep(index)
            state = guarded.look(self._directory, index)
            self._files(state)
            self._parity(state)
        if copy is not None:
            self._restore(MANIFEST, copy, f"{SIDECAR}/{MANIFEST}")
        if index is None:
            self._protect_anew()
            return self._changes
        if copy is not None:
            self._restore(f"{SIDECAR}/{MANIFEST}", copy, MANIFEST)
        data = sidecar.encode(index)
        for name, other in (
            (sidecar.INDEX, sidecar.INDEX_COPY),
            (sidecar.INDEX_COPY, sidecar.INDEX),
        ):
            self._restore(f"{SIDECAR}/{name}", data, f"{SIDECAR}/{other}")
        return self._changes

    def _manifest_bytes(self) -> bytes | None:
        return manifests.encode(self._manifest) if self._manifest else None

    def _index(self, manifest: bytes | None) -> Index | None:
        if manifest is not None:
            return weigh.bound_index(self._directory, manifest)
        return sidecar.read_index(self._directory).index

    def _protect_anew(self) -> None:
        """The data is right and the sidecar unusable: make another."""
        made = parity.protect(self._directory)
        index = sidecar.read_index(self._directory).index
        assert made.made and index is not None
        self._note(Change(f"{SIDECAR}/{sidecar.INDEX}", None, "the checkpoint", None, index.id))

    def _files(self, state: State) -> None:
        for number, found in enumerate(state.files):
            if not found.sound:
                self._file(state, number)

    def _file(self, state: State, number: int) -> None:
        file, found = state.index.files[number], state.files[number]
        seed = state.index.seed(number)
        changes: list[Change] = []

        def chunks() -> Iterator[bytes | bytearray]:
            for chunk in range(found.total):
                if chunk not in lost:
                    yield self._read(state.index, number, chunk)
                    continue
                data = self._rebuilt(state.index, number, chunk)
                before = self._before(state.index, number, chunk, seed)
                source = f"parity of group {state.index.plan.group_of(number, chunk)}"
                changes.append(Change(file.name, chunk, source, before, file.sums[chunk]))
                yield data

        lost = frozenset(found.lost)
        expected = list(zip(guarded.data_spans(file.bytes), file.sums, strict=True))
        with self._built(self._directory / file.name, chunks(), expected, seed) as tmp:
            self._prove(file.name, tmp)
            whole = Change(file.name, None, "its length", found.fault, f"{file.bytes} bytes")
            for change in changes or [whole]:
                self._note(change)

    def _read(self, index: Index, file: int, chunk: int) -> bytearray:
        low, high = chunk_span(chunk, index.files[file].bytes)
        with guarded.opened(self._directory, index.files[file].name) as fd:
            return guarded.read_up_to(fd, high - low, low)

    def _before(self, index: Index, file: int, chunk: int, seed: int) -> str | None:
        """The checksum of what stands where a chunk should be."""
        try:
            data = self._read(index, file, chunk)
        except (Damaged, OSError):
            return None
        return chunk_sum(data, seed).hex() if data else None

    def _rebuilt(self, index: Index, file: int, chunk: int) -> bytes:
        """A lost chunk: the XOR of its group's parity and other members."""
        group = index.plan.group_of(file, chunk)
        total = Xor(index.plan.width(group))
        total.add(self._parity_chunk(index, group))
        for other in index.plan.members(group):
            if other != (file, chunk):
                total.add(self._read(index, *other))
        return total.value[: index.plan.chunk_bytes(file, chunk)]

    def _parity_chunk(self, index: Index, group: int) -> bytearray:
        name = sidecar.parity_name(group // sidecar.ROWS_PER_FILE)
        with guarded.opened(self._directory / SIDECAR, name) as fd:
            return guarded.read_up_to(fd, index.plan.width(group), index.offsets[group])

    def _parity(self, state: State) -> None:
        """Make damaged parity files again, now that all data is right."""
        index = state.index
        for number, (file, found) in enumerate(zip(index.parity, state.parity, strict=True)):
            if found.sound:
                continue
            rows = sidecar.parity_rows(index, number)
            spans = guarded.parity_spans(index, number)
            expected = list(zip(spans, file.sums, strict=True))
            made = (self._row(index, group) for group in rows)
            path = self._directory / SIDECAR / file.name
            with self._built(path, made, expected, index.parity_seed):
                for row in found.lost or (None,):
                    after = file.sums[row] if row is not None else f"{file.bytes} bytes"
                    name = f"{SIDECAR}/{file.name}"
                    self._note(Change(name, row, "the data", None, after))

    def _row(self, index: Index, group: int) -> bytes:
        total = Xor(index.plan.width(group))
        for member in index.plan.members(group):
            total.add(self._read(index, *member))
        return total.value

    @contextlib.contextmanager
    def _built(
        self,
        target: Path,
        chunks: Iterator[bytes | bytearray],
        expected: list[tuple[tuple[int, int], str]],
        seed: int,
    ) -> Iterator[Path]:
        """Write ``chunks`` to a temporary, check each on its way and as it stands on the disk;
        when the block ends well, rename it over ``target``."""
        self._make_parents(target)
        tmp = target.with_name(sidecar.leftover_name())
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(tmp, flags, 0o644)
        try:
            for data in chunks:
                write_all(fd, memoryview(data))
            os.fchmod(fd, _mode(target))
            os.fsync(fd)
            _require(fd, expected, seed, target.name)
            yield tmp
            os.replace(tmp, target)
            fsync_dir(target.parent)
        finally:
            os.close(fd)
            tmp.unlink(missing_ok=True)

    def _make_parents(self, target: Path) -> None:
        """A lost folder comes back; one that is a link now is not followed."""
        inside = target.parent.relative_to(self._directory)
        for parent in [*reversed(inside.parents), inside]:
            path = self._directory / parent
            if path != self._directory and path.is_symlink():
                raise Damaged("is a symbolic link now", where=str(path))
            if not path.exists():
                path.mkdir()
                fsync_dir(path.parent)
        if target.is_dir() and not target.is_symlink():
            raise Damaged("a folder stands in its place", where=str(target), hint="move it away")

    def _prove(self, name: str, tmp: Path) -> None:
        """Raise Damaged unless the file is the one that the checkpoint's manifest describes."""
        if self._manifest is None:
            return
        listed = self._manifest.slices_by_writer()
        for record in self._manifest.files:
            if record.name == name:
                faults = check_file(tmp, self._manifest, record, listed[record.writer], full=True)
                for fault in faults:
                    raise Damaged(f"what was rebuilt is wrong: {fault.reason}", where=name)

    def _restore(self, name: str, data: bytes, source: str) -> None:
        """Replace a small file that has a copy."""
        path = self._directory / name
        try:
            before = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            before = None
        if before == data:
            return
        if not (self._directory / SIDECAR).is_dir():
            raise Damaged("was removed while it was repaired", where=str(self._directory))
        was = sidecar.digest(before) if before is not None else None
        self._note(Change(name, None, source, was, sidecar.digest(data)))
        write_bytes(path, data)

    def _note(self, change: Change) -> None:
        """Add a line to the log, durable before the file it is about is renamed."""
        record = {"schema": 1, "time": self._now, **asdict(change)}
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        path = sidecar.log_path(self._directory)
        new = not path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)
        if new:
            fsync_dir(path.parent)
        self._changes.append(change)

    def _sweep(self, index: Index) -> None:
        """Remove what an earlier repair that was cut off left behind."""
        names = [file.name for file in index.files]
        folders = {(self._directory / name).parent for name in names}
        for folder in {*folders, self._directory / SIDECAR}:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for entry in folder.iterdir():
                    if sidecar.is_leftover(entry.name):
                        entry.unlink(missing_ok=True)


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced."""
    with contextlib.suppress(OSError):
        found = target.lstat().st_mode
        if stat.S_ISREG(found):
            return stat.S_IMODE(found)
    return 0o644


def _require(fd: int, expected: list[tuple[tuple[int, int], str]], seed: int, name: str) -> None:
    """Raise Damaged unless a file holds exactly the chunks that are expected."""
    for (low, high), digest in expected:
        if chunk_sum(guarded.read_up_to(fd, high - low, low), seed).hex() != digest:
            raise Damaged(f"what was rebuilt is wrong at byte {low}", where=name)
    size = expected[-1][0][1] if expected else 0
    if os.fstat(fd).st_size != size:
        raise Damaged(f"what was rebuilt has {os.fstat(fd).st_size} bytes", where=name)
