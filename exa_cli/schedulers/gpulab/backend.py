"""The batch system ``gpulab``, as `exa_cli.schedulers.types.Scheduler`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from exa_cli.base import marks
from exa_cli.base.errors import NotFound, Refused, Unreachable
from exa_cli.base.proc import Finished
from exa_cli.schedulers import asked
from exa_cli.schedulers.gpulab import answers
from exa_cli.schedulers.gpulab.answers import Job
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.registry import register
from exa_cli.schedulers.retry import Patience
from exa_cli.schedulers.submission import Outcome, Submission
from exa_cli.schedulers.types import JobState, Request, Settings, Submitted

TIMEOUT_S = 60.0
RETRY_S = 120.0

PROGRAM = "gpulab-cli"

_LISTED = 200
"""Jobs of the user that one question lists, the newest first; others are asked for singly."""

_SKEW_S = 300.0
"""How much the clocks of this machine and of the service may differ."""

_UNKNOWN = ("not found", "no such job", "does not exist", "404")


@register("gpulab")
class GpuLab:
    """Jobs of GPULab. See the package's docstring."""

    kind = "gpulab"
    program = PROGRAM

    def __init__(self, settings: Settings) -> None:
        options = settings.options
        self._env = {k: v for k, v in settings.env.items() if k not in marks.ALL}
        self._timeout = options.get("timeout_s", TIMEOUT_S)
        bound = options.get("retry_s", RETRY_S)
        self._patience = Patience(bound, settle=bound / 4)

    def usable(self) -> str | None:
        """None when the client is here and has a certificate, else what is missing."""
        if shutil.which(PROGRAM, path=self._env.get("PATH")) is None:
            return f"not on the PATH: {PROGRAM} (pip install imecilabt-gpulab-cli)"
        return None if self._env.get("GPULAB_CERT") else "GPULAB_CERT names no login certificate"

    def shared_as(self) -> str:
        """By the certificate, which stands for the user."""
        return self._env.get("GPULAB_CERT", "")

    def submit(self, request: Request) -> Submitted:
        """Hand in the request on standard input. It must name the job as exa looks for it."""
        try:
            name = json.loads(request.script)["name"]
        except (ValueError, LookupError, TypeError) as error:
            raise Refused("what would be submitted is no request of GPULab") from error
        if name != request.name:
            raise Refused(f"the request names its job {name!r}, not {request.name!r}")
        done = Submission(self, self._patience, request).run()
        return Submitted(done.job_id, done.message)

    def hand_in(self, request: Request) -> Outcome:
        """Submit once. Raises proc.NotStarted or proc.TimedOut, or Refused."""
        if request.environment:
            raise Refused("GPULab takes variables in the request only", hint="docker.environment")
        done = self._run(["submit"], 2 * self._timeout, request.workdir, request.script)
        return answers.submission(done.code, done.out, done.err)

    def named(self, name: str, since: float | None) -> list[str]:
        """Ids of the user's jobs of that name; one that continues another is not counted.

        Raises Unreachable.
        """
        begin = None if since is None else since - _SKEW_S
        found = [job for job in self._listing() if job.name == name and job.first is None]
        young = [j for j in found if begin is None or j.created is None or j.created >= begin]
        return [job.uuid for job in sorted(young, key=lambda job: job.created or 0.0)]

    def find(self, name: str, since: float | None = None) -> list[str]:
        return self.named(name, since)

    def query(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """One listing for all; single questions for those it does not reach back to."""
        if not job_ids:
            return {}
        listed = self._listing()
        return {job: self._answer(job, listed) for job in job_ids}

    def cancel(self, job_id: str) -> None:
        """Cancel the job that goes on with this one now. Raises NotFound, Refused, Unreachable."""
        known = self._listing()
        job = answers.newest(_checked(job_id), known) or self._single(job_id)
        if job is None:
            raise NotFound(f"GPULab does not know a job {job_id}")
        if answers.state(job).state == "ended":
            return
        done = self._ask(["cancel", job.uuid])
        if done.code != 0:
            raise Refused(f"{PROGRAM} cancel: {answers.said(done.err)}")

    def signal(self, job_id: str, signum: int) -> None:
        raise Refused("GPULab sends no signals on request", hint="exa cancel ends the job")

    def queues(self) -> tuple[LiveQueue, ...]:
        """None: it has no queues."""
        return ()

    def nodes(self) -> tuple[LiveNode, ...]:
        """None: it does not tell."""
        return ()

    def recover(self, job_id: str) -> None:
        """Nothing: an accepted job needs none of our programs."""

    def _answer(self, job_id: str, listed: list[Job]) -> JobState:
        if not re.fullmatch(answers.UUID, job_id):
            return _not_found()
        try:
            job = answers.newest(job_id, listed) or self._single(job_id)
        except Unreachable as error:
            words = error.what
            return JobState(state="unknown", source=PROGRAM, words=words, answer="not-answered")
        return answers.state(job) if job else _not_found()

    def _listing(self) -> list[Job]:
        """The user's newest jobs. Raises Unreachable."""
        done = self._ask(["jobs", "--strict-user", "--raw", "--max-count", str(_LISTED)])
        found = answers.jobs(done.out) if done.code == 0 else None
        if found is None:
            raise _unreached(done)
        return found

    def _single(self, job_id: str) -> Job | None:
        """One job; None when the service does not know it. Raises Unreachable."""
        done = self._ask(["jobs", job_id, "--raw"])
        if done.code != 0 and any(sign in done.err.lower() for sign in _UNKNOWN):
            return None
        found = answers.jobs(done.out) if done.code == 0 else None
        if not found:
            raise _unreached(done)
        return found[0]

    def _ask(self, words: list[str]) -> Finished:
        """A question's answer. Raises Unreachable."""
        done = self._run(words, self._timeout, Path("/"))
        if answers.unreached(done.code, done.err):
            raise _unreached(done)
        return done

    def _run(self, words: list[str], timeout: float, cwd: Path, stdin: str = "") -> Finished:
        argv = [PROGRAM, *words]
        return asked.run(argv, timeout=timeout, cwd=cwd, env=self._env, stdin=stdin)


def _not_found() -> JobState:
    words = "GPULab does not know the job"
    return JobState(state="unknown", source=PROGRAM, words=words, answer="not-found")


def _unreached(done: Finished) -> Unreachable:
    words = answers.said(done.err) or "it gave no answer that can be read"
    return Unreachable(f"{PROGRAM}: {words}", where=" ".join(done.argv))


def _checked(job_id: str) -> str:
    """An id that is safe on a command line. Raises NotFound."""
    if not re.fullmatch(answers.UUID, job_id):
        raise NotFound(f"{job_id!r} is no job id of GPULab")
    return job_id.lower()
