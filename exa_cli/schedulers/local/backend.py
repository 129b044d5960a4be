"""The batch system ``local``, as `exa_cli.schedulers.types.Scheduler`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import exa_cli
from exa_cli.base import clock, proc
from exa_cli.base.errors import Damaged, ExaError, NotFound, Refused, Unreachable
from exa_cli.schedulers.local import directives, environment, facts, processes, spool
from exa_cli.schedulers.local.facts import Ended, Facts
from exa_cli.schedulers.local.spool import Entry, Job, Spool
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.registry import register
from exa_cli.schedulers.types import EndReason, JobState, NotSubmitted, Request, Settings, Submitted

_START_SECONDS = 60.0
_KILL_SECONDS = 10.0
_SKEW_S = 300.0
"""How much the clocks of machines that share a spool may differ."""


@register("local")
class Local:
    """Jobs on this machine, each under a detached runner. See the package's docstring."""

    kind = "local"

    def __init__(self, settings: Settings) -> None:
        self._env = settings.env
        self._spool = Spool(spool.root(settings.env))

    def usable(self) -> str | None:
        """None on a Linux with /proc and bash, else what is missing."""
        if not proc.PROC.joinpath("self/environ").exists():
            return "it needs Linux and a mounted /proc, to know the processes of a job"
        if shutil.which("bash") is None:
            return "there is no bash on the PATH"
        return None

    def submit(self, request: Request) -> Submitted:
        """Spool the script as it is now, and start its runner.

        Raises Refused or NotSubmitted. A killed submission leaves a whole job or none; one
        without a runner stays queued until `recover`.
        """
        demand = directives.read(request.script)
        if demand.name != request.name:
            raise Refused(f"the script names itself {demand.name!r}, not {request.name!r}")
        given = {**environment.kept(self._env), **dict(request.environment)}
        job = Job(demand, str(request.workdir), given, clock.now())
        try:
            entry = self._spool.add(request.script, job)
        except OSError as error:
            raise NotSubmitted(
                f"cannot write the local spool: {error.strerror or error}",
                where=str(self._spool.path),
                hint=f"${spool.VARIABLE} names another place for it",
            ) from error
        notes = [self._start(entry), self._prune()]
        return Submitted(entry.job_id, "; ".join(filter(None, notes)))

    def shared_as(self) -> None:
        """Not at all: asking costs a few reads of small files."""

    def find(self, name: str, since: float | None = None) -> list[str]:
        """Ids of all spooled jobs of this name, of other machines on this spool too."""
        begin = 0.0 if since is None else since - _SKEW_S
        return [e.job_id for e in self._spool.entries() if self._named(e, name, begin)]

    def query(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """States from the spool and the process table of this moment."""
        return {job_id: self._state(job_id) for job_id in job_ids}

    def cancel(self, job_id: str) -> None:
        """End a job. One whose runner is gone is ended here, which takes up to its kill delay.

        Raises NotFound, or Unreachable for a job of another machine.
        """
        entry = self._mine(job_id)
        if entry.ended():
            return
        entry.ask_cancel()
        if entry.take(None):
            words = "cancelled before it was started"
            entry.record_end(Ended(clock.now(), "cancelled", words=words))
        elif not self._wake_runner(entry):
            self._end_unattended(entry, "cancelled")

    def signal(self, job_id: str, signum: int) -> None:
        """Signal the script's process. Raises NotFound, Unreachable, or Refused if none runs."""
        started = self._mine(job_id).started()
        process = started[1] if started else None
        if process is None or not proc.send(process, signum):
            raise Refused(f"the job {job_id} does not run")

    def queues(self) -> tuple[LiveQueue, ...]:
        """None: it has no queues."""
        return ()

    def nodes(self) -> tuple[LiveNode, ...]:
        """None: it does not tell."""
        return ()

    def recover(self, job_id: str) -> None:
        """Start a job whose submitter was killed; close one whose runner and script were.

        A job that still runs without its runner is left alone: its supervisor keeps to the
        walltime by itself.
        """
        entry = self._mine(job_id)
        if entry.ended():
            return
        claim = entry.claim()
        if claim is None:
            self._start(entry)
        elif not (claim.runner and proc.alive(claim.runner)) and not self._script_alive(entry):
            self._end_unattended(entry, "cancelled" if entry.cancelled() else "lost")

    def _start(self, entry: Entry) -> str:
        """Start a runner. Returns what went wrong, or an empty string."""
        package = str(Path(exa_cli.__file__).parents[1])
        env = environment.of_runner(self._env)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [package, env.get("PYTHONPATH")]))
        module = "exa_cli.schedulers.local.runner"
        argv = [sys.executable, "-m", module, str(entry.path)]
        try:
            finished = proc.run(argv, timeout=_START_SECONDS, cwd=Path("/"), env=env)
        except Unreachable as error:
            return f"accepted, but not started: {error.what}"
        if finished.code != 0:
            return f"accepted, but not started: {finished.err.strip() or f'see {entry.log}'}"
        return ""

    def _prune(self) -> str:
        """Tidy the spool. Returns what went wrong, or an empty string: the job is accepted."""
        try:
            self._spool.prune(self._over)
        except OSError as error:
            return f"old jobs could not be removed from the spool: {error}"
        return ""

    def _mine(self, job_id: str) -> Entry:
        entry = self._spool.entry(job_id)
        if entry.host != spool.host():
            raise Unreachable(f"{job_id} is a job of another machine", hint=f"ask on {entry.host}")
        return entry

    def _named(self, entry: Entry, name: str, begin: float) -> bool:
        try:
            job = entry.job()
            mine = job.demand.name == name
            return mine and (job.submitted >= begin or entry.ended() is None)
        except NotFound:
            return False  # removed since the spool was listed
        except Damaged as error:
            raise Unreachable(
                f"cannot tell whether there is a job named {name}", where=error.where
            ) from error

    def _state(self, job_id: str) -> JobState:
        try:
            entry = self._spool.entry(job_id)
            return facts.state(self._facts(entry))
        except NotFound as error:
            words = error.what
            return JobState(state="unknown", source="spool", words=words, answer="not-found")
        except ExaError as error:
            words = error.what
            return JobState(state="unknown", source="spool", words=words, answer="not-answered")

    def _facts(self, entry: Entry) -> Facts:
        claim, started = entry.claim(), entry.started()
        here = entry.host == spool.host()
        alive = bool(here and claim and claim.runner and proc.alive(claim.runner))
        # Read last: a runner that was seen gone has left its record before it went.
        ended = entry.ended()
        unattended = here and claim is not None and not alive and ended is None
        return Facts(
            ended=ended,
            cancelled=entry.cancelled(),
            here=here,
            host=entry.host,
            claimed=claim is not None,
            same_boot=claim is None or claim.runner is None or claim.runner.boot == proc.boot_id(),
            runner_alive=alive,
            started=started[0] if started else None,
            processes=len(self._processes(entry)) if unattended else 0,
        )

    def _processes(self, entry: Entry) -> list[proc.Process]:
        job = entry.job()
        found = processes.of_job(job.demand.name, job.workdir, entry.job_id)
        started = entry.started()
        script = started[1] if started else None
        if script and script not in found and proc.alive(script):
            return [*found, script]  # it has no tag in its environment until it execs
        return found

    def _script_alive(self, entry: Entry) -> bool:
        started = entry.started()
        return bool(started and started[1] and proc.alive(started[1]))

    def _wake_runner(self, entry: Entry) -> bool:
        claim = entry.claim()
        return bool(claim and claim.runner and proc.send(claim.runner, processes.WAKE))

    def _end_unattended(self, entry: Entry, reason: EndReason) -> None:
        delay = entry.job().demand.kill_delay
        left = processes.end(lambda: self._processes(entry), signal.SIGTERM, delay)
        if left:
            left = processes.end(lambda: self._processes(entry), signal.SIGKILL, _KILL_SECONDS)
        words = "its runner was gone; nobody saw how the script ended"
        pids = tuple(process.pid for process in left)
        entry.record_end(Ended(clock.now(), reason, words=words, left=pids))

    def _over(self, entry: Entry) -> float | None:
        state = self._state(entry.job_id)
        return (state.ended or entry.path.stat().st_mtime) if state.state == "ended" else None
