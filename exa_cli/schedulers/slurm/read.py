"""What squeue, sacct and scontrol print, as rows. Pure.

Each table has a header, and is read only with it: a controller that is down made a command
print nothing and exit 0 (recorded), and an absent job must never be read out of that. After
the header every line must be a row; one that is not makes the whole answer unreadable, since
leaving it out would make a job absent too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from exa_cli.base.errors import Unreachable
from exa_cli.schedulers.slurm import states
from exa_cli.schedulers.slurm.states import Code

SQUEUE_FORMAT = "%i|%T|%S|%e|%r"
"""Id, state, start, end, and last the reason: free text, which may hold anything."""

NAMES_FORMAT = "%i|%T|%V|%j"
"""Id, state, time of submission, and last the name."""

SACCT_FIELDS = "JobID,State,ExitCode,Start,End"
SACCT_NAMES = "JobID,State,Submit,JobName"


class Unreadable(Unreachable):
    """A command's output is not what its format says: as good as no answer."""


@dataclass(frozen=True)
class Row:
    """One job, or one part of an array or of a heterogeneous job, in one source.

    Attributes:
        job_id: the whole job's: 14 of ``14_2``, ``14_[3-5%2]``, and ``14+1``.
        state: as printed.
        code: how the script ended, where the source says.
        started, ended: seconds since the epoch.
        why: Slurm's own reason, "" where there is none.
    """

    job_id: str
    state: str
    code: Code | None = None
    started: float | None = None
    ended: float | None = None
    why: str = ""


T = TypeVar("T")

Reader = Callable[[str], "list[Row]"]

_ID = re.compile(r"(\d{1,10})(?:_\d+|_\[[\d,:%-]+(?:\.\.\.)?\]|\+\d+)?", re.ASCII)
_STATE = re.compile(r"[A-Z][A-Z_]*\+?(?: by \d+)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_SCONTROL = (
    "JobId", "ArrayJobId", "HetJobId", "JobState", "ExitCode", "StartTime", "EndTime",
)  # fmt: skip
_NO_JOBS = ("", "No jobs in the system")
_NO_TIME = ("N/A", "Unknown", "None", "")
_NO_REASON = ("None", "(null)", "")


def squeue(text: str) -> list[Row]:
    """A table of SQUEUE_FORMAT. Raises Unreadable."""
    return _table(text, 5, "squeue", _squeue_row)


def sacct(text: str) -> list[Row]:
    """A table of SACCT_FIELDS. Raises Unreadable."""
    return _table(text, 5, "sacct", _sacct_row)


def named(text: str, name: str, since: float, command: str) -> list[str]:
    """Ids of the jobs of exactly this name: all that live, and ended ones submitted at ``since``
    or later.

    Out of a table of ids, states, times of submission and names. Raises Unreadable.
    """
    rows = _table(text, 4, command, _named_row)
    ours = (job for job, lives, at, found in rows if found == name and (lives or at >= since))
    return list(dict.fromkeys(ours))


def _named_row(fields: list[str]) -> tuple[str, bool, float, str]:
    job, state, submitted, name = fields
    lives = states.meaning(_state(state)).phase != "ended"
    return _job(job), lives, _time(submitted) or 0.0, name


def scontrol(text: str) -> list[Row]:
    """What ``scontrol -o show job`` prints: a line a job. Raises Unreadable."""
    lines = [line for line in text.split("\n") if line.startswith("JobId=")]
    if not lines and text.strip() not in _NO_JOBS:
        raise _unreadable("scontrol", text)
    return [_guarded("scontrol", line, _scontrol_row) for line in lines]


def _table(text: str, fields: int, command: str, row: Callable[[list[str]], T]) -> list[T]:
    """The rows after the header. What a site's wrapper prints before that is passed over."""
    lines = text.split("\n")
    header = next((n for n, line in enumerate(lines) if _is_header(line, fields)), None)
    if header is None or lines[-1]:
        raise _unreadable(command, text)
    rows = (line for line in lines[header + 1 :] if line)
    return [_guarded(command, line, lambda one: row(_split(one, fields))) for line in rows]


def _is_header(line: str, fields: int) -> bool:
    return line.upper().startswith("JOBID|") and line.count("|") == fields - 1


def _split(line: str, fields: int) -> list[str]:
    parts = line.split("|", fields - 1)
    if len(parts) != fields:
        raise ValueError(f"{len(parts)} fields instead of {fields}")
    return parts


def _guarded(command: str, line: str, row: Callable[[str], T]) -> T:
    try:
        return row(line)
    except (ValueError, OverflowError) as error:
        raise _unreadable(command, line) from error


def _unreadable(command: str, text: str) -> Unreadable:
    shown = text.strip()[:200]
    words = f"{shown!r} is not what it was asked for" if shown else "it printed nothing"
    return Unreadable(f"{command} gave no answer that can be read: {words}")


def _squeue_row(fields: list[str]) -> Row:
    job, state, start, end, why = fields
    return Row(_job(job), _state(state), None, _time(start), _time(end), _reason(why))


def _sacct_row(fields: list[str]) -> Row:
    job, state, code, start, end = fields
    found = states.code(code, exact=False)
    return Row(_job(job), _state(state), found, _time(start), _time(end))


def _scontrol_row(line: str) -> Row:
    """The first fields of each name are Slurm's own; a comment or command may repeat them."""
    fields = {}
    for key in _SCONTROL:
        found = re.search(rf"(?:^|\s){key}=(\S*)", line)
        fields[key] = found[1] if found else ""
    why = re.search(r"\sReason=(.*?)\sDependency=", line)
    job = fields["HetJobId"] or fields["ArrayJobId"] or fields["JobId"]
    times = _time(fields["StartTime"]), _time(fields["EndTime"])
    code = states.code(fields["ExitCode"], exact=True)
    # It writes job_requeued_in_held_state where squeue writes it with blanks (recorded).
    reason = _reason(why[1] if why else "").replace("_", " ")
    return Row(_job(job), _state(fields["JobState"]), code, *times, reason)


def _job(text: str) -> str:
    found = _ID.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no job id")
    return found[1]


def _state(text: str) -> str:
    if not _STATE.fullmatch(text):
        raise ValueError(f"{text!r} is no state")
    return text


def _reason(text: str) -> str:
    return "" if text in _NO_REASON else text


def _time(text: str) -> float | None:
    """Seconds since the epoch, from a time that was printed with TZ=UTC."""
    if text in _NO_TIME:
        return None
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is no time")
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def by_job(rows: Iterable[Row]) -> dict[str, Row]:
    """One row a job: of several parts one that lives, then one that ended badly."""
    chosen: dict[str, Row] = {}
    for row in rows:
        other = chosen.get(row.job_id)
        if other is None or _weight(row) < _weight(other):
            chosen[row.job_id] = row
    return chosen


def _weight(row: Row) -> tuple[int, bool]:
    order = ("running", "queued", "unknown", "ended")
    return order.index(states.meaning(row.state).phase), row.state == "COMPLETED"
