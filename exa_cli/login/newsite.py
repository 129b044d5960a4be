"""Look at the machine one is on: which site it is, and what a profile of it begins with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base import clock, proc, resources
from exa_cli.base.errors import ExaError, Invalid, Unreachable
from exa_cli.base.files import create_exclusive
from exa_cli.login.sites import nodes_of
from exa_cli.schedulers import registry
from exa_cli.schedulers.queues import LiveQueue
from exa_cli.schedulers.types import Scheduler, Settings
from exa_cli.sites.load import find_site, known_sites, search_path
from exa_cli.sites.nodelines import Looked
from exa_cli.sites.recognise import Match, recognise
from exa_cli.sites.schema import SiteProfile, fill_ins, read
from exa_cli.sites.starter import Seen, starter

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
NAME_FORM = "up to 64 letters, digits, _ and -, the first a letter or digit"
"""Narrower than a profile's own: what ends in .toml would be taken for a path by --site."""

TIMEOUT_S = 30.0
SCRATCH = ("/local/scratch", "/localscratch", "/scratch/local", "/mnt/nvme", "/mnt/bb", "/tmp")
SCRATCH_VARIABLES = ("SLURM_TMPDIR", "LOCAL_SCRATCH", "TMPDIR")
REMARKS = {
    ("srun", "--mpi=list"): re.compile(r"\S"),
    ("lscpu",): re.compile(r"(?i)^model name|^socket|^core|^thread|^numa node\("),
    ("nvidia-smi", "-L"): re.compile(r"(?i)gpu"),
    ("rocm-smi", "--showproductname"): re.compile(r"(?i)gpu"),
    ("xpu-smi", "discovery"): re.compile(r"(?i)gpu|device name"),
}
"""Commands whose answer a person wants to see beside the profile, and which lines of it."""


@dataclass(frozen=True)
class Detected:
    """The sites that fit; what could not be asked or read; and what was seen: the host's name, and
    the batch systems whose commands are on the PATH."""

    matches: tuple[Match, ...]
    notes: tuple[str, ...]
    host: str
    schedulers: tuple[str, ...]


def usable_kinds() -> list[str]:
    """The batch systems that show what they have and whose commands are on the PATH."""
    kinds = [kind for kind, found in registry.known().items() if found.shows]
    return [kind for kind in kinds if _batch(kind).usable() is None]


def _batch(kind: str) -> Scheduler:
    return registry.make(kind, Settings({"timeout_s": TIMEOUT_S}, dict(os.environ)))


def detect() -> Detected:
    """Which of the known sites this machine is of."""
    live: dict[str, list[str]] = {}
    profiles, notes = _profiles()
    kinds = usable_kinds()
    for kind in kinds:
        found, fault = queues_of(kind)
        if found is None:
            notes.append(f"{kind}: {fault}")
        else:
            live[kind] = [queue.name for queue in found]
    host = socket.getfqdn()
    matches = recognise(host, os.environ, profiles, live)
    return Detected(matches, tuple(notes), host, tuple(kinds))


def _profiles() -> tuple[dict[str, SiteProfile], list[str]]:
    """Every profile that is whole, and what is to be said of faulty ones. A starter, and one that
    is still to be filled in, is of no machine yet."""
    found: dict[str, SiteProfile] = {}
    faulty: list[str] = []
    for name, path in known_sites().items():
        try:
            doc, _ = find_site(str(path), os.environ)
            if not fill_ins(doc.values):
                found[name] = read(doc)
        except ExaError:
            faulty.append(f"the profile {name} is faulty and left out: exa site check {name}")
    return found, faulty


def queues_of(kind: str) -> tuple[tuple[LiveQueue, ...] | None, str]:
    """The running queues, or None and why there was no answer."""
    try:
        found = _batch(kind).queues()
    except Unreachable as error:
        return None, " ".join(error.what.split())
    return (found, "") if found else (None, "it named no queue")


def new(name: str, kind: str | None, out: Path | None) -> Path:
    """Write a starter profile of this machine's site; its path. Raises Invalid."""
    if not re.fullmatch(NAME, name):
        raise Invalid(f"{name!r} is no name of a site", where="NAME", hint=NAME_FORM)
    chosen = kind or _only_kind()
    path = out or search_path(os.environ)[0] / f"{name}.toml"
    if path.exists():
        raise Invalid(f"{path} is there already", where=str(path), hint="-o PATH, or remove it")
    text = starter(_seen(name, chosen))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = create_exclusive(path, text.encode())
    except OSError as error:
        raise Invalid(f"cannot be written: {error.strerror}", where=str(path)) from error
    if not made:
        raise Invalid(f"{path} is there already", where=str(path), hint="-o PATH, or remove it")
    return path


def _seen(name: str, kind: str) -> Seen:
    """Look around: all that is written into the profile is found out here."""
    shows = registry.registration(kind).shows
    if shows is None:
        raise Invalid(f"{kind} has no queues and nodes to ask for", where="--scheduler")
    queues, fault = queues_of(kind)
    nodes, no_nodes = nodes_of(_batch(kind))
    here = platform.node()
    return Seen(
        name=name,
        kind=kind,
        parent=resources.read("sites", f"{kind}.toml"),
        day=clock.iso()[:10],
        source=f"`{shows.queues}` on {here}",
        queues=queues,
        fault=fault,
        nodes=Looked(nodes, f"`{shows.nodes}` on {here}", no_nodes),
        remarks=tuple(_remarks()),
        scratch=tuple(_scratch(os.environ)),
    )


def _failure(done: proc.Finished) -> str:
    words = " ".join((done.err or done.out).split())[:200]
    return f"{done.argv[0]} ended with status {done.code}" + (f": {words}" if words else "")


def _scratch(env: Mapping[str, str]) -> Iterator[str]:
    """Directories that may be storage of a node's own, as far as this machine tells."""
    named = [f"${name} = {env[name]}" for name in SCRATCH_VARIABLES if env.get(name)]
    yield from (*named, *(path for path in SCRATCH if os.path.isdir(path)))


def _only_kind() -> str:
    kinds = usable_kinds()
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise Invalid(f"{' and '.join(kinds)} are both here", hint="say which: --scheduler KIND")
    what = "no batch system's commands are on the PATH"
    raise Invalid(what, hint="on its login node, perhaps after loading its module; or --scheduler")


def _remarks() -> Iterator[str]:
    """Telling lines of the commands that are here. A login node is not a compute node."""
    for argv, telling in REMARKS.items():
        if not shutil.which(argv[0]):
            continue
        try:
            done = proc.run(argv, timeout=TIMEOUT_S)
        except Unreachable as error:
            yield error.what
            continue
        if done.code != 0:
            yield _failure(done)
            continue
        lines = [line for line in (done.out + done.err).splitlines() if telling.search(line)]
        yield from (f"{argv[0]}: {' '.join(line.split())[:100]}" for line in lines[:8])
