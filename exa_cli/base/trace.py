"""Where the trace of a bug goes: a file, so that a user's screen is spared."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from exa_cli.base import clock


def state_home() -> Path:
    """``$XDG_STATE_HOME/exa``, by default ``~/.local/state/exa``."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "exa"


def keep(error: BaseException) -> Path:
    """Write the trace of an error to a file of its own and name it."""
    text = "".join(traceback.format_exception(error))
    folder = state_home() / "traces"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    path = folder / f"{clock.iso().replace(':', '')}-{os.getpid()}.txt"
    path.write_text(text, encoding="utf-8")
    return path
