"""Where the trace of a bug goes: a file, so that a user's screen is spared."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.errors import Unreachable
from exa_cli.base.home import home


def state_home() -> Path:
    """``$XDG_STATE_HOME/exa``, by default ``~/.local/state/exa``."""
    base = os.environ.get("XDG_STATE_HOME") or home(os.environ) / ".local" / "state"
    return Path(base) / "exa"


def keep(error: BaseException) -> str:
    """Write the trace of an error to a file of its own and name it; say so where none can be."""
    text = "".join(traceback.format_exception(error))
    name = f"{clock.iso().replace(':', '')}-{os.getpid()}.txt"
    for place in (_own_folder, tempfile.gettempdir):
        try:
            path = Path(place()) / name
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except (OSError, Unreachable):
            continue
        return str(path)
    return "no file: its trace could not be written anywhere"


def _own_folder() -> str:
    folder = state_home() / "traces"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
