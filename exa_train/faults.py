"""How a rank fails: each cause with its exit code, and one file that tells it.

The supervisor reads ``LIFE/ranks/RRRRRR.error.json`` and the exit code; people read the same
three sentences on stderr. ``classify`` is pure: an exception goes in, a `Fault` comes out.
"""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass

from exa_cli.base.errors import ExaError

FINISHED = 0
OTHER = 1
LAUNCH_FAILED = 71
BAD_NUMBERS = 72
DISK_FULL = 73
NO_CHECKPOINT = 74
STOPPED = 75


class RankError(ExaError):
    """A failure of a rank that the supervisor tells apart by ``cause``.

    Attributes:
        agreed: every rank raises the same error at the same place, so all can write it down
            before any of them takes the others along.
    """

    cause = "unknown"
    agreed = False


class LaunchFailed(RankError):
    """Ranks, launcher, MPI and plan do not describe the same world, or cannot meet."""

    code = LAUNCH_FAILED
    cause = "launch-failed"


class BadNumbers(RankError):
    """A loss, gradient or state is not finite; nothing of it was committed."""

    code = BAD_NUMBERS
    cause = "bad-numbers"
    agreed = True


class NothingToLoad(RankError):
    """Committed checkpoints exist and none of them can be read: a person has to decide."""

    code = NO_CHECKPOINT
    cause = "stopped"
    agreed = True


class Superseded(RankError):
    """A newer life has claimed the run; nothing this one writes would count."""

    code = OTHER
    cause = "stopped"
    agreed = True


@dataclass(frozen=True)
class Fault:
    """What ``RRRRRR.error.json`` holds, and the exit code that goes with it.

    ``echo`` marks a rank that only noticed another one's end: it explains nothing.
    """

    code: int
    cause: str
    what: str
    where: str | None
    hint: str | None
    step: int | None
    echo: bool = False

    def record(self) -> dict[str, object]:
        """The JSON record; the exit code is the process's own."""
        fields = asdict(self)
        del fields["code"]
        return fields


_LOST_PEER = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "timed out waiting",
    "application timeout caused",
    "did not answer",
)
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CODES = {"launch-failed": LAUNCH_FAILED, "bad-numbers": BAD_NUMBERS, "disk-full": DISK_FULL}


def classify(error: BaseException, step: int | None) -> Fault:
    """The fault behind an exception, with the last finished step (None before training)."""
    if isinstance(error, ExaError):
        return _named(error, step)
    full = _disk_full(error)
    if full is not None:
        hint = "free space there, or point the run elsewhere; the last checkpoint is untouched"
        return Fault(DISK_FULL, "disk-full", f"no space left: {full}", full.filename, hint, step)
    return _unnamed(error, step)


def _named(error: ExaError, step: int | None) -> Fault:
    """A failure that exa raised itself; ``cause`` says which, where the class has one."""
    cause = getattr(error, "cause", "rank-failure")
    code = error.code if isinstance(error, RankError) else _CODES.get(cause, OTHER)
    lost = cause == "rank-failure" and _lost_peer(error.what)
    return Fault(code, cause, error.what, error.where, error.hint, step, echo=lost)


def _disk_full(error: BaseException | None) -> OSError | None:
    """The full-disk error in a chain of causes, if there is one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _unnamed(error: BaseException, step: int | None) -> Fault:
    text = f"{type(error).__name__}: {error}".strip()
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _NO_MEMORY):
        hint = "a smaller train.microbatch or more nodes need less memory a rank"
        return Fault(OTHER, "out-of-memory", text, None, hint, step)
    if _lost_peer(text):
        hint = "the rank that went first tells why; this one only noticed"
        what = f"another rank went away ({text})"
        return Fault(OTHER, "rank-failure", what, None, hint, step, echo=True)
    hint = "the trace is in this rank's log"
    return Fault(OTHER, "rank-failure", text, None, hint, step)


def _lost_peer(text: str) -> bool:
    return any(words in text.lower() for words in _LOST_PEER)
