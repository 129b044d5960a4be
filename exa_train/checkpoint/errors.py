"""How saving and loading fail: the same error on every rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exa_cli.base.errors import Damaged, ExaError
from exa_cli.base.files import is_full

Cause = Literal["disk-full", "bad-numbers", "rank-failure", "unknown"]


class CheckpointFailed(ExaError):
    """Nothing was committed. Raised with the same words on every rank that lives.

    Attributes:
        cause: as in ``exa status``: ``disk-full`` (also a quota), ``bad-numbers`` (NaN or
            infinity in the state), ``rank-failure`` (another rank did not answer; whether the
            checkpoint was committed is then not known here), ``unknown`` (the words say it).
    """

    cause: Cause = "unknown"

    @classmethod
    def because(cls, fault: Fault) -> CheckpointFailed:
        error = cls(fault.what, where=fault.where, hint=fault.hint)
        error.cause = fault.cause
        return error


class NoReadableCheckpoint(Damaged):
    """Committed checkpoints exist and none of them can be loaded whole."""


@dataclass(frozen=True)
class Fault:
    """A failure as plain data: what ranks send each other instead of exceptions.

    An exception may not survive pickling, and one that is raised inside a collective leaves
    the other ranks waiting; a value does neither.
    """

    cause: Cause
    what: str
    where: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Fault:
        if isinstance(error, ExaError):
            cause = error.cause if isinstance(error, CheckpointFailed) else "unknown"
            return cls(cause, error.what, error.where, error.hint)
        if isinstance(error, OSError):
            cause = "disk-full" if is_full(error) else "unknown"
            return cls(cause, error.strerror or str(error), error.filename)
        return cls("unknown", f"{type(error).__name__}: {error}")
