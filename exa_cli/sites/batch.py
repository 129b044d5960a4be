"""Tables of a site profile about its batch system: queues, limits, and what it does to jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exa_cli.spec import times
from exa_cli.spec.declare import AUTO, UNKNOWN, Unknown, key
from exa_cli.spec.ends import Means, legal_actions

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
NAME_FORM = "up to 64 letters, digits, _ . -"

No = Literal["none"]


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """What every table can say about its facts."""

    as_of: str | None = key(
        None,
        help="Day on which the facts of this table were true.",
        pattern=r"\d{4}-\d\d-\d\d",
        form="a day, YYYY-MM-DD",
    )
    source: str | None = key(None, help="Where the facts of this table are from.")


@dataclass(frozen=True, kw_only=True)
class Identity(Sourced):
    """Which site this is."""

    name: str = key(help="The site's name.", pattern=NAME_PATTERN, form=NAME_FORM)
    title: str | None = key(None, help="One line for people.")
    hosts: tuple[str, ...] = key(
        (), help="Full names of its hosts, with * and ?; `exa site detect` goes by them."
    )
    environment: dict[str, str] = key(
        {}, help="Variables that its machines set; `exa site detect` goes by all of them together."
    )


@dataclass(frozen=True, kw_only=True)
class SchedulerTable(Sourced):
    """The batch system and its timers."""

    kind: str = key(help="Which batch system.")
    cpu_is: Literal["core", "thread"] = key(
        "core", help="What one CPU of its is: a core, or a hardware thread."
    )
    kill_delay_s: float | Unknown = key(
        UNKNOWN, help="From SIGTERM to SIGKILL.", unit="seconds", minimum=0
    )
    poll_s: float = key(
        30.0, help="Shortest time between two questions to it.", unit="seconds", minimum=0
    )
    timeout_s: float = key(
        30.0, help="How long one of its commands may take.", unit="seconds", minimum=1
    )
    retry_s: float = key(
        120.0,
        help="How long a submission that a busy batch system does not take is tried again.",
        unit="seconds",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class Limit(Sourced):
    """One row: jobs of so many nodes may run so long."""

    min_nodes: int = key(1, help="Fewest nodes.", minimum=1, unit="nodes")
    max_nodes: int | Unknown = key(UNKNOWN, help="Most nodes.", minimum=1, unit="nodes")
    walltime: str | Unknown = key(
        UNKNOWN, help="Longest time of a job.", pattern=times.PATTERN, form=times.FORM
    )


@dataclass(frozen=True, kw_only=True)
class Route(Limit):
    """An execution queue behind a routing queue, and what it takes."""

    name: str = key(help="What the batch system calls it; a job cannot ask for it.")


@dataclass(frozen=True, kw_only=True)
class Queue(Sourced):
    """A queue, with its limits by size. On Slurm it is a partition, a QOS, or one of each."""

    name: str = key(help="What users call it.")
    partition: str | No | None = key(
        None, help="Slurm's partition; absent = the queue's name; none = the default partition."
    )
    qos: str | None = key(None, help="Slurm's QOS; absent = the user's default.")
    limit: tuple[Limit, ...] = key((), help="Rows of nodes and walltime.")
    routes: tuple[Route, ...] = key(
        (), help="Execution queues that a routing queue sends its jobs to, each with its limits."
    )
    within: str | None = key(
        None, help="A queue whose limits hold as well: for a QOS, that of its partition."
    )
    debug: bool = key(False, help="Whether it is there for tests, not for production.")
    preemptable: bool = key(False, help="Whether its jobs may be ended in favour of others.")
    by_request: bool = key(False, help="Whether the site has to grant its use first.")
    whole_node: bool | Unknown = key(UNKNOWN, help="Whether jobs have their nodes to themselves.")
    max_jobs_per_user: int | Unknown = key(
        UNKNOWN, help="Jobs of a user in it at a time, waiting ones included.", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class Preemption(Sourced):
    """What the site does to a running job, and what becomes of the job then."""

    happens: bool | Unknown = key(UNKNOWN, help="Whether jobs are ended in favour of others.")
    notice_s: float | No | Unknown = key(
        UNKNOWN, help="Warning before that; none = ended at once.", unit="seconds", minimum=0
    )
    requeue: bool | Unknown = key(
        UNKNOWN, help="Whether the batch system is to start an interrupted job again by itself."
    )
    restart_variable: str | No | Unknown = key(
        UNKNOWN, help="Variable that counts the starts of a job; none = there is none."
    )
    chaining: bool | Unknown = key(UNKNOWN, help="Whether a job may wait for another's end.")
    submit_from_job: bool | Unknown = key(
        UNKNOWN, help="Whether a job can hand in another one from its nodes."
    )


@dataclass(frozen=True, kw_only=True)
class SitePolicy(Sourced):
    """What follows an end here, in the run file's words; a run file says it otherwise."""

    resubmit: Means = key(AUTO, help="Who hands in the next attempt; as in a run file.")
    on: dict[str, str] = key(
        {}, help='After which cause to "resume" and after which to "stop".', check=legal_actions
    )


@dataclass(frozen=True, kw_only=True)
class Demands(Sourced):
    """What the site asks of every job beside the directives that are to be filled in."""

    filesystems: tuple[str, ...] = key(
        (), help="Filesystems of which a job must name those it uses; empty = it need not."
    )
    min_walltime: str | Unknown = key(
        UNKNOWN, help="Shortest walltime that is taken.", pattern=times.PATTERN, form=times.FORM
    )
