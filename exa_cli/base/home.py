"""Where the user's own files are, unless a variable says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from exa_cli.base.errors import Unreachable


def home(env: Mapping[str, str]) -> Path:
    """``$HOME``, else what the user database says of this uid.

    Raises Unreachable where neither knows: a container may run under a uid without an entry.
    """
    try:
        return Path(env.get("HOME") or Path.home())
    except RuntimeError as error:
        raise Unreachable("nobody knows your home directory", hint="set HOME") from error
