"""What fakes of batch systems share: programs for a PATH, jobs as files, and what goes wrong.

Imported by programs that run with ``-S -E``: nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class FakeCluster:
    """One cluster in a folder. Every job is a file; so is what goes wrong."""

    program: str
    """The file that is each of the commands."""
    commands: tuple[str, ...]
    running: str
    """The state of a job whose script runs."""
    own: tuple[str, ...]
    """Beginnings of the real system's variables, of which the fake must see none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.bin = folder / "bin"

    def install(self) -> Any:
        for path in (self.jobs, self.bin):
            path.mkdir(parents=True)
        for name in self.commands:
            program = self.bin / name
            words = [sys.executable, "-S", "-E", self.program, str(self.folder), name]
            program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            program.chmod(0o755)
        return self

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(self.own)}
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}"}

    def fault(self, command: str, *kinds: str) -> None:
        """What the next calls of a command do, in order; the last stays. None = all is well."""
        path = self.folder / f"fault.{command}"
        path.write_text("\n".join(kinds))
        (self.folder / f"calls.{command}").unlink(missing_ok=True)

    def hold(self) -> None:
        """Let every job wait from now on."""
        (self.folder / "hold").touch()

    def add(self, job: dict[str, Any]) -> str:
        number = max((int(p.stem) for p in self.jobs.glob("*.json")), default=0)
        aside = self.folder / f"new.{os.getpid()}"
        aside.write_text("")
        while True:
            number += 1
            text = json.dumps({**job, "id": str(number)})
            aside.write_text(text)
            try:
                os.link(aside, self.jobs / f"{number}.json")
            except FileExistsError:
                continue
            aside.unlink()
            return str(number)

    def all(self) -> list[dict[str, Any]]:
        paths = sorted(self.jobs.glob("*.json"), key=lambda p: int(p.stem))
        return [json.loads(path.read_text()) for path in paths]

    def get(self, number: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError):
            found: dict[str, Any] = json.loads((self.jobs / f"{number}.json").read_text())
            return found
        return None

    def change(self, number: str, **fields: Any) -> None:
        job = self.get(number)
        assert job is not None
        aside = self.jobs / f".{number}.{os.getpid()}"
        aside.write_text(json.dumps({**job, **fields}))
        os.replace(aside, self.jobs / f"{number}.json")

    def calls(self) -> list[list[str]]:
        """Every command run so far, with its arguments."""
        return [record["argv"] for record in self._log()]

    def environments(self, command: str) -> list[dict[str, str]]:
        """The environment of each call of a command."""
        return [r["env"] for r in self._log() if r["argv"][0] == command]

    def _log(self) -> list[dict[str, Any]]:
        """The calls. A line without an end is still being written."""
        log = self.folder / "log"
        whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    def count(self, command: str) -> int:
        return sum(argv[0] == command for argv in self.calls())

    def end_all(self) -> None:
        """End what still runs of the jobs' scripts."""
        for job in self.all():
            if job.get("pid") and job["state"] == self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job["pid"], signal.SIGKILL)

    def next_fault(self, name: str) -> str:
        """What this call of a command is to do."""
        try:
            kinds = (self.folder / f"fault.{name}").read_text().split("\n")
        except OSError:
            return ""
        counter = self.folder / f"calls.{name}"
        with open(counter, "a") as count:
            count.write(".")
        done = counter.stat().st_size
        return kinds[min(done, len(kinds)) - 1]

    def note(self, name: str, words: list[str]) -> None:
        """Record a call."""
        line = json.dumps({"argv": [name, *words], "env": dict(os.environ)}) + "\n"
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(log, line.encode())  # in one piece: a test may be reading
        os.close(log)

    def detach(self, *words: str) -> None:
        """Run this program on in the background, for a job or for what comes late."""
        argv = [sys.executable, "-S", "-E", self.program, str(self.folder), *words]
        null = subprocess.DEVNULL
        subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)


def option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default
