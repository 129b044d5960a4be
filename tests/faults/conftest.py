"""Faults are tried on whole runs, by what the end-to-end tests use."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from kit import exa, prepared

__all__ = ["exa", "prepared"]
