"""The detached process of one job: ``python -m exa_cli.schedulers.local.runner JOBDIR``.

It waits on signals only and holds no lock; everything it knows is in the job's directory.
It carries no tag and leads no session of the job, so it never ends itself.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from exa_cli.base import clock, proc
from exa_cli.base.proc import Process
from exa_cli.schedulers.local import environment, processes, start, watch
from exa_cli.schedulers.local.facts import Ended
from exa_cli.schedulers.local.spool import Entry, Job
from exa_cli.schedulers.local.watch import Limits, Seen
from exa_cli.schedulers.types import EndReason

_HEARD = (signal.SIGCHLD, processes.WAKE, signal.SIGTERM)
_UNHEARD = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)
_LOOK_SECONDS = 2.0
_SWEEP_SECONDS = 10.0
_TOOK_PART = b"+"


def main(argv: list[str]) -> int:
    """Detach, take the job and run it. Returns once it is known that a runner has the job."""
    entry = Entry(Path(argv[1]))
    reading, writing = os.pipe()
    if os.fork() > 0:
        os.close(writing)
        # One byte from the child, or its death: an empty read.
        return 0 if os.read(reading, 1) == _TOOK_PART else 1
    os.close(reading)
    os.setsid()
    _redirect(entry.log)
    # Blocked before the claim makes our pid known: from then on others may signal it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (*_HEARD, *_UNHEARD))
    took = entry.take(proc.myself())
    os.write(writing, _TOOK_PART)
    os.close(writing)
    if took:
        _run_recorded(entry)
    return 0


def _redirect(log: Path) -> None:
    """Let go of the submitter's files; what goes wrong from here on is read in the log."""
    for path, flags, targets in (
        (os.devnull, os.O_RDONLY, (0,)),
        (str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2)),
    ):
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        for target in targets:
            os.dup2(fd, target)
        os.close(fd)


def _run_recorded(entry: Entry) -> None:
    """Run the job; what goes wrong in here is written down as its end."""
    try:
        proc.adopt_orphans()
        _run(entry, entry.job())
    except Exception:  # noqa: BLE001 - a detached process has nobody else to tell
        print(clock.iso(), traceback.format_exc(), file=sys.stderr, flush=True)
        entry.record_end(Ended(clock.now(), "lost", words=f"its runner failed: see {entry.log}"))


def _run(entry: Entry, job: Job) -> None:
    if end := _wait_for_begin(entry, job.demand.begin):
        entry.record_end(end)
        return
    try:
        pid = _start(entry, job)
    except OSError as error:
        words = f"cannot start the script: {error}"
        entry.record_end(Ended(clock.now(), "launch-failed", words=words))
        return
    try:
        reason = _Watcher(entry, job, pid, clock.monotonic()).until_over()
    except BaseException:
        # Nobody would hold it to its limits any more.
        _end_left_over(entry, job, pid)
        raise
    left = _end_left_over(entry, job, pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    entry.record_end(
        Ended(
            clock.now(),
            reason,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            left=tuple(process.pid for process in left),
        )
    )


def _wait_for_begin(entry: Entry, begin: int) -> Ended | None:
    """Wait until the job may start; its end, if it is not to start any more."""
    while (left := begin - clock.now()) > 0:
        if entry.cancelled():
            return Ended(clock.now(), "cancelled", words="cancelled before it was started")
        heard = signal.sigtimedwait(_HEARD, min(left, _LOOK_SECONDS))
        if heard and heard.si_signo == signal.SIGTERM:
            return Ended(clock.now(), "stopped", words="stopped before it was started")
    return None


def _start(entry: Entry, job: Job) -> int:
    """Start the script, which runs only once it is on record which process it is."""
    given = environment.of_script(job.environment, entry.job_id)
    gate = start.at_gate(start.Program(entry.script, job.workdir, given, entry.output))
    try:
        entry.record_start(proc.identify(gate.pid))
    except BaseException:
        gate.shut()
        raise
    gate.open()
    return gate.pid


@dataclass
class _Watcher:
    """Holds a running script to its limits. Seconds since ``begin`` throughout."""

    entry: Entry
    job: Job
    pid: int
    begin: float
    seen: Seen = field(default_factory=lambda: Seen(0.0))
    reason: EndReason = "exited"

    def until_over(self) -> EndReason:
        """Returns when the script has ended, which is then not reaped yet, and why."""
        demand = self.job.demand
        limits = Limits(demand.walltime, demand.kill_delay)
        while not _has_ended(self.pid):
            self._look()
            action = watch.next_action(limits, self.seen)
            if action.do == "terminate":
                self.reason = action.reason or self.reason
                self._signal(signal.SIGTERM)
                self.seen = replace(self.seen, terminated=self.seen.now)
                continue
            if action.do == "kill":
                self._signal(signal.SIGKILL)
            self._wait(action.seconds)
        return self.reason

    def _look(self) -> None:
        now = clock.monotonic() - self.begin
        self.seen = replace(self.seen, now=now, cancelled=self.entry.cancelled())

    def _wait(self, seconds: float | None) -> None:
        limit = _LOOK_SECONDS if seconds is None else min(seconds, _LOOK_SECONDS)
        heard = signal.sigtimedwait(_HEARD, max(limit, 0.0))
        if heard and heard.si_signo == signal.SIGTERM:
            self.seen = replace(self.seen, stopped=True)
        _reap_orphans(self.pid)

    def _signal(self, signum: int) -> None:
        found = _processes(self.job, self.entry, self.pid)
        processes.signal_all(found, signum)


def _processes(job: Job, entry: Entry, pid: int) -> list[Process]:
    return processes.of_job(job.demand.name, job.workdir, entry.job_id, pid)


def _has_ended(pid: int) -> bool:
    """Whether the script is over. It stays a zombie, which keeps its session's number ours."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap_orphans(script: int) -> None:
    """Collect adopted descendants that have ended, but not the script."""
    for child in proc.children():
        if child != script:
            proc.reap(child)


def _end_left_over(entry: Entry, job: Job, pid: int) -> list[Process]:
    """The epilogue: kill what is there of the job. Returns what could not be killed."""

    def left_over() -> list[Process]:
        _reap_orphans(pid)
        return _processes(job, entry, pid)

    return processes.end(left_over, signal.SIGKILL, _SWEEP_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
