"""The batch system ``pbs``, as `exa_cli.schedulers.types.Scheduler`."""

from __future__ import annotations

import re
import shutil
import signal as signals
import time
from collections.abc import Sequence

from exa_cli.base import clock
from exa_cli.base.errors import NotFound, Refused, Unreachable
from exa_cli.schedulers.pbs import head, outcome, states
from exa_cli.schedulers.pbs.commands import Commands, Heard
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.registry import Shows, register
from exa_cli.schedulers.retry import Patience
from exa_cli.schedulers.submission import Submission, number
from exa_cli.schedulers.types import JobState, Request, Settings, Submitted

TIMEOUT_S = 30.0
RETRY_S = 120.0

_NEEDED = ("qsub", "qstat", "qselect", "qdel")

_YOUNG_S = 60.0
"""A qdel of a job so young may be lost (recordings: openpbs/18): it is sent once more."""

_AGAIN_S = 2.0


@register("pbs", shows=Shows("qstat -Q -f", "pbsnodes -a -v"))
class Pbs:
    """Jobs of an OpenPBS or PBS Professional server. See the package's docstring."""

    kind = "pbs"

    def __init__(self, settings: Settings) -> None:
        options = settings.options
        self._env = settings.env
        self._commands = Commands(settings.env, options.get("timeout_s", TIMEOUT_S))
        bound = options.get("retry_s", RETRY_S)
        self._patience = Patience(bound, settle=bound / 4)

    def usable(self) -> str | None:
        """None when its commands are on the PATH, else which are not."""
        path = self._env.get("PATH")
        missing = [name for name in _NEEDED if shutil.which(name, path=path) is None]
        return f"not on the PATH: {', '.join(missing)}" if missing else None

    def shared_as(self) -> str:
        """By server, which a variable tells apart where there are several."""
        return self._env.get("PBS_SERVER") or self._env.get("PBS_DEFAULT") or ""

    def submit(self, request: Request) -> Submitted:
        """Hand in a script on standard input; its ``#PBS`` lines say all that is asked."""
        note = head.check(request.script, request.name)
        done = Submission(self._commands, self._patience, request).run()
        return Submitted(done.job_id, "\n".join(filter(None, [note, done.message])))

    def find(self, name: str, since: float | None = None) -> list[str]:
        """By qselect; ended jobs too where the server keeps them, else only live ones."""
        return sorted(self._commands.named(name, since), key=number)

    def query(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """One qstat for all. Raises Unreachable when it said nothing."""
        asked = sorted({job for job in job_ids if _is_id(job)})
        heard = self._commands.qstat(asked)
        if asked and heard.fault:
            raise Unreachable(heard.fault, hint="nothing was assumed; ask again")
        return {job: _answer(job, heard) for job in job_ids}

    def cancel(self, job_id: str) -> None:
        """Raises NotFound, Unreachable, or Refused for somebody else's job.

        qdel of a job that was just submitted can be lost although it exits 0, so that one is
        sent again.
        """
        done = self._commands.qdel(_checked(job_id))
        if outcome.unknown_jobs(done.err):
            raise NotFound(f"PBS does not know a job {job_id}")
        if done.code != 0 and not outcome.finished(done.err):
            raise Refused(f"qdel: {outcome.said(done.err)}")
        row = self._commands.qstat([job_id]).rows.get(job_id)
        young = row and row.created and clock.now() - row.created < _YOUNG_S
        if row and young and states.state(row).state in ("queued", "running"):
            time.sleep(_AGAIN_S)
            self._commands.qdel(job_id)

    def signal(self, job_id: str, signum: int) -> None:
        """SIGTERM only: PBS signals the login shell above the script too, and any other signal
        ends that, and the job with it, before the script has heard it (recordings: openpbs/06).

        Raises Refused, NotFound for what is no id, or Unreachable.
        """
        name = signals.Signals(signum).name.removeprefix("SIG")
        if signum != signals.SIGTERM:
            raise Refused(f"SIG{name} would end a job of PBS, not reach its script")
        done = self._commands.qsig(name, _checked(job_id))
        if done.code != 0:
            raise Refused(f"qsig: {outcome.said(done.err)}")

    def queues(self) -> tuple[LiveQueue, ...]:
        """Its queues, routing ones and those behind them."""
        return self._commands.queues()

    def nodes(self) -> tuple[LiveNode, ...]:
        """Its nodes, those that are down too."""
        return self._commands.nodes()

    def recover(self, job_id: str) -> None:
        """Nothing: an accepted job needs none of our programs."""


def _answer(job: str, heard: Heard) -> JobState:
    if row := heard.rows.get(job):
        return states.state(row)
    if job in heard.unknown or not _is_id(job):
        words = "PBS does not know the job"
        if not heard.history:
            words += ", and this server keeps no ended jobs"
        return JobState(state="unknown", source="qstat", words=words, answer="not-found")
    words = "qstat said nothing of the job"
    return JobState(state="unknown", source="qstat", words=words, answer="not-answered")


def _is_id(job: str) -> bool:
    return bool(re.fullmatch(r"\d{1,12}(\[\d*\])?(\.[A-Za-z0-9][\w.-]*)?", job, re.ASCII))


def _checked(job_id: str) -> str:
    """An id that is safe on a command line. Raises NotFound."""
    if not _is_id(job_id):
        raise NotFound(f"{job_id!r} is no job id of PBS")
    return job_id
