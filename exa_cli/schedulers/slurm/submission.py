"""Hand in a script: again after a refusal that passes, and never twice.

An answer that leaves open whether there is a job is followed by looking its name up until it
is there, or the controller has said for a while that it is not.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from exa_cli.base import clock
from exa_cli.base.errors import ExaError, Refused, Unreachable
from exa_cli.base.proc import NotStarted, TimedOut
from exa_cli.base.talk import say
from exa_cli.schedulers.retry import Patience, pause
from exa_cli.schedulers.slurm.commands import Commands
from exa_cli.schedulers.slurm.outcome import Outcome
from exa_cli.schedulers.types import NotSubmitted, Request, Submitted


@dataclass
class Submission:
    """One submission with all its tries. ``doubt``: a try may have made a job."""

    commands: Commands
    patience: Patience
    request: Request
    doubt: bool = False

    def __post_init__(self) -> None:
        self._begin = clock.monotonic()
        self._since = clock.now()

    def run(self) -> Submitted:
        """Submit. Raises Refused, NotSubmitted or Unreachable, as `Scheduler.submit` says."""
        tries = 1
        while True:
            outcome = self._try()
            if outcome.kind == "open":
                self.doubt = True
                outcome = self._look_up(outcome)
            if outcome.kind == "accepted":
                return Submitted(outcome.job_id, outcome.words)
            if outcome.kind == "refused" or not self._wait(tries, outcome):
                raise self._error(outcome)
            tries += 1

    def _try(self) -> Outcome:
        request = self.request
        try:
            added = dict(request.environment)
            return self.commands.sbatch(request.script, request.workdir, added)
        except NotStarted as error:
            raise NotSubmitted(error.what, where=error.where, hint=error.hint) from error
        except TimedOut as error:
            return Outcome("open", error.what)

    def _look_up(self, doubtful: Outcome) -> Outcome:
        """The job, if it shows up; else the same outcome.

        Raises Unreachable when nobody said so within the time there is.
        """
        since, tries = clock.monotonic(), 1
        while True:
            job, fault = self._find()
            if job:
                words = f"sbatch gave no answer ({doubtful.words}), but the job is there"
                return Outcome("accepted", words, job)
            if not fault and clock.monotonic() - since >= self.patience.settle:
                return doubtful
            if not self._wait(tries, doubtful):
                raise self._error(doubtful)
            tries += 1

    def _find(self) -> tuple[str | None, str]:
        try:
            found = self.commands.squeue_named(self.request.name, self._since)
        except Unreachable as error:
            return None, error.what
        # The newest: one of a removed run of this name may be there too.
        return max(found, key=int, default=None), ""

    def _wait(self, tries: int, outcome: Outcome) -> bool:
        """Wait before another try; False when there is no time for one."""
        elapsed = clock.monotonic() - self._begin
        seconds = pause(self.patience, tries, elapsed, random.random())
        if seconds is None:
            return False
        say(f"slurm: {outcome.words}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
        return True

    def _error(self, outcome: Outcome) -> ExaError:
        if self.doubt:
            hint = f"there may be a job named {self.request.name}; exa resume looks for it first"
            return Unreachable(f"sbatch gave no clear answer: {outcome.words}", hint=hint)
        if outcome.kind == "not-sent":
            return NotSubmitted(f"sbatch: {outcome.words}", hint="nothing was submitted")
        return Refused(f"sbatch: {outcome.words}")
