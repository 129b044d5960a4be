"""Hand in a script to a batch system's command: again after a refusal that passes, never twice.

An answer that leaves open whether there is a job is followed by looking its name up until it
is there, or the controller has said for a while that it is not.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from typing import Literal, Protocol

from exa_cli.base import clock
from exa_cli.base.errors import ExaError, Refused, Unreachable
from exa_cli.base.proc import NotStarted, TimedOut
from exa_cli.base.talk import say
from exa_cli.schedulers.retry import Patience, pause
from exa_cli.schedulers.types import NotSubmitted, Request, Submitted

Kind = Literal["accepted", "refused", "busy", "not-sent", "open"]
"""What became of a submission: an id was printed; a final no; a no that may pass; nobody was
reached, so there is certainly no job; or there may be one."""


@dataclass(frozen=True)
class Outcome:
    """The end of a submitting command, in the words of the batch system."""

    kind: Kind
    words: str = ""
    job_id: str = ""


class Desk(Protocol):
    """Where jobs are handed in: the commands of one batch system."""

    @property
    def program(self) -> str:
        """The submitting command's name, for messages."""

    def hand_in(self, request: Request) -> Outcome:
        """Submit once. Raises proc.NotStarted or proc.TimedOut."""

    def named(self, name: str, since: float) -> list[str]:
        """Ids of jobs of this name made since then. Raises Unreachable."""


def number(job_id: str) -> int:
    """What a job's id begins with: ids are given in rising order."""
    found = re.match(r"\d+", job_id)
    return int(found[0]) if found else -1


@dataclass
class Submission:
    """One submission with all its tries. ``doubt``: a try may have made a job."""

    desk: Desk
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
        try:
            return self.desk.hand_in(self.request)
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
                words = f"{self.desk.program} gave no answer ({doubtful.words}), "
                words += "but the job is there"
                return Outcome("accepted", words, job)
            if not fault and clock.monotonic() - since >= self.patience.settle:
                return doubtful
            if not self._wait(tries, doubtful):
                raise self._error(doubtful)
            tries += 1

    def _find(self) -> tuple[str | None, str]:
        try:
            found = self.desk.named(self.request.name, self._since)
        except Unreachable as error:
            return None, error.what
        # The newest: one of a removed run of this name may be there too.
        return max(found, key=number, default=None), ""

    def _wait(self, tries: int, outcome: Outcome) -> bool:
        """Wait before another try; False when there is no time for one."""
        elapsed = clock.monotonic() - self._begin
        seconds = pause(self.patience, tries, elapsed, random.random())
        if seconds is None:
            return False
        say(f"{self.desk.program}: {outcome.words}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
        return True

    def _error(self, outcome: Outcome) -> ExaError:
        if self.doubt:
            hint = f"there may be a job named {self.request.name}; exa resume looks for it first"
            what = f"{self.desk.program} gave no clear answer: {outcome.words}"
            return Unreachable(what, hint=hint)
        if outcome.kind == "not-sent":
            what = f"{self.desk.program}: {outcome.words}"
            return NotSubmitted(what, hint="nothing was submitted")
        return Refused(f"{self.desk.program}: {outcome.words}")
