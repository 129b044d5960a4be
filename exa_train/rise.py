"""A rank on its way up, as everything that builds or reports on it sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exa_cli.base import clock

if TYPE_CHECKING:
    from exa_train.loop import Trainer


@dataclass
class Rise:
    """A rank on its way up: what whoever tells of a failure needs to know of it."""

    launch_file: Path
    started: float = field(default_factory=clock.monotonic)
    rank: int = 0
    comm: Any = None
    trainer: Trainer | None = None

    @property
    def step(self) -> int | None:
        """The last finished step, None before training."""
        return self.trainer.step if self.trainer else None

    def say(self, text: str) -> None:
        """Rank 0 tells how far it is, with the seconds since the process started."""
        if self.rank == 0:
            print(f"[{clock.monotonic() - self.started:8.2f}] {text}", flush=True)
