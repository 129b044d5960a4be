"""Slurm's commands, each with a time limit of its own and counted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.errors import Unreachable
from exa_cli.base.proc import Finished
from exa_cli.schedulers import asked
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.slurm import environment, nodes, outcome, partitions, read
from exa_cli.schedulers.slurm.chain import Heard
from exa_cli.schedulers.slurm.read import Row
from exa_cli.schedulers.submission import Outcome
from exa_cli.schedulers.types import Request

_AT_ONCE = 1000
"""Ids on one command line of sacct; an argument has at most 128 KiB (execve(2))."""

_SINGLY = 4
"""Up to so many jobs are asked for one by one; more by one request for all the cluster's."""

_WINDOW_S = 30 * 86400.0
"""How far back a name is looked for when nobody says since when it has been in use."""

_SKEW_S = 300.0
"""How much the clocks of this machine and of the controller may differ."""


@dataclass(frozen=True)
class Commands:
    """The commands on the PATH of ``env``. ``timeout`` is in seconds, for each."""

    env: Mapping[str, str]
    timeout: float

    program = "sbatch"

    def hand_in(self, request: Request) -> Outcome:
        """sbatch. Raises proc.NotStarted or proc.TimedOut."""
        env = environment.of_submission(self.env, dict(request.environment))
        argv = ["sbatch", "--parsable"]
        # A busy controller makes sbatch itself wait and try again, so it gets longer.
        limit = 2 * self.timeout
        done = asked.run(argv, timeout=limit, cwd=request.workdir, env=env, stdin=request.script)
        return outcome.submission(done.code, done.out, done.err)

    def squeue(self) -> Heard:
        """All jobs of this user that the controller knows, ended ones too.

        By user, not by id: that is one request whatever the number of ids, and the controller
        sends nobody else's jobs. ``-a``: those in hidden partitions too.
        """
        argv = ["squeue", "-a", "-t", "all", "-u", str(os.getuid()), "-o", read.SQUEUE_FORMAT]
        return self._heard(argv, read.squeue)

    def named(self, name: str, since: float | None) -> list[str]:
        """Ids of this user's jobs of that name; of the ended ones those submitted since a time.

        Raises Unreachable.
        """
        owner = ["-u", str(os.getuid()), "-n", name]
        done = self._ask(["squeue", "-a", "-t", "all", *owner, "-o", read.NAMES_FORMAT])
        if not _answered(done):
            raise _unreached(done)
        return read.named(done.out, name, _begin(since), "squeue")

    def sacct(self, jobs: Sequence[str]) -> Heard:
        """What accounting kept of these jobs; of a requeued one its last run."""
        rows: dict[str, Row] = {}
        for chunk in _chunks(jobs, _AT_ONCE):
            argv = ["sacct", "-X", "-P", "-j", ",".join(chunk), "-o", read.SACCT_FIELDS]
            heard = self._heard(argv, read.sacct)
            if heard.fault or heard.absent:
                return heard
            rows.update(heard.rows)
        return Heard(rows)

    def sacct_named(self, name: str, since: float | None) -> list[str] | None:
        """The same from accounting; None where there is none. Raises Unreachable."""
        begin = _begin(since)
        owner = ["-u", str(os.getuid()), "--name", name, "-S", clock.iso(begin)[:19]]
        done = self._ask(["sacct", "-X", "-P", *owner, "-o", read.SACCT_NAMES])
        if done.code != 0 and outcome.no_accounting(done.err):
            return None
        if not _answered(done):
            raise _unreached(done)
        return read.named(done.out, name, begin, "sacct")

    def scontrol(self, jobs: Sequence[str]) -> Heard:
        """These jobs, from the controller. One that is in no row is certainly not known to it."""
        if len(jobs) > _SINGLY:
            return self._heard(["scontrol", "-a", "-o", "show", "job"], read.scontrol)
        rows: dict[str, Row] = {}
        for job in jobs:
            heard = self._heard(["scontrol", "-a", "-o", "show", "job", job], read.scontrol)
            if heard.fault:
                return Heard(rows, heard.fault)
            rows.update(heard.rows)
        return Heard(rows)

    def partitions(self) -> tuple[LiveQueue, ...]:
        """All partitions. Raises Unreachable."""
        done = self._ask(["scontrol", "-a", "-o", "show", "partition"])
        if not _answered(done):
            raise _unreached(done)
        return partitions.partitions(done.out)

    def nodes(self) -> tuple[LiveNode, ...]:
        """All nodes of all partitions. Raises Unreachable."""
        done = self._ask(["sinfo", "-a", "-h", "-N", "-o", nodes.FORMAT])
        if not _answered(done):
            raise _unreached(done)
        return nodes.nodes(done.out)

    def scancel(self, *words: str) -> Finished:
        """End or signal a job. Raises Unreachable when nobody answered."""
        done = self._ask(["scancel", *words])
        if done.code != 0 and outcome.unreached(done.err):
            raise _unreached(done)
        return done

    def requeue(self, job: str) -> Finished:
        """Put a job back into its queue. Raises Unreachable when nobody answered."""
        done = self._ask(["scontrol", "requeue", job])
        if done.code != 0 and outcome.unreached(done.err):
            raise _unreached(done)
        return done

    def _heard(self, argv: list[str], reader: read.Reader) -> Heard:
        try:
            done = self._ask(argv)
            if _answered(done):
                return Heard(read.by_job(reader(done.out)))
        except Unreachable as error:
            return Heard(fault=error.what)
        if outcome.unknown_job(done.err):
            return Heard()
        if outcome.no_accounting(done.err):
            return Heard(absent=True)
        return Heard(fault=_unreached(done).what)

    def _ask(self, argv: list[str]) -> Finished:
        return asked.run(
            argv, timeout=self.timeout, cwd=Path("/"), env=environment.of_question(self.env)
        )


def _answered(done: Finished) -> bool:
    return done.code == 0 and not outcome.spoiled(done.err)


def _unreached(done: Finished) -> Unreachable:
    words = outcome.said(done.err) or f"it ended with status {done.code}"
    return Unreachable(f"{done.argv[0]}: {words}", where=" ".join(done.argv))


def _begin(since: float | None) -> float:
    return clock.now() - _WINDOW_S if since is None else since - _SKEW_S


def _chunks(items: Sequence[str], size: int) -> Iterable[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
