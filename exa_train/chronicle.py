"""What rank 0 tells the world: journal events, metrics, and lines for people on stdout.

Other ranks hold a chronicle too, and it is silent: the loop need not ask who it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exa_cli.base import clock
from exa_cli.base.files import is_full
from exa_cli.runs.journal import Journal, writer_name
from exa_train.metrics import Metrics
from exa_train.plan import Life

TALK_S = 2.0
"""Seconds between two lines about steps on stdout."""


class Chronicle:
    """One life's record, kept by rank 0.

    A full disk does not end training here: events wait in memory, metrics and lines are lost.
    """

    def __init__(self, life: Life, rank: int, started: float) -> None:
        self._life, self._started, self._talked = life, started, float("-inf")
        self._journal: Journal | None = None
        self._metrics: Metrics | None = None
        self._held: list[tuple[str, dict[str, Any]]] = []
        self.speaks = rank == 0
        if self.speaks:
            writer = writer_name(f"rank-{life.attempt}-{life.life}")
            self._journal = Journal(life.run_dir, writer)

    def open_metrics(self, step: int) -> None:
        """Begin to write metrics after ``step``; not before, so a failed start leaves none."""
        if self.speaks:
            life = self._life
            self._metrics = Metrics(
                life.run_dir / "metrics", attempt=life.attempt, life=life.life, resumed_at=step
            )

    def tell(self, event: str, **fields: Any) -> None:
        """A journal event, and a line. It is durable when this returns, unless the disk is full:
        then it is written before the next one."""
        try:
            self.conclude(event, **fields)
        except OSError as error:
            if not is_full(error):
                raise

    def conclude(self, event: str, **fields: Any) -> None:
        """An event on which the verdict about this life rests: durable, or OSError."""
        if self._journal is None:
            return
        self.say(f"{event} " + " ".join(f"{k}={v}" for k, v in fields.items()))
        self._held.append((event, fields))
        while self._held:
            kind, told = self._held[0]
            self._journal.append(kind, **told)
            del self._held[0]

    def say(self, text: str) -> None:
        """A line with the seconds since the process started."""
        if not self.speaks:
            return
        try:
            print(f"[{clock.monotonic() - self._started:8.2f}] {text}", flush=True)
        except OSError as error:
            if not is_full(error):
                raise

    def measure(self, step: int, values: Mapping[str, Any]) -> None:
        """Metrics of a step; every now and then a line of them."""
        if self._metrics is None:
            return
        if not self._metrics.write(step, values):
            self.say(f"step {step}: the disk is full, so its metrics are lost")
        now = clock.monotonic()
        if now - self._talked >= TALK_S:
            self._talked = now
            self.say(summary(step, values))

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
        if self._journal is not None:
            self._journal.close()


def summary(step: int, values: Mapping[str, Any]) -> str:
    """The telling numbers of a step in one line. Pure."""
    parts = [f"step {step}"]
    for name, form in (
        ("loss", ".4f"),
        ("grad_norm", ".3f"),
        ("lr", ".3g"),
        ("tokens_per_s", ".0f"),
    ):
        if values.get(name) is not None:
            parts.append(f"{name} {values[name]:{form}}")
    return "  ".join(parts)
