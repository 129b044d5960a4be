"""What works on this machine for a site: each thing looked at, found, and what to do about it.

Looking submits nothing, and leaves nothing behind: one probe file is written where runs go, and
removed. Packages are found by what pip noted of them; none is imported.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import resource
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base import cache, clock
from exa_cli.base.errors import ExaError, Unreachable
from exa_cli.base.files import create_exclusive
from exa_cli.base.requires import RANKS
from exa_cli.login.preflight import look_at
from exa_cli.login.scheduler import of_site
from exa_cli.plan.preflight import Check, Place, failed
from exa_cli.runs.rundir import RUNS_VARIABLE, runs_root
from exa_cli.script.launcher import search_path
from exa_cli.sites.load import find_site
from exa_cli.sites.schema import SiteProfile, read

LEAST_FILES, LEAST_PROCESSES = 1024, 512
MOST_SKEW_S = 5.0
LEAST_BYTES, LEAST_INODES = 10**9, 10_000


@dataclass(frozen=True)
class Probe:
    """What came of writing a file: ``skew_s`` is how far the filesystem's clock is ahead of ours,
    in seconds; ``trouble`` why it went wrong."""

    trouble: str | None
    skew_s: float = 0.0


def examine(asked: str | None) -> tuple[str, tuple[Check, ...]]:
    """The site's name and everything that was looked at. Raises NotFound for no such site."""
    doc, _ = find_site(asked, os.environ)
    try:
        profile = read(doc)
    except ExaError as error:
        faults = (failed("profile", part) for part in error.parts or (error,))
        return doc.name, (*faults, *_machine(local=False))
    rest = (*batch(profile), *launcher(profile))
    said = Check("profile", "ok", f"{profile.site.name}: no fault")
    return profile.site.name, (said, *rest, *_machine(profile.scheduler.kind == "local"))


def _machine(local: bool) -> Iterator[Check]:
    yield Check("interpreter", "ok", f"Python {platform.python_version()}, {sys.executable}")
    yield from packages({name: _version(name) for name in RANKS}, needed=local)
    place = look_at(runs_root())
    yield from folder("runs", place, write_probe(Path(place.there)) if place.writable else None)
    yield from folder("cache", look_at(cache.root(os.environ)), None)
    yield from limits(
        resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_NPROC)[0]
    )
    yield from encoding(sys.getfilesystemencoding())


def batch(profile: SiteProfile) -> Iterator[Check]:
    """The batch system's commands, and whether it answers."""
    system = of_site(profile)
    if why_not := system.usable():
        hint = "exa submit works on its login nodes, perhaps after loading a module"
        yield Check("batch system", "fault", f"{system.kind}: {why_not}", hint=hint)
        return
    began = clock.monotonic()
    try:
        found = system.queues()
    except Unreachable as error:
        says = f"{system.kind} did not answer: {' '.join(error.what.split())}"
        yield Check("batch system", "warning", says, error.where, "ask again; nothing is assumed")
        return
    took = clock.monotonic() - began
    counted = f", {len(found)} queues, answered in {took:.2f} s" if found else ""
    yield Check("batch system", "ok", f"{system.kind}: usable{counted}")


def launcher(profile: SiteProfile) -> Iterator[Check]:
    """The program that starts ranks. It may be on compute nodes only."""
    name = profile.launcher.command[0]
    local = profile.scheduler.kind == "local"
    if found := shutil.which(name, path=search_path()):
        yield Check("launcher", "ok", found)
        return
    hint = "pip install 'exa-hpc[local]' brings one" if local else "nodes may have it all the same"
    yield Check("launcher", "fault" if local else "warning", f"no {name} on the PATH", hint=hint)


def packages(found: Mapping[str, str | None], *, needed: bool) -> Iterator[Check]:
    """What ranks import. Pure. ``needed``: ranks run with this very interpreter; else modules or a
    container of the job may bring what is not here."""
    for name, wanted in RANKS.items():
        version = found.get(name)
        if version is None:
            yield _unfit(name, "is not installed", needed)
        elif not wanted.takes(version):
            yield _unfit(name, f"{version} is here; {wanted} is needed", needed)
        else:
            yield Check(name, "ok", version)


def _unfit(name: str, says: str, needed: bool) -> Check:
    hint = "pip install 'exa-hpc[local]'" + ("" if needed else ", unless the job has it otherwise")
    return Check(name, "fault" if needed else "warning", says, hint=hint)


def folder(name: str, place: Place, probe: Probe | None) -> Iterator[Check]:
    """A folder that exa writes to. Pure."""
    hint = f"${RUNS_VARIABLE} names another" if name == "runs" else "$EXA_CACHE names another"
    trouble = place.trouble or ("not writable" if not place.writable else None)
    trouble = trouble or (probe.trouble if probe else None)
    if trouble:
        yield Check(name, "fault", f"{place.path}: {trouble}", place.there, hint)
        return
    free, files = place.free_bytes, place.free_files
    if (free is not None and free < LEAST_BYTES) or (files is not None and files < LEAST_INODES):
        says = f"{place.path}: {free} bytes and {files} files are free"
        yield Check(name, "warning", says, place.there, hint)
    elif probe and abs(probe.skew_s) > MOST_SKEW_S:
        says = f"the clock of {place.there} differs from this machine's by {probe.skew_s:.0f} s"
        yield Check(
            name, "warning", says, place.there, "ages shown of files and jobs will be wrong"
        )
    else:
        proven = "; a file was made, synced and linked there" if probe else ""
        yield Check(name, "ok", f"{place.path}{proven}")


def limits(files: int, processes: int) -> Iterator[Check]:
    """This shell's limits; -1 = none. Pure."""
    for name, value, least in (
        ("open files", files, LEAST_FILES),
        ("processes", processes, LEAST_PROCESSES),
    ):
        if 0 <= value < least:
            option = "-n" if name == "open files" else "-u"
            yield Check(name, "warning", f"at most {value}", hint=f"ulimit {option} {least}")
        else:
            yield Check(name, "ok", "no limit" if value < 0 else f"at most {value}")


def encoding(name: str) -> Iterator[Check]:
    """The encoding of file names. Pure."""
    good = name.lower().replace("-", "") == "utf8"
    hint = None if good else "export LC_ALL=C.UTF-8"
    yield Check("encoding", "ok" if good else "warning", name, hint=hint)


def write_probe(there: Path) -> Probe:
    """Make a file as exa makes what must survive: written, synced, linked to its name."""
    path = there / f".exa-doctor-{secrets.token_hex(4)}"
    try:
        create_exclusive(path, b"exa doctor\n")
        skew = path.stat().st_mtime - clock.now()
    except OSError as error:
        return Probe(f"a file cannot be made there: {error.strerror}")
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return Probe(None, skew)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
