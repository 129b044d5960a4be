"""What ``qstat -f`` and qselect print. Pure: text in, rows out; nothing raises.

A job is a line ``Job Id: ID`` and lines ``    name = value``; a value that goes on begins its
next line with a tab. A variable's value may hold newlines as they are, so that a line of it can
look like an attribute: of what stands before the variables the first counts, of what comes
after them the last.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

_JOB = re.compile(r"Job Id: (\S+)")
_ATTRIBUTE = re.compile(r" {4}([A-Za-z_.]+) = (.*)")
_ID = re.compile(r"\d+(?:\[\d*\])?(?:\.[A-Za-z0-9][\w.-]*)?", re.ASCII)

_BEFORE_VARIABLES = frozenset(
    {"Job_Name", "Job_Owner", "job_state", "queue", "ctime", "Rerunable", "substate", "stime",
     "obittime", "Hold_Types", "Resource_List.walltime"}
)  # fmt: skip
"""In the order of the attributes in qstat's output (recordings: openpbs/04, 11)."""


@dataclass(frozen=True)
class Row:
    """One job. What was not printed, or is no number or time, is None.

    Attributes:
        state: PBS's letter. substate: its number.
        exit_status: of the last run; kept while a requeued job waits.
        created, started, obit: seconds since the epoch. ``obit`` is after output was delivered.
        stageout: 0 when output could not be delivered.
    """

    job_id: str
    name: str = ""
    state: str = ""
    substate: int | None = None
    exit_status: int | None = None
    created: float | None = None
    started: float | None = None
    obit: float | None = None
    walltime_s: int | None = None
    stageout: int | None = None
    rerunable: bool | None = None
    holds: str = ""
    comment: str = ""
    array: bool = False


def qstat(text: str) -> list[Row]:
    """The jobs of ``qstat -f``, in its order; of an id that stands there twice the first."""
    rows: dict[str, Row] = {}
    job: str | None = None
    lines: list[str] = []
    for line in [*text.split("\n"), "Job Id: end"]:
        if found := _JOB.fullmatch(line):
            if job is not None:
                rows.setdefault(job, _row(job, lines))
            job, lines = found[1], []
        else:
            lines.append(line)
    return list(rows.values())


def _row(job_id: str, lines: list[str]) -> Row:
    said = _attributes(lines)
    owed = said.get("Rerunable")
    return Row(
        job_id=job_id,
        name=said.get("Job_Name", ""),
        state=said.get("job_state", ""),
        substate=_number(said.get("substate")),
        exit_status=_number(said.get("Exit_status")),
        created=when(said.get("ctime")),
        started=when(said.get("stime")),
        obit=when(said.get("obittime")),
        walltime_s=duration(said.get("Resource_List.walltime")),
        stageout=_number(said.get("Stageout_status")),
        rerunable=None if owed is None else owed == "True",
        holds=said.get("Hold_Types", ""),
        comment=said.get("comment", ""),
        array=said.get("array") == "True" or "[" in job_id,
    )


def _attributes(lines: list[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    at: str | None = None
    for line in lines:
        if found := _ATTRIBUTE.fullmatch(line):
            at = found[1]
            if at in _BEFORE_VARIABLES and at in said:
                at = None
            else:
                said[at] = found[2]
        elif line.startswith("\t") and at is not None:
            said[at] += line[1:]
    return said


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else None


def when(text: str | None) -> float | None:
    """ctime(3) in UTC: ``Sun Nov 22 09:04:58 2026``."""
    try:
        return float(calendar.timegm(time.strptime(text or "", "%a %b %d %H:%M:%S %Y")))
    except (ValueError, OverflowError):
        return None


def duration(text: str | None) -> int | None:
    """``HH:MM:SS``, ``MM:SS`` or seconds."""
    if not text or not re.fullmatch(r"\d{1,9}(:\d{1,2}){0,2}", text, re.ASCII):
        return None
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds


def ids(text: str) -> list[str]:
    """Ids that qselect printed, or qsub among other lines, such as a site's own messages."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if _ID.fullmatch(line)]


def by_id(asked: Iterable[str], printed: Iterable[str]) -> dict[str, str]:
    """Asked id → the printed one it means: the same, or the same without its server."""
    whole = {job: job for job in printed}
    bare = {job.partition(".")[0]: job for job in reversed(list(whole))}
    pairs = ((job, whole.get(job) or bare.get(job)) for job in asked)
    return {job: found for job, found in pairs if found}
