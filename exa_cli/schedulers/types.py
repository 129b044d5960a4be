"""What is said to a batch system and what it answers.

"Unknown" is an answer of its own here. It is never read as "not there", nor that as "ended":
tools that did so started second copies of jobs that were still running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from exa_cli.base.errors import Unreachable
from exa_cli.schedulers.queues import LiveNode, LiveQueue

Phase = Literal["queued", "running", "ended", "unknown"]

Answer = Literal["known", "not-found", "not-answered"]
"""Whether the batch system knows a job, said that it does not, or said nothing. The last two
both leave the job's state unknown; only of the second can a person conclude more."""

EndReason = Literal[
    "exited",  # the script ended by itself: exit_code or signal say how
    "walltime",
    "cancelled",
    "preempted",
    "node-failure",
    "out-of-memory",
    "launch-failed",  # the script was never started
    "stopped",  # the batch system itself was told to stop, and ended its jobs
    "lost",  # it is over, and nobody is left who saw how
]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One submission, complete: submitting it needs nothing that is not in here.

    Attributes:
        name: the job's name, which is the attempt's tag. A lost submission is found again
            by it, so the script must carry the same name.
        script: the text of the job script. Its directives say what is asked for.
        workdir: absolute directory the script starts in.
        directives: the script's directives as key and value, for a batch system that takes
            a request in another form than a script.
        environment: variables for the script beside what the batch system gives it.
    """

    name: str
    script: str
    workdir: Path
    directives: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Submitted:
    """An accepted submission. ``message`` is what the batch system said besides, if anything."""

    job_id: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class JobState:
    """What is known of a job, from where, and how old that is.

    Attributes:
        state: ``unknown`` when the batch system did not say, or does not know the job.
        source: who said so, in one word or two.
        age_s: seconds since it was observed.
        exit_code: of the script, when it exited and the batch system knows.
        signal: the number of the signal that ended the script.
        started, ended: seconds since the epoch.
        reason: why it ended, in the words that are the same for all batch systems.
        words: what the batch system itself says, for people.
        answer: what kind of answer this is.
    """

    state: Phase
    source: str
    age_s: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    ended: float | None = None
    reason: EndReason | None = None
    words: str | None = None
    answer: Answer = "known"


class NotSubmitted(Unreachable):
    """The batch system could not be reached, and certainly has no job from this attempt.

    A plain `Unreachable` out of ``submit`` leaves that open: look for the name first.
    """


class Scheduler(Protocol):
    """A batch system. Every method has a time limit of its own and may raise Unreachable."""

    @property
    def kind(self) -> str:
        """The name it is registered under."""

    def usable(self) -> str | None:
        """None when it can be used here, else the reason why not."""

    def submit(self, request: Request) -> Submitted:
        """Hand in a job.

        Raises:
            Refused: the batch system said no, in its own words; there is no job.
            NotSubmitted: it was not reached; there is no job.
            Unreachable: it did not answer; there may be a job, now or later.
        """

    def shared_as(self) -> str | None:
        """Under which name processes of a user on this host share its answers (`asked`).

        None when asking costs nobody anything.
        """

    def find(self, name: str, since: float | None = None) -> list[str]:
        """Ids of all jobs of ours with this name, oldest first, ended ones included while it
        knows them.

        Args:
            name: the job's name.
            since: when the name came into use, in seconds since the epoch; None = not known.
                Ended jobs submitted before, by more than clocks may differ, are left out: they
                are of an earlier run that had this name.

        Raises Unreachable when it cannot tell; an empty list means that there is none.
        """

    def query(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """The state of each of these jobs, by one request for all.

        Raises Unreachable when none of them was answered for.
        """

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, in whatever state. Nothing happens to an ended one.

        Raises NotFound for an id that the batch system does not know.
        """

    def signal(self, job_id: str, signum: int) -> None:
        """Signal the job's first process, the supervisor. Raises Refused when none runs."""

    def queues(self) -> tuple[LiveQueue, ...]:
        """Its queues as they are now; none where it has none. Raises Unreachable."""

    def nodes(self) -> tuple[LiveNode, ...]:
        """Its nodes as they are now; none where it does not tell. Raises Unreachable."""

    def recover(self, job_id: str) -> None:
        """Put right what the death of our own programs left half done, if that can be here.

        Idempotent, and nothing on batch systems that are a service of the site.
        """


@runtime_checkable
class Restarts(Protocol):
    """A batch system in which a job's owner may have it started again under the same id."""

    def requeue(self, job_id: str) -> None:
        """End a running job and put it back into its queue. Raises Refused or Unreachable."""


@dataclass(frozen=True)
class Settings:
    """What a batch system's constructor is given.

    Attributes:
        options: the profile's ``[scheduler]`` table.
        env: the environment to read its variables from.
    """

    options: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
