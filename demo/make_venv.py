"""Make a virtual environment with pip, also where Debian left ensurepip out of its Python.

Debian ships ``venv`` without ``ensurepip`` unless the package python3-venv is installed. Where
the interpreter has pip of its own, that can fill the environment instead.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 - this file has to run on an older one to say so
        sys.exit(f"exa needs Python 3.10 or newer; this is {sys.version.split()[0]}.\n"
                 "  hint: make PYTHON=/path/to/python3.12 demo")  # fmt: skip
    target = Path(sys.argv[1])
    if not has("ensurepip") and not has("pip"):
        sys.exit(
            "this Python has neither ensurepip nor pip, so nothing can be installed.\n"
            "  hint: apt install python3-venv, or make PYTHON=/path/to/another/python3 demo"
        )
    venv.create(target, with_pip=has("ensurepip"))
    if not has("ensurepip"):
        python = str(target / "bin" / "python")
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "pip"], check=True
        )


if __name__ == "__main__":
    main()
