"""Making parity for a checkpoint that is whole: `protect`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.errors import Damaged, Invalid
from exa_cli.base.files import fsync_dir, write_bytes
from exa_cli.checkpoint import foreign, guarded, sidecar, unprotected
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.datafile import CHUNK_BYTES, chunk_span, chunk_sum
from exa_cli.checkpoint.groups import Tiers, ordered, planned, worth_whole_files
from exa_cli.checkpoint.manifest import Manifest
from exa_cli.checkpoint.names import MANIFEST
from exa_cli.checkpoint.read import bad_chunk, open_data
from exa_cli.checkpoint.sidecar import SIDECAR, Guarded, Index, ParityFile
from exa_cli.checkpoint.write import write_all
from exa_cli.checkpoint.xor import Xor

GROUP = 8


@dataclass(frozen=True)
class Protection:
    """What `protect` did: ``made`` is False when everything was protected already.

    ``lasting`` of the ``files`` can be lost whole; of the others only so many chunks that no
    group loses two. ``skipped`` are links and special files, which are not covered.
    """

    name: str
    made: bool
    files: int
    bytes: int
    parity_bytes: int
    group: int
    lasting: int
    skipped: tuple[str, ...]


def protect(
    directory: Path, group: int = GROUP, tiers: Tiers | None = None, *, renew: bool = False
) -> Protection:
    """Write parity beside a checkpoint, or beside the files of any other directory.

    One chunk of a group of up to ``group`` can be lost and rebuilt; with ``group=1`` the parity
    is a copy. ``tiers`` (file → rack, node) spreads the writers of a node over groups. The data
    is read once, and of a checkpoint of exa it is compared with its own checksums on the way:
    nothing damaged gets protected. A crash leaves the checkpoint as it was, unprotected at
    worst.

    With ``renew``, files of a foreign directory that differ from what was protected are taken
    as they are now.

    Raises Damaged when the checkpoint is not whole, Invalid when there is nothing to protect or
    protected files have changed, OSError when writing fails.
    """
    if group < 1:
        raise Invalid(f"a group of {group} has no members", hint="--group 1 makes a copy")
    subject = _own(directory) if sidecar.is_checkpoint(directory) else _foreign(directory)
    _sweep(directory)
    before = _standing(directory, subject, group, tiers, renew=renew)
    if before is not None:
        return before
    return _make(directory, subject, group, tiers)


@dataclass(frozen=True)
class _Subject:
    """What is to be protected."""

    sizes: dict[str, int]
    manifest: Manifest | None
    manifest_bytes: bytes | None
    skipped: tuple[str, ...]

    def blank(self, names: list[str], group: int) -> Index:
        sizes = [self.sizes[name] for name in names]
        whole = (self.manifest and len(names) > 1) or worth_whole_files(sizes, group)
        plan = planned(sizes, group, whole_files=bool(whole))
        return Index(
            id=secrets.token_hex(8),
            written=clock.iso(),
            group=group,
            groups=plan.groups,
            step=self.manifest.step if self.manifest else None,
            generation=self.manifest.generation if self.manifest else None,
            manifest=sidecar.digest(self.manifest_bytes) if self.manifest_bytes else None,
            files=tuple(Guarded(name, self.sizes[name], ()) for name in names),
        )


def _own(directory: Path) -> _Subject:
    manifest = manifests.read(directory)
    if manifest is None:
        raise Damaged("this checkpoint was never committed", where=str(directory))
    data = (directory / MANIFEST).read_bytes()
    return _Subject({file.name: file.bytes for file in manifest.files}, manifest, data, ())


def _foreign(directory: Path) -> _Subject:
    found = foreign.require_files(directory)
    return _Subject(found.files, None, None, found.others)


def _standing(
    directory: Path, subject: _Subject, group: int, tiers: Tiers | None, *, renew: bool
) -> Protection | None:
    """The protection that is there, if it is whole and what was asked for.

    Without ``tiers`` any spread over places will do: the one that is there may know them.
    """
    if not sidecar.exists(directory):
        return None
    index = sidecar.read_index(directory).index
    if index is None:
        return None
    state = guarded.look(directory, index)
    changed = [f.name for f, s in zip(index.files, state.files, strict=True) if not s.sound]
    if changed and subject.manifest is None and not renew:
        listed = ", ".join(map(guarded.shown, changed[:3]))
        hint = "exa ckpt repair brings back what was protected; --renew protects what is there now"
        raise Invalid(
            f"files differ from what was protected: {listed}", where=str(directory), hint=hint
        )
    same = {f.name: f.bytes for f in index.files} == subject.sizes and index.group == group
    names = [file.name for file in index.files]
    same = same and (tiers is None or names == ordered(names, tiers))
    sound = not changed and all(s.sound for s in state.parity) and not _flaws(directory, index)
    return _told(directory, index, subject, made=False) if same and sound else None


def _flaws(directory: Path, index: Index) -> bool:
    """Whether something small of a sidecar is damaged: a copy of the index, the manifest's."""
    return (
        bool(sidecar.read_index(directory).faults) or manifest_fault(directory, index) is not None
    )


def manifest_fault(directory: Path, index: Index) -> str | None:
    """What is wrong with the copy of the manifest, if there has to be one."""
    if index.manifest is None:
        return None
    try:
        data = (directory / SIDECAR / MANIFEST).read_bytes()
    except FileNotFoundError:
        return "is missing"
    return None if sidecar.digest(data) == index.manifest else "is not the copy that was made"


def _told(directory: Path, index: Index, subject: _Subject, *, made: bool) -> Protection:
    return Protection(
        name=directory.name,
        made=made,
        files=len(index.files),
        bytes=sum(file.bytes for file in index.files),
        parity_bytes=sum(file.bytes for file in index.parity),
        group=index.group,
        lasting=len(index.lasting),
        skipped=subject.skipped,
    )


def _make(directory: Path, subject: _Subject, group: int, tiers: Tiers | None) -> Protection:
    names = ordered(subject.sizes, tiers)
    if subject.manifest is None:
        unprotected.require_sound(directory, names)
    token = secrets.token_hex(4)
    folder = directory / sidecar.temporary_name(token, "tmp")
    folder.mkdir()
    try:
        blank = subject.blank(names, group)
        index = _Maker(folder, blank, _Files(directory, blank)).run()
        if subject.manifest is not None and subject.manifest_bytes is not None:
            _compare(directory, subject.manifest, index)
            write_bytes(folder / MANIFEST, subject.manifest_bytes)
        sidecar.write_index(folder, index)
        _keep_log(directory, folder)
        _install(directory, folder, token)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _told(directory, index, subject, made=True)


def _keep_log(directory: Path, folder: Path) -> None:
    """The log of a foreign directory's repairs lies in the sidecar and outlives it."""
    with contextlib.suppress(FileNotFoundError):
        write_bytes(folder / sidecar.LOG, (directory / SIDECAR / sidecar.LOG).read_bytes())


def _install(directory: Path, folder: Path, token: str) -> None:
    """Give the sidecar its name; one that is there is put aside first, then removed."""
    fsync_dir(folder)
    aside = directory / sidecar.temporary_name(token, "old")
    if sidecar.exists(directory):
        os.rename(directory / SIDECAR, aside)
    os.rename(folder, directory / SIDECAR)
    fsync_dir(directory)
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(directory: Path) -> None:
    """Remove what a protection that was cut off left behind.

    If that was between putting the old sidecar aside and naming the new one, the old one gets
    its name back.
    """
    for path in sorted(directory.iterdir()):
        if not sidecar.is_ours(path.name) or path.name == SIDECAR:
            continue
        if path.suffix == ".old" and not sidecar.exists(directory):
            os.rename(path, directory / SIDECAR)
        else:
            shutil.rmtree(path, ignore_errors=True)


class _Files:
    """The files to protect, which must not change meanwhile."""

    def __init__(self, directory: Path, index: Index) -> None:
        self._directory = directory
        self._index = index
        self._times: dict[int, int] = {}

    def read(self, file: int, chunk: int) -> bytearray:
        name, size = self._index.files[file].name, self._index.files[file].bytes
        low, high = chunk_span(chunk, size)
        with guarded.opened(self._directory, name) as fd:
            data = guarded.read_up_to(fd, high - low, low)
            seen = os.fstat(fd)
        time = self._times.setdefault(file, seen.st_mtime_ns)
        if len(data) < high - low or seen.st_size != size or seen.st_mtime_ns != time:
            hint = "is somebody still writing it? protect it when that is done"
            where = str(self._directory / guarded.shown(name))
            raise Invalid("a file changed while it was read", where=where, hint=hint)
        return data


class _Maker:
    """Reads every chunk once: its sum goes into the index, its bits into the group's parity."""

    def __init__(self, folder: Path, index: Index, files: _Files) -> None:
        self._folder = folder
        self._index = index
        self._files = files
        self._sums = [[""] * count for count in index.plan.chunks]
        self._seeds = [index.seed(file) for file in range(len(index.files))]

    def run(self) -> Index:
        parity = [self._file(number) for number in range(sidecar.parity_files(self._index))]
        files = [
            Guarded(file.name, file.bytes, tuple(sums))
            for file, sums in zip(self._index.files, self._sums, strict=True)
        ]
        return sidecar.with_parity(self._index, parity, files)

    def _file(self, number: int) -> ParityFile:
        name = sidecar.parity_name(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self._folder / name, flags, 0o644)
        sums: list[str] = []
        size = 0
        try:
            for parity in self._rows(sidecar.parity_rows(self._index, number)):
                sums.append(chunk_sum(parity, self._index.parity_seed).hex())
                write_all(fd, parity)
                size += len(parity)
            os.fsync(fd)
        finally:
            os.close(fd)
        return ParityFile(name, size, tuple(sums))

    def _rows(self, groups: range) -> Iterator[bytes]:
        """The parity of each group, a few at a time side by side."""
        with ThreadPoolExecutor(max_workers=guarded.WORKERS) as pool:
            for first in range(0, len(groups), 2 * guarded.WORKERS):
                yield from pool.map(self._row, groups[first : first + 2 * guarded.WORKERS])

    def _row(self, group: int) -> bytes:
        total = Xor(self._index.plan.width(group))
        for file, chunk in self._index.plan.members(group):
            data = self._files.read(file, chunk)
            self._sums[file][chunk] = chunk_sum(data, self._seeds[file]).hex()
            total.add(data)
        return total.value


def _compare(directory: Path, manifest: Manifest, index: Index) -> None:
    """Raise Damaged unless what was read is what the checkpoint's own checksums describe.

    Whole chunks of the stream have the same sum in both; what follows the last of them is read
    once more.
    """
    records = {record.name: record for record in manifest.files}
    for file in index.files:
        record = records[file.name]
        data = open_data(directory / file.name, record, manifest.identity(record.writer))
        whole = data.footer.data_bytes // CHUNK_BYTES
        for chunk in range(whole):
            if file.sums[chunk] != data.footer.sums[chunk].hex():
                raise Damaged(bad_chunk(data.footer, chunk), where=file.name)
        low = whole * CHUNK_BYTES
        with guarded.opened(directory, file.name) as fd:
            tail = guarded.read_up_to(fd, file.bytes - low, low)
        seed = data.footer.identity.seed
        parts = [tail[at : at + CHUNK_BYTES] for at in range(0, len(tail), CHUNK_BYTES)]
        if tuple(chunk_sum(part, seed).hex() for part in parts) != file.sums[whole:]:
            raise Damaged("changed while it was read", where=file.name)
        rest = data.footer.data_bytes - low
        if rest and chunk_sum(tail[:rest], seed) != data.footer.sums[whole]:
            raise Damaged(bad_chunk(data.footer, whole), where=file.name)
