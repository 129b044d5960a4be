"""The run directory: where each file of a run lies, and how a run comes to exist.

A run directory is filled under a temporary name and renamed: it exists whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Damaged, Invalid
from exa_cli.base.files import fsync_dir, read_json, write_json, write_text
from exa_cli.spec.ends import UNSAID

RUNS_VARIABLE = "EXA_RUNS"


def runs_root() -> Path:
    """``$EXA_RUNS``, or ``./runs``."""
    return Path(os.environ.get(RUNS_VARIABLE) or "runs").absolute()


@dataclass(frozen=True)
class RunDir:
    """Paths of a run. ``path`` is absolute; its last part is the run's id, ``NAME-xxxx``."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def name(self) -> str:
        return self.run_id.rpartition("-")[0]

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics"

    def attempt(self, attempt: str) -> Path:
        return self.path / "attempts" / attempt

    def life(self, attempt: str, life: int) -> Path:
        return self.attempt(attempt) / "lives" / str(life)

    def tag(self, attempt: str) -> str:
        """The name a job carries at the scheduler; what a lost submission is found again by."""
        return f"exa-{self.run_id}-{attempt}"

    def plan(self) -> dict[str, Any]:
        """The frozen plan, with what an exa of before did not write. Raises Damaged when it
        cannot be read."""
        plan = self._frozen("plan.json", _plan_shape)
        return {**plan, "policy": {**UNSAID, **plan["policy"]}}

    def request(self, attempt: str) -> dict[str, Any]:
        """What an attempt asks the scheduler for. Raises Damaged when it cannot be read."""
        return self._frozen(f"attempts/{attempt}/request.json", lambda _: _REQUEST)

    def _frozen(self, name: str, shape: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        path = self.path / name
        try:
            frozen: dict[str, Any] = read_json(path)
            if lacking := _lacking(frozen, shape(frozen)):
                raise ValueError(lacking)
        except (OSError, ValueError) as error:
            hint = "the run cannot go on without it; restore the file or submit a new run"
            raise Damaged(f"cannot read {name}: {error}", where=str(path), hint=hint) from error
        return frozen


_PLAN = {
    "scheduler": str,
    "env": dict,
    "train": {"steps": int},
    "parallel": {"nodes": int, "ranks_per_node": int, "world": int},
    "policy": {"stop_before_s": int},
}
_TRAINER_PLAN = {
    **_PLAN,
    "model": dict,
    "data": dict,
    "train": {"steps": int, "seq_len": int, "global_batch": int},
}
_PROGRAM_PLAN = {**_PLAN, "program": {"argv": list, "directory": str}}
_REQUEST = {"attempt": str, "tag": str, "scheduler": str, "nodes": int, "walltime_s": int}
"""What of a frozen file the login node and the supervisor cannot do without."""


def _plan_shape(plan: Any) -> dict[str, Any]:
    """What a plan must have, of exa's trainer or of a program of the user's own."""
    own = isinstance(plan, dict) and "program" in plan
    return _PROGRAM_PLAN if own else _TRAINER_PLAN


def _lacking(value: Any, shape: dict[str, Any]) -> str | None:
    """What a frozen file lacks of its shape, in words."""
    if not isinstance(value, dict):
        return "it is no JSON object"
    for key, wanted in shape.items():
        if isinstance(wanted, dict):
            if inner := _lacking(value.get(key), wanted):
                return f"{key}: {inner}"
        elif not isinstance(value.get(key), wanted):
            return f"{key} is missing or of another type"
    return None


def attempt_name(number: int) -> str:
    return f"{number:03d}"


def attempts(run: RunDir) -> list[str]:
    """Names of the attempts that have a directory, oldest first."""
    folder = run.path / "attempts"
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(name for name in names if re.fullmatch(r"\d{3,}", name))


def new_id(name: str, *, unique: bool) -> str:
    """A run's id, ``NAME-xxxx``.

    When the user gave the name (``unique``), the suffix is a function of it: one name is one
    directory, and the rename that makes the second fails however close the two come.
    """
    suffix = hashlib.sha256(name.encode()).hexdigest()[:4] if unique else secrets.token_hex(2)
    return f"{name}-{suffix}"


def create(root: Path, run_id: str, files: dict[str, Any]) -> RunDir:
    """Make a run directory with its frozen files, whole or not at all.

    Args:
        root: the folder of runs; made when missing.
        run_id: from `new_id`.
        files: file name → text, or a value written as JSON.

    Raises:
        Invalid: the name is taken, or the folder cannot be written.
    """
    target = root / run_id
    temporary = root / f".{run_id}.{secrets.token_hex(4)}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _fill(temporary, files)
        os.rename(temporary, target)
        fsync_dir(root)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _cannot_create(error, target) from error
    return RunDir(target)


def _fill(folder: Path, files: dict[str, Any]) -> None:
    for part in ("journal", "attempts", "checkpoints/epochs", "metrics"):
        (folder / part).mkdir(parents=True)
    for name, content in files.items():
        write = write_text if isinstance(content, str) else write_json
        write(folder / name, content)


def _cannot_create(error: OSError, target: Path) -> Invalid:
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        name = target.name.rpartition("-")[0]
        return Invalid(
            f"a run named {name} exists already",
            where=str(target),
            hint=f"exa resume {name} continues it; choose another --name for a new one",
        )
    return Invalid(
        f"cannot make the run directory: {error.strerror}",
        where=str(target),
        hint=f"${RUNS_VARIABLE} names the folder of runs; it must be writable",
    )
