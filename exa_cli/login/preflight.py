"""Look at the machine for `exa_cli.plan.preflight`, and refuse what it finds at fault.

Looking creates nothing and asks no batch system.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.base.files import read_json
from exa_cli.base.talk import warn
from exa_cli.login import draft as drafts
from exa_cli.login import rehearse
from exa_cli.login.draft import Draft
from exa_cli.plan.freeze import DataFacts
from exa_cli.plan.preflight import Check, Data, Facts, Place, failed, preflight
from exa_cli.plan.sizes import sizes
from exa_cli.runs.rundir import RunDir, new_id
from exa_cli.script.ask import Ask
from exa_cli.script.render import Script
from exa_cli.sites.binding import Bound
from exa_cli.sites.binding import choose as choose_binding
from exa_cli.sites.choice import Choice, Job, Rejected, choose, refusals
from exa_cli.spec import times
from exa_cli.spec.declare import AUTO

OF_A_JOB = frozenset({"account", "filesystems", "job name", "after"})
"""Checks of what is asked of a batch system: moot in an allocation that is there already."""


@dataclass(frozen=True)
class Written:
    """What would be handed in: plan.json, request.json and the script of the first attempt."""

    plan: dict[str, Any]
    request: dict[str, Any]
    script: Script


@dataclass(frozen=True)
class Preview:
    """A run as it would be submitted; what could not be made is None, and why is in ``checks``."""

    made: Draft
    plan: dict[str, Any] | None
    choice: Choice | None
    written: Written | None
    job: Job
    checks: tuple[Check, ...]

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The queues that the job does not go to, with the reasons."""
        if self.choice:
            return self.choice.rejected
        return refusals(self.made.profile, self.job, _given(self.made.run.resources.queue))

    @property
    def unchecked(self) -> list[str]:
        """Names of what was not checked."""
        return [check.name for check in self.checks if check.verdict == "not checked"]

    def accepted(self) -> Written:
        """What would be handed in. Raises Invalid with every fault there is."""
        faults: list[ExaError] = [c.error() for c in self.checks if c.verdict == "fault"]
        if faults or self.written is None:
            raise several(Invalid, faults)
        return self.written

    def warn(self) -> None:
        """Say what may go wrong, on stderr."""
        for check in self.checks:
            if check.verdict == "warning":
                warn(f"{check.name}: {check.error()}")


def preview(made: Draft, run: RunDir, *, look: bool = True) -> Preview:
    """Plan a run and check it, without creating anything.

    Args:
        made: the draft.
        run: where it would be.
        look: whether filesystems are looked at; else that is among what was not checked.

    Raises NotFound for a preset or queue that does not exist, Damaged for damaged data.
    """
    faults: list[Check] = []
    data = plan = choice = None
    if look and made.named:
        with _noting("name", faults):
            _refuse_taken(run.path.parent, made.name)
    with _noting("data", faults):
        data = drafts.expected_data(made)
    with _noting("layout", faults):
        plan = made.plan(run.run_id, None if made.program else data or _no_data(made))
    job = _job(made, plan)
    if not made.here:
        with _noting("queue", faults):
            choice = choose(made.profile, job, _given(made.run.resources.queue))
    placed = choice or made.here
    written = _write(made, run, plan, faults) if plan and placed else None
    rendered = written is not None if plan and placed else None
    checks = preflight(_facts(made, run, plan, data, look, rendered))
    if made.here:
        checks = tuple(check for check in checks if check.name not in OF_A_JOB)
    tried = _tried(made, run, written, look)
    return Preview(made, plan, choice, written, job, (*faults, *checks, *tried))


def _tried(made: Draft, run: RunDir, written: Written | None, look: bool) -> Iterator[Check]:
    """Whether what the script does before exa begins works on this node."""
    if written is None:
        return
    if not look:
        yield Check(rehearse.NAME, "not checked", "modules and prologue were not tried")
    elif not made.run.script.rehearse:
        yield Check(rehearse.NAME, "not checked", "script.rehearse = false")
    elif not made.profile.modules.on_login:
        says = f"modules of {made.profile.site.name} do not load on login nodes"
        yield Check(rehearse.NAME, "not checked", says)
    else:
        yield rehearse.rehearse(drafts.parts(made, run, written.request, written.plan))


@contextlib.contextmanager
def _noting(name: str, faults: list[Check]) -> Iterator[None]:
    """Turn what is invalid into a fault, and go on to look for more."""
    try:
        yield
    except Invalid as error:
        faults += [failed(name, part) for part in error.parts or (error,)]


def _write(made: Draft, run: RunDir, plan: dict[str, Any], faults: list[Check]) -> Written | None:
    """The script; None, and why, when it cannot be written."""
    with _noting("script", faults):
        request = drafts.request(made, run, "001", plan)
        return Written(plan, request, drafts.script(made, run, request, plan))
    return None


def _refuse_taken(root: Path, name: str) -> None:
    """An early answer before data is prepared; the rename in `create` is the one that counts."""
    if (root / new_id(name, unique=True)).exists() or list(root.glob(f"{name}-????")):
        raise Invalid(
            f"a run named {name} exists already",
            where=str(root),
            hint=f"exa resume {name} continues it; choose another --name for a new one",
        )


def _given(value: Any) -> Any:
    """A value of the run file; None for "auto"."""
    return None if value == AUTO else value


def _no_data(made: Draft) -> DataFacts:
    """Stands for data that is not there, so that the rest can be planned and looked at."""
    return DataFacts(made.run.data.path, made.run.data.vocab, None)


def _job(made: Draft, plan: dict[str, Any] | None) -> Job:
    asked = made.run.resources
    nodes = plan["parallel"]["nodes"] if plan else _given(asked.nodes) or made.profile.node.count
    return Job(nodes + asked.spares, times.seconds(asked.walltime))


def _facts(
    made: Draft,
    run: RunDir,
    plan: dict[str, Any] | None,
    data: DataFacts | None,
    look: bool,
    rendered: bool | None,
) -> Facts:
    return Facts(
        profile=made.profile,
        resources=made.run.resources,
        doc=made.doc,
        tag=run.tag("001"),
        stop_before_s=plan["policy"]["stop_before_s"] if plan else None,
        sizes=sizes(plan) if plan else None,
        data=_seen_data(data) if data else None,
        run_place=look_at(run.path.parent) if look else None,
        data_place=look_at(Path(data.dir)) if look and data else None,
        rendered=rendered,
        program=made.program,
        binding=_binding(made, plan) if plan else None,
        expressible=frozenset(field.name for field in dataclasses.fields(Ask)),
    )


def _binding(made: Draft, plan: dict[str, Any]) -> Bound:
    parallel = plan["parallel"]
    asked = made.run.parallel.binding
    return choose_binding(made.profile.binding, parallel["ranks_per_node"], asked)


def _seen_data(facts: DataFacts) -> Data:
    prepared = facts.data_id is not None
    size = staged_bytes(Path(facts.dir)) if prepared else None
    return Data(path=facts.dir, prepared=prepared, bytes=size)


def staged_bytes(folder: Path) -> int | None:
    """Bytes of prepared data that each node gets: shards and manifest; None when unreadable."""
    path = folder / "manifest.json"
    try:
        splits = read_json(path)["splits"].values()
        shards = sum(shard["bytes"] for split in splits for shard in split["shards"])
        return int(shards) + path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def look_at(path: Path) -> Place:
    """What can be seen of a directory that exists or is to be made."""
    there, trouble = _nearest_there(path)
    if trouble:
        return Place(path=str(path), there=str(there), trouble=trouble)
    free_bytes, free_files, unseen = _free(there)
    return Place(
        path=str(path),
        there=str(there),
        readable=os.access(there, os.R_OK | os.X_OK),
        writable=os.access(there, os.W_OK | os.X_OK),
        free_bytes=free_bytes,
        free_files=free_files,
        unseen=unseen,
    )


def _nearest_there(path: Path) -> tuple[Path, str | None]:
    """The path, or the nearest above it that exists; and why it is of no use."""
    for place in (path, *path.parents):
        try:
            mode = place.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return place, f"{place}: {error.strerror}"
        return place, None if stat.S_ISDIR(mode) else f"{place} is a file"
    return path, "nothing of the path exists"


def _free(there: Path) -> tuple[int | None, int | None, str | None]:
    """Free bytes and files for us (f_bavail, f_favail), or why they cannot be told.

    A filesystem that claims to have no blocks, or no inodes, in all does not count them.
    """
    try:
        status = os.statvfs(there)
    except OSError as error:
        return None, None, f"{there}: {error.strerror}"
    free_bytes = status.f_bavail * status.f_frsize if status.f_blocks else None
    return free_bytes, status.f_favail if status.f_files else None, None
