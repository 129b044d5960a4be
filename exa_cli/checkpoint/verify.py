"""Looking at checkpoints on disk: their structure, or every byte."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from exa_cli.base.errors import Damaged, Unreachable
from exa_cli.base.files import read_json
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint import sidecar, weigh
from exa_cli.checkpoint.datafile import FileRecord, Slice
from exa_cli.checkpoint.guarded import WORKERS
from exa_cli.checkpoint.manifest import Manifest, by_place
from exa_cli.checkpoint.names import MANIFEST, OPEN, parse_directory
from exa_cli.checkpoint.read import open_data, scan_chunks
from exa_cli.checkpoint.verdict import Damage, Report


def inspect(directory: Path) -> Report:
    """Check the structure: the manifest's seal, each file's size, footer and identity.

    What is found at fault and has parity is read whole, to know whether that suffices.
    """
    return _report(directory, full=False)


def verify(directory: Path) -> Report:
    """`inspect`, and read every chunk against its checksum; the parity's chunks too."""
    return _report(directory, full=True)


def survey(root: Path, look: Callable[[Path], Report] = inspect) -> list[Report]:
    """A report on every checkpoint under ``root``, the newest first; none if it is missing.

    Raises Unreachable when the folder cannot be read: that is not the same as empty.
    """
    try:
        found = [path for path in root.iterdir() if parse_directory(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreachable(error, root) from error
    reports = [look(path) for path in found if path.is_dir() and not path.is_symlink()]
    there = (r for r in reports if r.verdict != "incomplete" or (root / r.name).is_dir())
    return sorted(there, key=lambda report: report.age, reverse=True)


def _report(directory: Path, *, full: bool) -> Report:
    bare = replace(_bare(directory, full=full), protected=sidecar.exists(directory))
    if not bare.protected or (bare.verdict == "good" and not full):
        return bare
    try:
        return weigh.weigh(directory, bare, lambda found: check_files(directory, found, full=True))
    except OSError as error:
        raise _unreachable(error, directory / sidecar.SIDECAR) from error


def _bare(directory: Path, *, full: bool) -> Report:
    """The verdict without regard to parity."""
    parsed = parse_directory(directory.name)
    if parsed is None:
        raise Damaged("this directory has no checkpoint's name", where=str(directory))
    name, step = directory.name, parsed[0]
    try:
        manifest = manifests.read(directory)
    except (Damaged, OSError) as error:
        damage = _damage(error, MANIFEST, directory)
        return Report(name, step, "damaged", (damage,), None)
    if manifest is None:
        return Report(name, step, "incomplete", (Damage(MANIFEST, _unfinished(directory)),), None)
    damaged = check_files(directory, manifest, full=full)
    if damaged and not (directory / MANIFEST).exists():
        gone = Damage(MANIFEST, "was removed while it was looked at")
        return Report(name, step, "incomplete", (gone,), None)
    return Report(name, step, "damaged" if damaged else "good", tuple(damaged), manifest)


def _unfinished(directory: Path) -> str:
    """Why there is no manifest, as far as the directory tells."""
    try:
        return f"never committed; opened by epoch {read_json(directory / OPEN)['epoch']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "never committed"


def check_files(directory: Path, manifest: Manifest, *, full: bool) -> list[Damage]:
    """The faults of a checkpoint's data files, by its manifest."""
    listed = manifest.slices_by_writer()

    def look(record: FileRecord) -> list[Damage]:
        path = directory / record.name
        return check_file(path, manifest, record, listed[record.writer], full=full)

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return [damage for found in pool.map(look, manifest.files) for damage in found]


def check_file(
    path: Path, manifest: Manifest, record: FileRecord, listed: list[Slice], *, full: bool
) -> list[Damage]:
    """The faults of the file at ``path``, which is to be the one that ``record`` describes."""
    try:
        data = open_data(path, record, manifest.identity(record.writer))
        if sorted(data.footer.slices, key=by_place) != listed:
            return [Damage(record.name, "the footer lists other slices than the manifest")]
        return [Damage(record.name, line) for line in scan_chunks(data)] if full else []
    except (Damaged, OSError) as error:
        return [_damage(error, record.name, path.parent)]


def _damage(error: Damaged | OSError, name: str, directory: Path) -> Damage:
    """An unreadable medium is damage; a filesystem that refuses to answer is not."""
    if isinstance(error, Damaged):
        return Damage(name, error.what)
    if error.errno == errno.EIO:
        return Damage(name, f"cannot be read: {error.strerror}")
    raise _unreachable(error, directory / name) from error


def _unreachable(error: OSError, path: Path) -> Unreachable:
    return Unreachable(f"cannot read a checkpoint: {error.strerror}", where=str(path))
