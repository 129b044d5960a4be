"""Every failure exa shows a user: what is wrong, where, and what to do about it.

The exit code belongs to the class, so a caller chooses the class and never a number.
"""

from __future__ import annotations


class ExaError(Exception):
    """A failure with a message in three parts.

    Attributes:
        what: one sentence, what is wrong.
        where: file:line, key, option or path; None when there is no place.
        hint: what the reader can do next; None when nothing helps.
        parts: the single faults, where this is several in one; else empty.
        code: the process exit code (the table in ``docs/cli.md``).
    """

    code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.parts: tuple[ExaError, ...] = ()

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  at: {self.where}")
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)


class Usage(ExaError):
    """The command line itself is wrong."""

    code = 2


class Invalid(ExaError):
    """A run file, profile, input or plan cannot be satisfied; nothing was submitted."""

    code = 3


class Refused(ExaError):
    """The scheduler answered, and the answer was no. Carries its own words."""

    code = 4


class Unreachable(ExaError):
    """A scheduler or filesystem did not answer: the state is unknown, nothing is assumed."""

    code = 5


class NotFound(ExaError):
    """No such run, site or checkpoint."""

    code = 6


class Damaged(ExaError):
    """Data is damaged beyond what exa can repair."""

    code = 7


class RunFailed(ExaError):
    """The run that was waited for ended in failure."""

    code = 8


class Findings(ExaError):
    """A check ran and found something; the data went to stdout already."""

    code = 9


def several(cls: type[ExaError], faults: list[ExaError]) -> ExaError:
    """One error out of many, so that a user mends a file in one go."""
    single = [part for fault in faults for part in (fault.parts or (fault,))]
    if len(single) == 1:
        return single[0]
    body = "\n".join(f"- {fault}".replace("\n", "\n  ") for fault in single)
    error = cls(f"{len(single)} faults:\n{body}")
    error.parts = tuple(single)
    return error
