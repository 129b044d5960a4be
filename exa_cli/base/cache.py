"""Where exa keeps what it can make again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from exa_cli.base.home import home


def root(env: Mapping[str, str]) -> Path:
    """``$EXA_CACHE``, or ``$XDG_CACHE_HOME/exa``, by default ``~/.cache/exa``."""
    if own := env.get("EXA_CACHE"):
        return Path(own).absolute()
    return Path(env.get("XDG_CACHE_HOME") or home(env) / ".cache").absolute() / "exa"
