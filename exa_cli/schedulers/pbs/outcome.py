"""What the end of a command says: done, refused, not reached, or nothing for certain. Pure.

| qsub | its words | outcome |
|---|---|---|
| printed an id | – | accepted, whatever came after |
| any status | "cannot connect to server", "Unknown Host" | not sent: there is certainly no job |
| any status | "Premature end of message", "timed out" … | open: it may have arrived |
| a status other than 0 | other words | refused, in these words |
| 0 without an id, a signal, no words, our time limit | – | open |

A status is the server's error number modulo 256, so words decide, not numbers. Sources:
recordings openpbs/02, 15, 16; pbs_error.h and pbs_db messages of OpenPBS for what was not seen.
"""

from __future__ import annotations

import re

from exa_cli.schedulers.pbs import read
from exa_cli.schedulers.submission import Kind, Outcome

_NOT_SENT = ("cannot connect to server", "couldn't connect to cluster", "unknown host", "pbs_iff")
"""pbs_iff says who we are before anything is sent."""

_OPEN = (
    "end of file",
    "premature end of message",
    "timed out",
    "broken pipe",
    "connection reset",
    "no reply",
    "protocol",
    "communication failure",
    "errno=15031",
)


def submission(code: int, out: str, err: str) -> Outcome:
    """The table above."""
    words = said(err)
    if found := [job for job in read.ids(out) if "." in job]:
        return Outcome("accepted", words, found[-1])
    if code <= 0 or not words:
        return Outcome("open", words or f"qsub ended with status {code} and printed no job id")
    return Outcome(_kind(words), words)


def _kind(words: str) -> Kind:
    lower = words.lower()
    if any(sign in lower for sign in _NOT_SENT):
        return "not-sent"
    return "open" if any(sign in lower for sign in _OPEN) else "refused"


def unreached(code: int, err: str) -> bool:
    """Whether a command that failed did so because it got no answer.

    qstat may then print a header all the same.
    """
    return code != 0 and (_kind(said(err)) != "refused" or not err.strip())


def no_history(err: str) -> bool:
    """Whether the server keeps no ended jobs: a question for those too gets no answer at all."""
    return "not configured to maintain job history" in err


def unknown_jobs(err: str) -> list[str]:
    """Ids that the server said it does not know, or that are not of this server."""
    return re.findall(r"(?:Unknown Job Id|illegally formed job identifier:) (\S+)", err)


def finished(err: str) -> bool:
    """Whether a command came too late, which is no failure."""
    return "has finished" in err


def said(err: str) -> str:
    """A command's complaints, without its name before each and without its usage."""
    lines = err.partition("\nusage:")[0].splitlines()
    return "\n".join(re.sub(r"^q\w+: ", "", line) for line in lines if line.strip())
