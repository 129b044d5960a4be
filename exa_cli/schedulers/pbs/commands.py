"""PBS's commands, each with a time limit of its own and counted.

A server that hangs never answers, and one behind a dead link only after minutes
(recordings: openpbs/15).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exa_cli.base.errors import Refused, Unreachable
from exa_cli.base.proc import Finished
from exa_cli.schedulers import asked
from exa_cli.schedulers.pbs import environment, nodes, outcome, queues, read
from exa_cli.schedulers.pbs.read import Row
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.submission import Outcome
from exa_cli.schedulers.types import Request

_SKEW_S = 300.0
"""How much the clocks of this machine and of the server may differ."""

_PLAIN = re.compile(r"[^\"'\\\\,\x00-\x1f]*")


@dataclass(frozen=True)
class Heard:
    """What qstat said of some jobs.

    Attributes:
        rows: by the id that was asked for.
        unknown: ids that the server does not know.
        history: whether it was asked about ended jobs too; False where it keeps none.
        fault: why it said nothing.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    history: bool = True
    fault: str = ""


@dataclass(frozen=True)
class Commands:
    """The commands on the PATH of ``env``. ``timeout`` is in seconds, for each."""

    env: Mapping[str, str]
    timeout: float

    program = "qsub"

    def hand_in(self, request: Request) -> Outcome:
        """qsub, with the script on standard input. Raises proc.NotStarted or proc.TimedOut.

        ``-f``: without it qsub leaves a process behind that holds what it inherited open for a
        minute (recordings: openpbs/INDEX 3). Variables go by name, for the values are mangled.
        """
        added = dict(request.environment)
        if bad := [name for name, value in added.items() if not _PLAIN.fullmatch(value)]:
            what = f"PBS would change the value of {bad[0]} on its way to the job"
            raise Refused(what, hint="export it in the script")
        argv = ["qsub", "-f", *(("-v", ",".join(added)) if added else ())]
        env = environment.of_submission(self.env, added)
        limit = 2 * self.timeout
        done = asked.run(argv, timeout=limit, cwd=request.workdir, env=env, stdin=request.script)
        return outcome.submission(done.code, done.out, done.err)

    def named(self, name: str, since: float | None) -> list[str]:
        """Ids of this user's jobs of that name; of the ended ones those made since a time.

        Raises Unreachable.
        """
        owner = ["-u", _myself(), "-N", name]
        done = self._answered(["qselect", "-x", *owner])
        if outcome.no_history(done.err):
            done = self._answered(["qselect", *owner])
        found = read.ids(done.out)
        if not found:
            return []
        heard = self.qstat(found)
        if heard.fault:
            raise Unreachable(heard.fault)
        begin = None if since is None else since - _SKEW_S
        return [job for job in found if _is_of(heard.rows.get(job), name, begin)]

    def qstat(self, jobs: Sequence[str]) -> Heard:
        """These jobs, ended ones too where the server keeps them: one question for all."""
        if not jobs:
            return Heard()
        done = self._ask(["qstat", "-x", "-f", *jobs])
        history = not (isinstance(done, Finished) and outcome.no_history(done.err))
        if not history:
            done = self._ask(["qstat", "-f", *jobs])
        if isinstance(done, Unreachable):
            return Heard(fault=done.what)
        if outcome.unreached(done.code, done.err):
            return Heard(fault=_unreached(done).what)
        return _heard(jobs, done, history)

    def queues(self) -> tuple[LiveQueue, ...]:
        """All queues. Raises Unreachable."""
        return queues.queues(self._answered(["qstat", "-Q", "-f"]).out)

    def nodes(self) -> tuple[LiveNode, ...]:
        """All nodes. Raises Unreachable, also where the site does not let users ask."""
        return nodes.nodes(self._answered(["pbsnodes", "-a", "-v"]).out)

    def qdel(self, job: str) -> Finished:
        """End a job. Raises Unreachable when nobody answered."""
        return self._answered(["qdel", job], fine=False)

    def qsig(self, name: str, job: str) -> Finished:
        """Signal a job. Raises Unreachable when nobody answered."""
        return self._answered(["qsig", "-s", name, job], fine=False)

    def _answered(self, argv: list[str], *, fine: bool = True) -> Finished:
        """A command's end. Raises Unreachable when it got no answer, or, if it must be ``fine``,
        when it failed."""
        done = self._ask(argv)
        if isinstance(done, Unreachable):
            raise done
        if outcome.unreached(done.code, done.err) or (fine and done.code != 0):
            raise _unreached(done)
        return done

    def _ask(self, argv: list[str]) -> Finished | Unreachable:
        env = environment.of_question(self.env)
        try:
            return asked.run(argv, timeout=self.timeout, cwd=Path("/"), env=env)
        except Unreachable as error:
            return error


def _myself() -> str:
    """Raises Unreachable when the user directory does not answer."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise Unreachable(f"nobody knows a user {os.getuid()}", hint="ask again") from error


def _heard(jobs: Sequence[str], done: Finished, history: bool) -> Heard:
    printed = {row.job_id: row for row in read.qstat(done.out)}
    rows = {job: printed[one] for job, one in read.by_id(jobs, printed).items()}
    unknown = read.by_id(jobs, outcome.unknown_jobs(done.err))
    return Heard(rows, frozenset(unknown), history)


def _is_of(row: Row | None, name: str, begin: float | None) -> bool:
    """Whether a job has exactly this name and, if it has ended, is young enough."""
    if row is None or row.name != name:
        return False
    if row.state not in ("F", "X") or begin is None or row.created is None:
        return True
    return row.created >= begin


def _unreached(done: Finished) -> Unreachable:
    words = outcome.said(done.err) or f"it ended with status {done.code}"
    return Unreachable(f"{done.argv[0]}: {words}", where=" ".join(done.argv[:6]))
