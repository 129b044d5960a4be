"""What ``gpulab-cli`` prints. Pure: text in, jobs out; nothing raises.

| status | state |
|---|---|
| ONHOLD QUEUED ASSIGNED | queued |
| HALTED | queued: the service queues a job that goes on with it |
| STARTING RUNNING CANCELLING MUSTHALT HALTING | running |
| FINISHED | ended: exited |
| FAILED | ended: exited, with a status that the service does not tell |
| CANCELLED DELETED | ended: cancelled |

| submit | its words | outcome |
|---|---|---|
| printed an id | – | accepted |
| failed | a name or a connection that was not to be had | not sent |
| failed | a time-out, a reset connection, a gateway's error | open: it may have arrived |
| failed | other words after ``Error:`` | refused, in these words |
| anything else | – | open |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from exa_cli.schedulers.submission import Outcome
from exa_cli.schedulers.types import EndReason, JobState, Phase

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

_PHASES: dict[str, Phase] = {
    **dict.fromkeys(("ONHOLD", "QUEUED", "ASSIGNED", "HALTED"), "queued"),
    **dict.fromkeys(("STARTING", "RUNNING", "CANCELLING", "MUSTHALT", "HALTING"), "running"),
    **dict.fromkeys(("FINISHED", "FAILED", "CANCELLED", "DELETED"), "ended"),
}

_REASONS: dict[str, EndReason] = {
    "FINISHED": "exited",
    "FAILED": "exited",
    "CANCELLED": "cancelled",
    "DELETED": "cancelled",
}

_NOT_SENT = (
    "name or service not known",
    "failed to resolve",
    "nameresolutionerror",
    "newconnectionerror",
    "connection refused",
    "no route to host",
    "network is unreachable",
)
_OPEN = ("timed out", "timeout", "reset by peer", "remote end closed", "bad gateway", "gateway")


@dataclass(frozen=True)
class Job:
    """One job of the listing. ``first`` is the job that it continues; None for a first one."""

    uuid: str
    name: str
    status: str
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    first: str | None = None
    restarts: int = 0


def jobs(text: str) -> list[Job] | None:
    """The jobs of ``jobs --raw``, of one or of many; None for what is no answer."""
    try:
        raw = json.loads(text)
    except ValueError:
        return None
    rows = raw if isinstance(raw, list) else [raw]
    return [job for row in rows if isinstance(row, dict) and (job := _job(row))]


def _job(raw: dict[str, Any]) -> Job | None:
    uuid, state = raw.get("uuid"), _dict(raw, "state")
    if not isinstance(uuid, str) or not re.fullmatch(UUID, uuid):
        return None
    times, again = (
        _dict(state, "eventTimes", "event_times"),
        _dict(raw, "restartInfo", "restart_info"),
    )
    status = str(state.get("status", "")).upper()
    first = again.get("initialJobUuid", again.get("initial_job_uuid"))
    count = again.get("restartCount", again.get("restart_count"))
    return Job(
        uuid=uuid.lower(),
        name=str(raw.get("name") or ""),
        status=status,
        created=when(times.get("created")),
        started=when(times.get("RUNNING")),
        ended=when(times.get(status)) if _PHASES.get(status) == "ended" else None,
        first=first.lower() if isinstance(first, str) else None,
        restarts=count if isinstance(count, int) else 0,
    )


def _dict(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    """A table by any of its names; both spellings of the schema's fields are legal JSON of it."""
    found = (raw.get(name) for name in names)
    return next((table for table in found if isinstance(table, dict)), {})


def when(text: Any) -> float | None:
    """RFC 3339 to seconds since the epoch."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or timezone.utc).timestamp()


def newest(job_id: str, known: Iterable[Job]) -> Job | None:
    """The job that goes on with one now: itself, or the last that the service made of it."""
    listed = list(known)
    own = next((job for job in listed if job.uuid == job_id), None)
    first = (own.first if own else None) or job_id
    line = [job for job in listed if first in (job.uuid, job.first)]
    return max(line, key=lambda job: job.restarts, default=own)


def state(job: Job) -> JobState:
    """A job as an answer."""
    phase = _PHASES.get(job.status, "unknown")
    return JobState(
        state=phase,
        source="gpulab-cli",
        exit_code=0 if job.status == "FINISHED" else None,
        started=job.started if phase != "queued" else None,
        ended=job.ended,
        reason=_REASONS.get(job.status),
        words=_words(job),
    )


def _words(job: Job) -> str | None:
    if job.status == "HALTED":
        return "halted; the service queues a job that goes on with it"
    if job.status in ("RUNNING", "QUEUED", "FINISHED"):
        return f"restarted {job.restarts} times" if job.restarts else None
    return job.status or "no status"


def submission(code: int, out: str, err: str) -> Outcome:
    """The second table above."""
    found = re.findall(rf"^\s*\"?({UUID})\"?\s*$", out, re.MULTILINE)
    words = said(err)
    if found:
        return Outcome("accepted", words, found[-1].lower())
    lower = err.lower()
    if any(sign in lower for sign in _NOT_SENT):
        return Outcome("not-sent", words)
    if code <= 0 or not words or any(sign in lower for sign in _OPEN) or "Traceback" in err:
        return Outcome("open", words or f"gpulab-cli ended with status {code} and printed no id")
    return Outcome("refused", words)


def unreached(code: int, err: str) -> bool:
    """Whether a question got no answer."""
    lower = err.lower()
    return code != 0 and (
        any(sign in lower for sign in (*_NOT_SENT, *_OPEN)) or "Traceback" in err or not err.strip()
    )


def said(err: str) -> str:
    """The client's complaint; of a traceback the last line."""
    lines = [line for line in err.splitlines() if line.strip()]
    told = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return "\n".join(told or lines[-1:])
