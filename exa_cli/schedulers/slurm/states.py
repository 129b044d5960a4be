"""Slurm's words for the state of a job, and its exit codes. Pure.

Sources: squeue(1), JOB STATE CODES, of 20.11 to 25.05, and recordings of 22.05. What is not in
the table is unknown: a word of a later version is never read as an end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from exa_cli.schedulers.types import EndReason, Phase


@dataclass(frozen=True)
class Meaning:
    """What a state says.

    Attributes:
        phase: in the words that are the same for all batch systems.
        reason: why it ended, for an end.
        final: False for an end after which Slurm may start the same job again by itself: such
            a word of accounting proves nothing while the controller has not spoken.
    """

    phase: Phase
    reason: EndReason | None = None
    final: bool = True


_QUEUED = Meaning("queued")
_RUNNING = Meaning("running")
_UNKNOWN = Meaning("unknown")

TABLE: dict[str, Meaning] = {
    "PENDING": _QUEUED,
    "CONFIGURING": _QUEUED,  # nodes are being made ready, the script has not started
    "POWER_UP_NODE": _QUEUED,
    "EXPEDITING": _QUEUED,
    "REQUEUED": _QUEUED,
    "REQUEUE_FED": _QUEUED,
    "REQUEUE_HOLD": _QUEUED,
    "RESV_DEL_HOLD": _QUEUED,
    "SPECIAL_EXIT": _QUEUED,  # requeued and held; scontrol release starts it again
    "RUNNING": _RUNNING,
    # Processes are being killed, up to KillWait and more; it may be on its way back to PENDING.
    "COMPLETING": _RUNNING,
    "RESIZING": _RUNNING,
    "SIGNALING": _RUNNING,
    "STAGE_OUT": _RUNNING,
    "STOPPED": _RUNNING,
    "SUSPENDED": _RUNNING,
    "COMPLETED": Meaning("ended", "exited"),
    "FAILED": Meaning("ended", "exited"),
    "CANCELLED": Meaning("ended", "cancelled"),
    "TIMEOUT": Meaning("ended", "walltime"),
    "DEADLINE": Meaning("ended", "walltime"),
    "OUT_OF_MEMORY": Meaning("ended", "out-of-memory"),
    "PREEMPTED": Meaning("ended", "preempted", final=False),
    "NODE_FAIL": Meaning("ended", "node-failure", final=False),
    "BOOT_FAIL": Meaning("ended", "node-failure", final=False),
    "RECONFIG_FAIL": Meaning("ended", "node-failure", final=False),
    "LAUNCH_FAILED": Meaning("ended", "launch-failed", final=False),
    "REVOKED": _UNKNOWN,  # another cluster of a federation has it
}


def word(text: str) -> str:
    """The state in what a command prints: sacct says "CANCELLED by 15001"."""
    return text.partition(" ")[0].rstrip("+")


def meaning(text: str) -> Meaning:
    """What a printed state says; unknown for a word that is not in the table."""
    return TABLE.get(word(text), _UNKNOWN)


@dataclass(frozen=True)
class Code:
    """How a script ended, as Slurm writes it, ``EXIT:SIGNAL``.

    ``exact`` is False for accounting's, which loses the high bit of an exit status: 137 is
    9:0 there (recorded), so 9 may be 137.
    """

    exit: int
    signal: int
    exact: bool = True

    @property
    def certain(self) -> bool:
        """Whether the exit status is what the script gave."""
        return self.exact or not 0 < self.exit < 128

    @property
    def text(self) -> str:
        """In words; "" for a plain success, and for a number that only the state explains."""
        if self.signal == NO_OUTPUT:
            return "its output file could not be opened"
        if self.signal:
            return f"signal {self.signal}" if self.signal <= _LAST_SIGNAL else ""
        doubt = "" if self.certain else f", or {self.exit + 128}"
        return f"exit {self.exit}{doubt}" if self.exit else ""


NO_OUTPUT = 53
"""In the place of a signal: the output file could not be opened, so nothing ran (recorded)."""

_LAST_SIGNAL = 64


def code(text: str, *, exact: bool) -> Code | None:
    """``3:0`` → exit 3. None for what is no exit code."""
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text, re.ASCII)
    return Code(int(found[1]), int(found[2]), exact) if found else None


def exit_code(reason: EndReason | None, found: Code | None) -> int | None:
    """The script's exit status, where it ended by itself."""
    if found is None or found.signal or reason != "exited":
        return None
    return found.exit


def end_signal(found: Code | None) -> int | None:
    """The signal that ended the script. 125 (out of memory) and 53 are none."""
    if found is None or found.signal == NO_OUTPUT or not 0 < found.signal <= _LAST_SIGNAL:
        return None
    return found.signal


def reason(text: str, found: Code | None) -> EndReason | None:
    """Why a job in this state ended.

    Slurm's own Reason does not serve: it says JobLaunchFailure for every script that a signal
    ended (recorded).
    """
    if word(text) == "FAILED" and found and found.signal == NO_OUTPUT:
        return "launch-failed"
    return meaning(text).reason
