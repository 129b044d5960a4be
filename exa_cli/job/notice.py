"""Notices to the supervisor: handlers only set a flag, the watch loop acts on it."""

from __future__ import annotations

import signal
from types import FrameType

WANTED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Notice:
    """The first signal that asked the supervisor to stop, by name; None while there was none."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def listen(self) -> None:
        """Catch the signals batch systems send before they kill."""
        for wanted in WANTED:
            signal.signal(wanted, self._note)

    def take(self, name: str | None) -> None:
        """A notice that another node got, by the signal's name."""
        self.signal = self.signal or name

    def _note(self, number: int, _: FrameType | None) -> None:
        self.take(signal.Signals(number).name)
