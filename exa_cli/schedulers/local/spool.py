"""The files of the jobs: ``SPOOL/jobs/N.HOST/``, each file written once, by one writer.

| file | writer | when |
|---|---|---|
| job.json, script | the submitter | before the directory has its name |
| claim.json | the runner, or a canceller | before the script starts; the first one decides |
| started.json | the runner | before the script runs: without it, it never has |
| cancel.json | a canceller | at any time |
| ended.json | the runner, or whoever finds it gone | last |
| output | the script | what it prints before it redirects itself |
| runner.log | the runner | its own failures |

The directory's name is the job's id. It has the host in it because a home directory, and so
the spool, is often shared by machines that cannot see each other's processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from exa_cli.base import clock, files
from exa_cli.base.errors import Damaged, NotFound, Unreachable
from exa_cli.base.home import home
from exa_cli.base.proc import Process
from exa_cli.schedulers.local.directives import Demand
from exa_cli.schedulers.local.facts import Ended

T = TypeVar("T")

VARIABLE = "EXA_LOCAL_SPOOL"
KEEP_SECONDS = 7 * 86400
KEEP_JOBS = 1000
_LOOK_AT = 3
_ASIDE_SECONDS = 3600


def root(env: Mapping[str, str]) -> Path:
    """``$EXA_LOCAL_SPOOL``, or ``exa/local`` under the XDG state directory."""
    if named := env.get(VARIABLE):
        return Path(named).absolute()
    state = Path(env.get("XDG_STATE_HOME") or home(env) / ".local" / "state")
    return state.absolute() / "exa" / "local"


def host() -> str:
    return os.uname().nodename


@dataclass(frozen=True)
class Job:
    """What was submitted. ``workdir`` and ``environment`` are those of the script."""

    demand: Demand
    workdir: str
    environment: dict[str, str]
    submitted: float


@dataclass(frozen=True)
class Claim:
    """Who decides over a job: the runner on ``host``, or nobody when it was cancelled before."""

    host: str
    runner: Process | None


@dataclass(frozen=True)
class Entry:
    """One job's directory."""

    path: Path

    @property
    def job_id(self) -> str:
        return self.path.name

    @property
    def host(self) -> str:
        return self.path.name.partition(".")[2]

    @property
    def script(self) -> Path:
        return self.path / "script"

    @property
    def output(self) -> Path:
        return self.path / "output"

    @property
    def log(self) -> Path:
        return self.path / "runner.log"

    def job(self) -> Job:
        """What was submitted. Raises NotFound, Damaged or Unreachable."""
        found = self._read("job.json", _job)
        if found is None:
            raise NotFound("no such job in the spool", where=str(self.path))
        return found

    def claim(self) -> Claim | None:
        """Who claimed the job, or None. Raises Damaged or Unreachable."""
        return self._read("claim.json", lambda raw: Claim(raw["host"], _process(raw["runner"])))

    def take(self, runner: Process | None) -> bool:
        """Claim the job; True for exactly one of any number of callers."""
        record = {"schema": 1, "host": host(), "runner": runner and runner.to_dict()}
        return self._create("claim.json", {**record, "at": clock.iso()})

    def started(self) -> tuple[float, Process | None] | None:
        """When the script was started and as which process. Raises Damaged or Unreachable."""
        return self._read(
            "started.json", lambda raw: (clock.parse_iso(raw["at"]), _process(raw["process"]))
        )

    def record_start(self, process: Process | None) -> None:
        record = {"schema": 1, "at": clock.iso(), "process": process and process.to_dict()}
        files.write_json(self.path / "started.json", record)

    def cancelled(self) -> bool:
        return (self.path / "cancel.json").exists()

    def ask_cancel(self) -> None:
        self._create("cancel.json", {"schema": 1, "at": clock.iso()})

    def ended(self) -> Ended | None:
        """The record of the end, or None. Raises Damaged or Unreachable."""
        return self._read("ended.json", _ended)

    def record_end(self, ended: Ended) -> bool:
        """Record the end; False when it is recorded already."""
        return self._create("ended.json", {"schema": 1, **asdict(ended), "at": clock.iso(ended.at)})

    def _create(self, name: str, record: Any) -> bool:
        return files.create_exclusive(self.path / name, files.to_json(record).encode())

    def _read(self, name: str, make: Callable[[Any], T]) -> T | None:
        where = str(self.path / name)
        try:
            return make(files.read_json(self.path / name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreachable(f"cannot read the spool: {error.strerror}", where=where) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged("a record of the spool cannot be read", where=where) from error


def _process(raw: Any) -> Process | None:
    return Process.from_dict(raw) if raw else None


def _job(raw: Any) -> Job:
    demand = Demand(**raw["demand"])
    return Job(demand, raw["workdir"], dict(raw["environment"]), raw["submitted"])


def _ended(raw: Any) -> Ended:
    fields = {k: raw[k] for k in ("reason", "exit_code", "signal", "words")}
    return Ended(clock.parse_iso(raw["at"]), **fields, left=tuple(raw["left"]))


@dataclass(frozen=True)
class Spool:
    """All jobs of one user, of any machine that shares the directory."""

    path: Path

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def entry(self, job_id: str) -> Entry:
        """The directory of a job. Raises NotFound for an id it does not hold."""
        path = self.jobs / job_id
        if number(job_id) is None or not path.is_dir():
            raise NotFound(f"the local spool has no job {job_id}", where=str(self.jobs))
        return Entry(path)

    def entries(self) -> list[Entry]:
        """All jobs, oldest first. Raises Unreachable when the spool cannot be listed."""
        try:
            names = os.listdir(self.jobs)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unreachable(f"cannot list the spool: {error}", where=str(self.jobs)) from error
        ids = sorted((n, name) for name in names if (n := number(name)) is not None)
        return [Entry(self.jobs / name) for _, name in ids]

    def add(self, script: str, job: Job) -> Entry:
        """Spool a job: afterwards its directory is there whole; before, not at all.

        Raises OSError.
        """
        self.jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.jobs / f".new-{secrets.token_hex(6)}"
        new.mkdir(mode=0o700)
        try:
            _fill(new, script, job)
            path = self._name(new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        files.fsync_dir(self.jobs)
        return Entry(path)

    def _name(self, new: Path) -> Path:
        """Give it the next free number. Renaming onto a filled directory fails (rename(2))."""
        mine = [e for e in self.entries() if e.host == host()]
        following = (number(mine[-1].job_id) or 0) + 1 if mine else 1
        while True:
            path = self.jobs / f"{following}.{host()}"
            try:
                os.rename(new, path)
            except OSError:
                if not path.exists():
                    raise
                following += 1
            else:
                return path

    def prune(self, over: Callable[[Entry], float | None]) -> None:
        """Remove old ended jobs of this machine, and what killed submissions left.

        A few of the oldest are looked at each time, so a submission does not get slower with
        the number of jobs.

        Args:
            over: when a job ended, in seconds since the epoch; None while it has not.
        """
        mine = [entry for entry in self.entries() if entry.host == host()]
        excess = max(0, len(mine) - KEEP_JOBS)
        for entry in mine[: max(excess, _LOOK_AT)]:
            ended = over(entry)
            old = ended is not None and ended < clock.now() - KEEP_SECONDS
            # The newest stays in any case: numbers would start again without it.
            if entry != mine[-1] and (old or (ended is not None and entry in mine[:excess])):
                self._remove(entry)
        for aside in self._aside():
            shutil.rmtree(aside, ignore_errors=True)

    def _remove(self, entry: Entry) -> None:
        """Under another name first: a half removed job must not be read as one."""
        aside = self.jobs / f".old-{secrets.token_hex(6)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(entry.path, aside)
            shutil.rmtree(aside, ignore_errors=True)

    def _aside(self) -> Iterator[Path]:
        for path in [*self.jobs.glob(".new-*"), *self.jobs.glob(".old-*")]:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < clock.now() - _ASIDE_SECONDS:
                    yield path


def number(job_id: str) -> int | None:
    """The number of an id ``N.HOST``, or None for what is none."""
    digits, dot, name = job_id.partition(".")
    return int(digits) if digits.isdecimal() and dot and name and "/" not in name else None


def _fill(folder: Path, script: str, job: Job) -> None:
    files.write_text(folder / "script", script)
    (folder / "script").chmod(0o700)
    files.write_json(folder / "job.json", {"schema": 1, **asdict(job)})
