"""The hang watch: what the ranks' heartbeats show over time, and their stacks when they stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.checkpoint.names import MANIFEST
from exa_cli.policy import hang as policy
from exa_cli.policy.hang import Hang, Mark

GAP_S = 20.0
"""A longer pause between two of our own looks (a suspended machine, a stopped supervisor) tells
nothing about the ranks: then all is counted anew."""

QUIET_S = 3.0
"""How long ranks stand still before it is looked whether a checkpoint grows instead."""

STACKS_S = 5.0
"""How long ranks have to write down their stacks."""

_REMEMBERED = 1000


@dataclass(frozen=True)
class Settings:
    """``fixed_s``: what the user allows a step; ``floor_s``: the least that is learnt."""

    fixed_s: float | None
    floor_s: float


@dataclass
class HangWatch:
    """What was seen of each rank. Fed about once a second."""

    settings: Settings
    checkpoints: Path
    marks: dict[int, Mark] = field(default_factory=dict)
    _seen: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    steps_s: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _looked: float | None = None
    _written: int = 0
    _step: tuple[int, float] | None = None

    def look(self, beats: Mapping[int, Mapping[str, Any]], heard: Iterable[int]) -> Hang | None:
        """A hang, if there is one now.

        Args:
            beats: each rank's last heartbeat.
            heard: ranks of whose node a sign is new.
        """
        now = clock.monotonic()
        if self._looked is not None and now - self._looked > GAP_S:
            self._forget(now)
        self._looked = now
        self._learn(beats, now)
        wrote = self._still(now) and self._save_grew()
        for rank, beat in beats.items():
            self._mark(rank, beat, now, wrote, rank in set(heard))
        step = policy.limit(self.steps_s, self.settings.fixed_s, self.settings.floor_s)
        return policy.judge(self.marks, now, policy.limits(step))

    def _forget(self, now: float) -> None:
        self._step = None
        self.marks = {r: Mark(m.step, m.phase, now, now) for r, m in self.marks.items()}

    def _mark(
        self, rank: int, beat: Mapping[str, Any], now: float, wrote: bool, heard: bool
    ) -> None:
        """A heartbeat that differs from the last is progress; so is a checkpoint that grows."""
        before, seen = self.marks.get(rank), (beat.get("t"), beat.get("phase"))
        moved = before is None or wrote or seen != self._seen.get(rank)
        self._seen[rank] = seen
        self.marks[rank] = Mark(
            step=int(beat.get("step", 0)),
            phase=str(beat.get("phase", "start")),
            moved=now if moved or before is None else before.moved,
            heard=now if heard or moved or before is None else before.heard,
        )

    def _learn(self, beats: Mapping[int, Mapping[str, Any]], now: float) -> None:
        """How long steps take: between two looks at which the slowest rank was further."""
        steps = [b["step"] for b in beats.values() if b.get("phase") == "step"]
        if not steps:
            self._step = None  # what lies between is no step's time
            return
        slowest = min(steps)
        if self._step and slowest > self._step[0]:
            done = slowest - self._step[0]
            self.steps_s.extend([(now - self._step[1]) / done] * min(done, _REMEMBERED))
        if self._step is None or slowest != self._step[0]:
            self._step = (slowest, now)

    def _still(self, now: float) -> bool:
        """Whether no rank has moved for a while: only then is the filesystem asked for more."""
        return all(now - mark.moved >= QUIET_S for mark in self.marks.values())

    def _save_grew(self) -> bool:
        """Whether a checkpoint that is not committed yet has more bytes than at the last look."""
        written, before = _unfinished_bytes(self.checkpoints), self._written
        self._written = written
        return written > before


def _unfinished_bytes(root: Path) -> int:
    total = 0
    try:
        for folder in root.glob("step-*"):
            if not (folder / MANIFEST).exists():
                total += sum(path.stat().st_size for path in folder.iterdir())
    except OSError:
        return total  # removed under our eyes
    return total


def wait_for_stacks(folder: Path, ranks: Iterable[int], before: Mapping[int, int]) -> list[int]:
    """Wait until the ranks' stack files have grown; the ranks whose did not within `STACKS_S`."""
    give_up, left = clock.monotonic() + STACKS_S, sorted(ranks)
    while left and clock.monotonic() < give_up:
        left = [r for r in left if sizes(folder, [r])[r] <= before.get(r, 0)]
        time.sleep(0.1)
    return left


def sizes(folder: Path, ranks: Iterable[int]) -> dict[int, int]:
    """The sizes of the ranks' stack files; 0 where there is none."""
    paths = {rank: folder / f"{rank:06d}.txt" for rank in ranks}
    return {rank: path.stat().st_size if path.exists() else 0 for rank, path in paths.items()}
