"""The user's own commands after the end of an attempt: they change nothing of it any more.

They cannot stand in the job script, whose shell has become the supervisor, so that signals and
the exit status are the supervisor's (docs/decisions.md).
"""

from __future__ import annotations

import os
from pathlib import Path

from exa_cli.base import proc
from exa_cli.base.errors import ExaError
from exa_cli.base.talk import say

CAUSE, STEP = "EXA_CAUSE", "EXA_STEP"
TIMEOUT_S = 60.0
"""An allocation that trains no more is not held for longer."""


def run(commands: str, workdir: Path, cause: str, step: int | None) -> str:
    """Run them in a bash of their own, and say what they print; how they ended, in words.

    Args:
        commands: as in the run file.
        workdir: where they start, as the job script does.
        step: the last one that ran; None = none did, or it is not known.
    """
    env = {**os.environ, CAUSE: cause, STEP: "" if step is None else str(step)}
    try:
        done = proc.run(["bash", "-c", commands], timeout=TIMEOUT_S, cwd=workdir, env=env)
    except ExaError as error:
        return error.what
    except OSError as error:  # its output has nowhere to go, on a full disk
        return f"it was not run: {error.strerror}"
    if words := (done.out + done.err).rstrip():
        say(words)
    return f"status {done.code}"
