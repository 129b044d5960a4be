"""The sign of life a rank gives: what it is doing and how far it is."""

from __future__ import annotations

import os
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.files import is_full, to_json

INTERVAL = 0.5
"""Seconds between two writes within a phase."""


class Pulse:
    """``SCRATCH/heartbeat/RRRRRR.json``, rewritten at most twice a second and at every new phase.

    It beats only when the rank's own code gets there: a beat from a thread of its own would
    vouch for a rank that hangs. Renamed into place, not fsynced: it means nothing after a crash.
    A disk that is full takes no beat; whether that ends the run is for a save to find out.
    """

    def __init__(self, scratch: Path, rank: int) -> None:
        self._path = scratch / "heartbeat" / f"{rank:06d}.json"
        self._tmp = self._path.with_suffix(".tmp")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._last, self._phase = 0.0, ""

    def beat(self, phase: str, step: int) -> None:
        """``phase`` is start, step, checkpoint or validate; ``step`` the last one finished."""
        now = clock.monotonic()
        if phase == self._phase and now - self._last < INTERVAL:
            return
        self._last, self._phase = now, phase
        record = {"t": clock.iso(), "phase": phase, "step": step, "pid": os.getpid()}
        try:
            self._tmp.write_text(to_json(record, indent=None))
            os.replace(self._tmp, self._path)
        except OSError as error:
            if not is_full(error):
                raise
