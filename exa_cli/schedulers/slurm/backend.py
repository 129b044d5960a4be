"""The batch system ``slurm``, as `exa_cli.schedulers.types.Scheduler`."""

from __future__ import annotations

import math
import re
import shutil
import signal as signals
from collections.abc import Sequence

from exa_cli.base import clock
from exa_cli.base.errors import NotFound, Refused, Unreachable
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.registry import Shows, register
from exa_cli.schedulers.retry import Patience
from exa_cli.schedulers.slurm import chain, head, outcome, states
from exa_cli.schedulers.slurm.chain import NOTHING, Heard, Sources
from exa_cli.schedulers.slurm.commands import Commands
from exa_cli.schedulers.submission import Submission
from exa_cli.schedulers.types import JobState, Request, Settings, Submitted

TIMEOUT_S = 30.0
RETRY_S = 120.0

_NEEDED = ("sbatch", "squeue", "scontrol", "scancel")

_SHORTEST_MEMORY_S = 2.0
"""The controller keeps every job at least so long after its end (MinJobAge, slurm.conf(5)): of
a younger name it knows all, and accounting need not be asked."""

_USUAL_MEMORY_S = 60.0
"""MinJobAge is 300 s by default. Enough to go on with while accounting does not answer."""


@register("slurm", shows=Shows("scontrol show partition", "sinfo -N"))
class Slurm:
    """Jobs of a Slurm cluster. See the package's docstring."""

    kind = "slurm"

    def __init__(self, settings: Settings) -> None:
        options = settings.options
        self._env = settings.env
        self._commands = Commands(settings.env, options.get("timeout_s", TIMEOUT_S))
        bound = options.get("retry_s", RETRY_S)
        self._patience = Patience(bound, settle=bound / 4)

    def usable(self) -> str | None:
        """None when its commands are on the PATH, else which are not."""
        missing = [name for name in _NEEDED if self._which(name) is None]
        return f"not on the PATH: {', '.join(missing)}" if missing else None

    def shared_as(self) -> str:
        """By cluster, which ``SLURM_CONF`` tells apart where there are several."""
        return self._env.get("SLURM_CONF", "")

    def submit(self, request: Request) -> Submitted:
        """Hand in a script on standard input; its ``#SBATCH`` lines say all that is asked."""
        note = head.check(request.script, request.name)
        done = Submission(self._commands, self._patience, request).run()
        return Submitted(done.job_id, "\n".join(filter(None, [note, done.message])))

    def find(self, name: str, since: float | None = None) -> list[str]:
        """From the controller, which knows every job that has not ended; then from accounting."""
        age = math.inf if since is None else clock.now() - since
        found = self._commands.named(name, since)
        if age < _SHORTEST_MEMORY_S or self._which("sacct") is None:
            return sorted(found, key=int)
        try:
            kept = self._commands.sacct_named(name, since) or []
        except Unreachable as error:
            if found or age < _USUAL_MEMORY_S:
                return sorted(found, key=int)
            raise Unreachable(
                f"cannot tell whether there was a job named {name}: {error.what}",
                where=error.where,
                hint="the controller has none now; ask again when accounting answers",
            ) from error
        return sorted({*found, *kept}, key=int)

    def query(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """One squeue, one sacct for what it does not tell, scontrol for what neither does."""
        jobs = {job_id: chain.whole(job_id) for job_id in job_ids}
        sources = self._ask(sorted({job for job in jobs.values() if job.isdecimal()}))
        answers = {job_id: chain.answer(job, sources) for job_id, job in jobs.items()}
        if answers and all(state.answer == "not-answered" for state in answers.values()):
            words = next(iter(answers.values())).words
            raise Unreachable(words or "nobody answered", hint="nothing was assumed; ask again")
        return answers

    def cancel(self, job_id: str) -> None:
        """Raises NotFound, Unreachable, or Refused for somebody else's job.

        scancel says nothing of an id that does not exist and exits 0, so what it did is looked at.
        """
        job = _checked(job_id)
        done = self._commands.scancel(job)
        if done.code != 0 and not _known_end(done.err):
            raise Refused(f"scancel: {outcome.said(done.err)}")
        for ask in (self._commands.scontrol, self._sacct):
            heard = ask([job])
            if heard.fault:
                raise Unreachable(f"scancel was sent, but what it did is not known: {heard.fault}")
            if heard.rows:
                return
        raise NotFound(f"Slurm does not know a job {job_id}")

    def signal(self, job_id: str, signum: int) -> None:
        """Signal the batch shell only, which by exec is the supervisor.

        Raises Refused when it does not run, NotFound for what is no id, or Unreachable.
        """
        job = _checked(job_id)
        heard = self._commands.scontrol([job])
        if heard.fault:
            raise Unreachable(heard.fault, hint="no signal was sent")
        row = heard.rows.get(chain.whole(job))
        # For a job that waits scancel itself tries again and again, for half a minute.
        if row is None or states.meaning(row.state).phase != "running":
            raise Refused(f"the job {job_id} does not run: {row.state if row else 'not known'}")
        name = signals.Signals(signum).name.removeprefix("SIG")
        done = self._commands.scancel("--batch", "--signal", name, job)
        if done.code != 0:
            raise Refused(f"scancel: {outcome.said(done.err)}")

    def queues(self) -> tuple[LiveQueue, ...]:
        """Its partitions, hidden ones too."""
        return self._commands.partitions()

    def nodes(self) -> tuple[LiveNode, ...]:
        """Its nodes, those that are down too."""
        return self._commands.nodes()

    def requeue(self, job_id: str) -> None:
        """Start a job again under its id; its owner may (recordings: slurm/INDEX, 20a)."""
        done = self._commands.requeue(_checked(job_id))
        if done.code != 0:
            raise Refused(f"scontrol: {outcome.said(done.err)}")

    def recover(self, job_id: str) -> None:
        """Nothing: an accepted job needs none of our programs."""

    def _ask(self, jobs: list[str]) -> Sources:
        if not jobs:
            return Sources(NOTHING)
        queue = self._commands.squeue()
        rest = chain.for_accounting(jobs, queue)
        sources = Sources(queue, self._sacct(rest))
        rest = chain.for_scontrol(jobs, sources)
        return Sources(queue, sources.sacct, self._commands.scontrol(rest))

    def _sacct(self, jobs: Sequence[str]) -> Heard:
        if jobs and self._which("sacct") is None:
            return Heard(absent=True)
        return self._commands.sacct(jobs)

    def _which(self, command: str) -> str | None:
        return shutil.which(command, path=self._env.get("PATH"))


def _checked(job_id: str) -> str:
    """An id that is safe on a command line. Raises NotFound."""
    if not re.fullmatch(r"\d{1,10}([_+]\d{1,10})?", job_id, re.ASCII):
        raise NotFound(f"{job_id!r} is no job id of Slurm")
    return job_id


def _known_end(err: str) -> bool:
    return outcome.over_already(err) or outcome.unknown_job(err)
