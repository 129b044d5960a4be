"""The processes of a job: those of its session, and those that carry its tag."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping

from exa_cli.base import clock, marks, proc
from exa_cli.base.proc import Process

WAKE = signal.SIGUSR1
"""Tells a runner to look whether its job was cancelled."""

_PAUSE = 0.02


def of_job(tag: str, workdir: str, job_id: str, session: int | None = None) -> list[Process]:
    """All live processes of a job.

    Args:
        tag: the job's name; the script exports it as ``EXA_TAG``.
        workdir: where it was submitted to run: the run's directory. Runs of one name in two
            folders have the same tags, and with two spools the same job ids.
        job_id: processes with this id in ``EXA_JOB_ID``, or with none, belong to it:
            a late twin has the same tag, and its end must not end its sibling's ranks.
        session: the script's session, only while the script is not reaped: until then the
            kernel gives its number to nobody else.
    """

    def ours(env: Mapping[str, str]) -> bool:
        return (
            env.get(marks.TAG) == tag
            and env.get(marks.RUN_DIR) in (None, workdir)
            and env.get(marks.JOB_ID) in (None, job_id)
        )

    found = dict.fromkeys(proc.marked(ours))
    if session is not None:
        found.update(dict.fromkeys(proc.session_members(session)))
    return list(found)


def signal_all(processes: list[Process], signum: int) -> None:
    """Signal each of them that is still there."""
    for process in processes:
        proc.send(process, signum)


def end(find: Callable[[], list[Process]], signum: int, within: float) -> list[Process]:
    """Signal what ``find`` finds, again and again until it finds nothing.

    Returns what is left after ``within`` seconds: a process in an uninterruptible wait, say.
    """
    deadline = clock.monotonic() + within
    signalled: set[Process] = set()
    while left := find():
        # SIGTERM once each: a second one may cut a handler short. SIGKILL has no handler.
        signal_all([p for p in left if p not in signalled], signum)
        signalled.update(left)
        if clock.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)
    return left
