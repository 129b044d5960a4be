"""The data that comes with exa: ``sites/`` and ``templates/``.

In a checkout, and so in an editable installation, they stand beside the package at the top
of the repository; in a wheel they are inside it (``setup.py`` maps them).
"""

from __future__ import annotations

from pathlib import Path

import exa_cli
from exa_cli.base.errors import Damaged

_PACKAGE = Path(exa_cli.__file__).parent


def folder(name: str, package: Path = _PACKAGE) -> Path:
    """The folder ``sites`` or ``templates``. Raises Damaged when the installation lacks it."""
    inside, beside = package / f"_{name}", package.parent / name
    # Beside only with the file that makes it our repository: site-packages may hold any
    # folder named "sites".
    in_checkout = (package.parent / "pyproject.toml").is_file()
    for candidate in (inside, beside) if in_checkout else (inside,):
        if candidate.is_dir():
            return candidate
    raise Damaged(
        f"this installation of exa has no {name}", where=str(inside), hint="install it again"
    )


def read(name: str, file: str) -> str:
    """The text of a file in one of the folders. Raises OSError."""
    return (folder(name) / file).read_text(encoding="utf-8")
