"""When a life saves, and what it says of it: between the training loop and the checkpoints.

Every method is called by all ranks at the same step boundary, and decides alike on all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from exa_cli.base import clock
from exa_train.checkpoint import Background, CheckpointFailed, Kept, Outcome, Saved
from exa_train.chronicle import Chronicle
from exa_train.pace import Pace
from exa_train.plan import Saving


class Saves:
    """The saves of one life.

    A save that finds the disk full frees what is superfluous; the next one that is due tries
    again, and only when that fails too the life ends. The last good checkpoint stays.

    Args:
        policy: the plan's ``[checkpoint]``.
        state: the tensors as they are now.
        meta: what the manifest says of a step besides its tensors.
        waiting: called before the training stands still for a save.
        pace: says which steps are due.
    """

    def __init__(
        self,
        policy: Saving,
        background: Background,
        chronicle: Chronicle,
        *,
        state: Callable[[], dict[str, Tensor]],
        meta: Callable[[int], dict[str, Any]],
        waiting: Callable[[], None],
        pace: Pace,
    ) -> None:
        self._policy, self._background, self._chronicle = policy, background, chronicle
        self._state, self._meta, self._waiting = state, meta, waiting
        self._pace = pace
        self._stall_s = 0.0
        self._full = False
        self._committed: int | None = None

    def due(self, step: int) -> bool:
        """Whether the rhythm asks for a save of this step."""
        return self._pace.due(step)

    def at(self, step: int, *, due: bool, last: bool) -> None:
        """A step has ended: look at the save in flight, begin one of this step if it is due.

        After the last step of a life, whatever ends it, everything is durable when this returns.
        Raises CheckpointFailed for a save that failed, now or in the background.
        """
        began = clock.monotonic()
        self._pace.step_ended(began)
        if self._background.over():
            self._collect()
        if last:
            self._finish(step)
        elif due:
            self._begin(step)
        ended = clock.monotonic()
        self._pace.goes_on(ended)
        self._stall_s += ended - began

    def settle(self) -> None:
        """Wait for the save in flight, if there is one. Raises CheckpointFailed if it failed."""
        if self._background.step is not None:
            self._waiting()
            self._collect()

    def take_stall(self) -> dict[str, float]:
        """Seconds that saving has held up training since this was last asked, as a metric."""
        stall, self._stall_s = round(self._stall_s, 4), 0.0
        return {"save_stall_s": stall} if stall else {}

    def _begin(self, step: int) -> None:
        self._pace.began(step)
        if self._policy.mode == "sync":
            self._now(step)
            return
        self.settle()
        self._background.begin(self._state(), step, self._meta(step))

    def _finish(self, step: int) -> None:
        """Nothing comes after: a disk that was full is tried again at once."""
        self.settle()
        while self._committed != step:
            self._now(step)

    def _now(self, step: int) -> None:
        self._waiting()
        self._ended(self._background.now(self._state(), step, self._meta(step)))

    def _collect(self) -> None:
        self._ended(self._background.wait())

    def _ended(self, outcome: Outcome) -> None:
        """Tell how a save ended. Raises its failure, but for the first of a disk that is full."""
        if outcome.saved is not None:
            self._committed, self._full = outcome.step, False
            self._tell_committed(outcome, outcome.saved)
            self._adapt(outcome)
        if outcome.kept is not None:
            self._tell_kept(outcome, outcome.kept)
        if outcome.failure is not None:
            self._failed(outcome, outcome.failure)

    def _adapt(self, outcome: Outcome) -> None:
        """Let what all ranks saw of a save say how often to save; rank 0's clock counts."""
        if not self._policy.adaptive:
            return
        seen = self._background.gather(self._pace.seen(outcome.stall_s, outcome.seconds))
        before = self._pace.every
        reason = self._pace.adapt(seen)
        if reason is not None:
            every = self._pace.every
            self._chronicle.tell("interval", every=every, before=before, reason=reason)

    def _tell_committed(self, outcome: Outcome, saved: Saved) -> None:
        self._chronicle.tell(
            "committed",
            step=outcome.step,
            name=saved.name,
            epoch=saved.epoch,
            bytes=saved.bytes,
            seconds=round(outcome.seconds, 3),
            stall_s=round(outcome.stall_s, 3),
        )

    def _tell_kept(self, outcome: Outcome, kept: Kept) -> None:
        assert outcome.saved is not None
        if kept.unprotected:
            self._chronicle.tell("unprotected", step=outcome.step, reason=kept.unprotected)
        for fault in kept.faults:
            name = outcome.saved.name
            self._chronicle.tell("read-back-failed", step=outcome.step, name=name, reason=fault)
        if kept.removed:
            self._chronicle.tell("pruned", step=outcome.step, names=list(kept.removed))

    def _failed(self, outcome: Outcome, failure: CheckpointFailed) -> None:
        again = failure.cause == "disk-full" and not self._full and outcome.saved is None
        self._chronicle.tell(
            "save-failed",
            step=outcome.step,
            cause=failure.cause,
            reason=failure.what,
            where=failure.where,
            freed=list(outcome.freed),
            again=again,
        )
        if not again:
            raise failure
        self._full = True
