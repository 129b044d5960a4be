"""Word from outside that reaches a running rank: stop requests, signals, a newer life."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import FrameType

from exa_cli.base import clock
from exa_cli.base.files import read_json
from exa_cli.runs import claims
from exa_train.plan import Life
from exa_train.step import Wishes

LOOK_S = 0.25
"""Seconds between two looks at ``stop.json``; a parallel filesystem answers in milliseconds."""

FENCE_S = 10.0
"""Seconds between two looks at the epoch claims. An older life does no harm meanwhile."""


@dataclass
class Ear:
    """What this rank was told. Signals only set a flag; it is acted on at a step boundary.

    Only rank 0 looks at files; the others learn of it by the step's all-reduce.
    """

    life: Life
    rank: int
    _signal: str | None = None
    _looked: float = field(default=float("-inf"))
    _fenced: float = field(default_factory=lambda: clock.monotonic())
    _wishes: Wishes = field(default_factory=Wishes)

    def listen(self) -> None:
        """Catch SIGTERM, which batch systems send before they kill."""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = signal.Signals(number).name

    def wishes(self) -> Wishes:
        """What is known now."""
        if self.rank == 0:
            self._look(clock.monotonic())
        return Wishes(self._wishes.stop or self._signal is not None, self._wishes.superseded)

    def _look(self, now: float) -> None:
        stop, superseded = self._wishes.stop, self._wishes.superseded
        if now - self._looked >= LOOK_S:
            self._looked, stop = now, stop or self.life.stop_file.exists()
        if now - self._fenced >= FENCE_S:
            fenced = claims.is_fenced(self.life.run_dir, self.life.epoch)
            self._fenced, superseded = now, superseded or fenced
        self._wishes = Wishes(stop, superseded)

    def reason(self) -> str:
        """Why the run stops, as far as this rank knows."""
        if self.life.stop_file.exists():
            return str(read_json(self.life.stop_file).get("reason", "stop.json"))
        return self._signal or "a signal to another rank"
