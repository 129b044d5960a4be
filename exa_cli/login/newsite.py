"""Look at the machine one is on: which site it is, and what a profile of it begins with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base import clock, proc
from exa_cli.base.errors import ExaError, Invalid, Unreachable
from exa_cli.base.files import create_exclusive
from exa_cli.schedulers.queues import LiveQueue
from exa_cli.schedulers.registry import make
from exa_cli.schedulers.types import Scheduler, Settings
from exa_cli.sites.batch import NAME_FORM, NAME_PATTERN
from exa_cli.sites.load import known_sites, load_site, search_path
from exa_cli.sites.recognise import Match, recognise
from exa_cli.sites.schema import SiteProfile
from exa_cli.sites.starter import Seen, starter

SOURCES = {"slurm": "scontrol show partition", "pbs": "qstat -Qf"}
"""The batch systems that can be asked for their queues, and the command that shows them."""

TIMEOUT_S = 30.0
REMARKS = (
    ["srun", "--mpi=list"], ["lscpu"], ["nvidia-smi", "-L"], ["rocm-smi", "--showproductname"],
    ["xpu-smi", "discovery"],
)  # fmt: skip
_TELLING = re.compile(r"(?i)mpi|^model name|^socket|^core|^thread|^numa node\(|gpu|device name")


@dataclass(frozen=True)
class Detected:
    """The sites that fit, and what could not be asked."""

    matches: tuple[Match, ...]
    notes: tuple[str, ...]


def usable_kinds() -> list[str]:
    """The batch systems whose commands are on the PATH."""
    return [kind for kind in SOURCES if _batch(kind).usable() is None]


def _batch(kind: str) -> Scheduler:
    return make(kind, Settings({"timeout_s": TIMEOUT_S}, dict(os.environ)))


def detect() -> Detected:
    """Which of the known sites this machine is of."""
    live: dict[str, list[str]] = {}
    notes: list[str] = []
    for kind in usable_kinds():
        found, fault = queues_of(kind)
        if found is None:
            notes.append(f"{kind}: {fault}")
        else:
            live[kind] = [queue.name for queue in found]
    return Detected(recognise(socket.getfqdn(), _profiles(), live), tuple(notes))


def _profiles() -> dict[str, SiteProfile]:
    """Every profile that can be read; a starter or a faulty one fits no machine."""
    found: dict[str, SiteProfile] = {}
    for name in known_sites():
        try:
            found[name] = load_site(name, os.environ).profile
        except ExaError:
            continue
    return found


def queues_of(kind: str) -> tuple[tuple[LiveQueue, ...] | None, str]:
    """The running queues, or None and why there was no answer."""
    try:
        found = _batch(kind).queues()
    except Unreachable as error:
        return None, " ".join(error.what.split())
    return (found, "") if found else (None, "it named no queue")


def new(name: str, kind: str | None, out: Path | None) -> Path:
    """Write a starter profile of this machine's site; its path. Raises Invalid."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise Invalid(f"{name!r} is no name of a site", where="NAME", hint=NAME_FORM)
    chosen = kind or _only_kind()
    path = out or search_path(os.environ)[0] / f"{name}.toml"
    if path.exists():
        raise Invalid(f"{path} is there already", where=str(path), hint="-o PATH, or remove it")
    found, fault = queues_of(chosen)
    day, remarks = clock.iso()[:10], tuple(_remarks())
    source = f"`{SOURCES[chosen]}` on {platform.node()}"
    seen = Seen(
        name=name, kind=chosen, day=day, source=source, queues=found, fault=fault, remarks=remarks
    )  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = create_exclusive(path, starter(seen).encode())
    except OSError as error:
        raise Invalid(f"cannot be written: {error.strerror}", where=str(path)) from error
    if not made:
        raise Invalid(f"{path} is there already", where=str(path), hint="-o PATH, or remove it")
    return path


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
    for argv in REMARKS:
        if not shutil.which(argv[0]):
            continue
        try:
            done = proc.run(argv, timeout=TIMEOUT_S)
        except Unreachable as error:
            yield f"{argv[0]}: {error.what}"
            continue
        lines = [line for line in (done.out + done.err).splitlines() if _TELLING.search(line)]
        yield from (f"{argv[0]}: {' '.join(line.split())[:100]}" for line in lines[:8])
