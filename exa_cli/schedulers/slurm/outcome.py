"""What the end of a command says: done, refused, not reached, or nothing for certain. Pure.

| sbatch | its words | outcome |
|---|---|---|
| printed an id | – | accepted, whatever came after |
| 255 | – | refused: it does not understand an option |
| 1 | "… (connect failure)", no configuration | not sent: there is certainly no job |
| 1 | "Slurm temporarily unable to accept job", standby … | busy: refused now, perhaps not later |
| 1 | "Socket timed out", another "Unable to contact", … | open: the request may have arrived |
| 1 | anything else | refused, in these words |
| 0 without an id, a signal, no words, our time limit | – | open |

Sources: recordings of 22.05; slurm_errno.c of 22.05 for the words of faults that were not seen.
"""

from __future__ import annotations

import re

from exa_cli.schedulers.submission import Kind, Outcome

_NOT_SENT = (
    "(connect failure)",
    "Unable to process configuration file",
    "Unable to establish controller machine",
    "Unable to establish configuration source",
    "DNS SRV lookup failed",
)
_BUSY = (
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "standby mode",
    "try again",
)
_OPEN = (
    "timed out",
    "Unable to contact slurm controller",
    "receive failure",
    "send failure",
    "shutdown failure",
    "Zero Bytes were transmitted or received",
    "Connection reset",
    "Connection refused",
    "Broken pipe",
    "authentication",
    "Unexpected message received",
    "Communication connection failure",
    "Insane message length",
)


def submission(code: int, out: str, err: str) -> Outcome:
    """The table above."""
    words = said(err)
    if job := _printed_id(out):
        return Outcome("accepted", words, job)
    if code == 255:
        return Outcome("refused", words)
    if code != 1 or not words:
        return Outcome("open", words or f"sbatch ended with status {code} and printed no job id")
    return Outcome(_kind(words), words)


def _kind(words: str) -> Kind:
    """Of several complaints the one that leaves most open counts, but for no connection at all:
    then sbatch itself says why it could not even ask."""
    for kind, signs in _SIGNS:
        if any(sign.lower() in words.lower() for sign in signs):
            return kind
    return "refused"


_SIGNS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("not-sent", _NOT_SENT),
    ("open", _OPEN),
    ("busy", _BUSY),
)


def _printed_id(out: str) -> str | None:
    """``ID``, or ``ID;CLUSTER`` where a cluster was named."""
    for line in out.splitlines():
        if found := re.fullmatch(r"(\d{1,10})(?:;[\w.-]+)?", line.strip(), re.ASCII):
            return found[1]
    return None


def unreached(words: str) -> bool:
    """Whether a command that failed did so because it got no answer."""
    return _kind(words) != "refused"


def spoiled(err: str) -> bool:
    """Whether a command said that its answer is none, for all its exit status 0.

    With a user directory that is down squeue says "Invalid user" and prints an empty table
    (seen with 22.05). Other complaints are let pass: a client that does not know a key of the
    configuration complains of that each time.
    """
    return unreached(err) or "Invalid user" in err or "slurm_load_jobs error" in err


def unknown_job(words: str) -> bool:
    """Whether the controller said that it has no such job."""
    return "Invalid job id specified" in words


def over_already(words: str) -> bool:
    """Whether scancel was too late, which is no failure."""
    return "already completing or completed" in words


def no_accounting(words: str) -> bool:
    """Whether this cluster keeps no accounting at all."""
    return "accounting storage is disabled" in words.lower()


def said(err: str) -> str:
    """A command's complaints, without its name before each."""
    lines = (re.sub(r"^\w+: (?:error: |fatal: )?", "", line) for line in err.splitlines())
    return "\n".join(line for line in lines if line.strip())
