"""Saving beside the training: one thread of its own, at most one save in flight.

The thread speaks to the other ranks' threads over a process group that nothing else uses. When
a save is over, the ranks agree in which step they look at it, so that all hear of it alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist

from exa_cli.base import clock
from exa_train.checkpoint.agree import Group, answered
from exa_train.checkpoint.errors import CheckpointFailed, Fault
from exa_train.checkpoint.keeping import Keeper, Kept
from exa_train.checkpoint.saving import Saved, save
from exa_train.checkpoint.staging import Stage

SWITCH_S = 1e-4
"""How long a thread may keep the interpreter's lock from another while a save is in flight. At
python's 5 ms every operator of a step might wait that long for the thread that plans a save. Its
priority stays that of training: a slow holder of the lock would hold up everybody."""

T = TypeVar("T")
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Outcome:
    """How a save ended, the same on every rank but for ``stall_s``.

    Attributes:
        saved: what was committed; None when nothing was.
        kept: what `Keeper.after_save` did then.
        failure: why nothing was committed, or why it could not be tidied up after.
        freed: what was removed to make room, after a save that met a full disk.
        stall_s: seconds for which this rank's training stood still.
        seconds: from when the save was due until it was over.
    """

    step: int
    saved: Saved | None = None
    kept: Kept | None = None
    failure: CheckpointFailed | None = None
    freed: tuple[str, ...] = ()
    stall_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Target:
    """Where the saves of a life go, and what is kept of them. ``keeper`` has the same group."""

    keeper: Keeper
    epoch: int
    group: dist.ProcessGroup | None


def save_and_keep(
    target: Target, state: State, step: int, meta: dict[str, Any], copies: State | None = None
) -> Outcome:
    """Save, read back, remove what is superfluous. Collective over the target's group.

    A failure is part of the outcome. After a full disk whatever is superfluous is removed too.
    """
    saved: Saved | None = None
    try:
        saved = save(
            state,
            root=target.keeper.root,
            step=step,
            epoch=target.epoch,
            meta=meta,
            group=target.group,
            copies=copies,
        )
        return Outcome(step, saved, target.keeper.after_save(saved))
    except CheckpointFailed as failure:
        freed: tuple[str, ...] = ()
        if failure.cause == "disk-full":
            with contextlib.suppress(CheckpointFailed):
                freed = target.keeper.make_room(target.epoch)
        return Outcome(step, saved, None, failure, freed)


class Background:
    """Saves of one life, one at a time. Every method but `step` is collective: all ranks call
    it at the same place of their training, from the thread that trains.

    ``group`` of the target is used by the thread here while a save is in flight; ``votes`` is
    another private gloo group, for the thread that trains.
    """

    def __init__(self, target: Target, votes: dist.ProcessGroup | None) -> None:
        self._target = target
        self._ballot = _Ballot(votes)
        self._stage = Stage()
        self._worker: _Worker | None = None
        self._job: _Job | None = None

    @property
    def step(self) -> int | None:
        """The step whose save is in flight."""
        return self._job.step if self._job else None

    def begin(self, state: State, step: int, meta: dict[str, Any]) -> None:
        """Copy ``state`` and begin to save it; the save before must have been collected."""
        if self._job is not None:
            raise RuntimeError(f"the save of step {self._job.step} is in flight")
        self._worker = self._worker or _Worker()
        began = clock.monotonic()
        copies = self._stage.take(state)

        def work() -> Outcome:
            self._stage.ready()
            return save_and_keep(self._target, state, step, meta, copies)

        self._job = _Job(step, began, work)
        self._worker.give(self._job)
        self._job.stall_s = clock.monotonic() - began

    def over(self) -> bool:
        """Whether the save in flight is over on every rank, as of the call before this one.

        It is asked at every step boundary and never waits: each call gives this rank's vote
        and reads the one before it, which has come in while a step was computed.
        """
        return self._job is not None and self._ballot.passed(self._job)

    def wait(self) -> Outcome:
        """The outcome of the save in flight, once it is over. Its failure is in it.

        Raises what is no failure of a save: a bug, or a peer whose save broke off like that.
        """
        job, self._job = self._job, None
        if job is None:
            raise RuntimeError("no save is in flight")
        self._ballot.close()
        return job.result()

    def gather(self, value: T) -> list[T]:
        """``value`` of every rank, by rank, on every rank."""
        return self._ballot.team.gather(value)

    def now(self, state: State, step: int, meta: dict[str, Any]) -> Outcome:
        """Save while the training waits, straight from the state."""
        if self._job is not None:
            raise RuntimeError(f"the save of step {self._job.step} is in flight")
        began = clock.monotonic()
        outcome = save_and_keep(self._target, state, step, meta)
        took = clock.monotonic() - began
        return dataclasses.replace(outcome, stall_s=took, seconds=took)


class _Job:
    """One save and how it ended: in an outcome, or in an error that is no failure of a save."""

    def __init__(self, step: int, began: float, work: Callable[[], Outcome]) -> None:
        self.step = step
        self.stall_s = 0.0
        self._began = began
        self._work = work
        self._ended = threading.Event()
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None

    @property
    def over(self) -> bool:
        return self._ended.is_set()

    @property
    def broken(self) -> bool:
        return self._error is not None

    def run(self) -> None:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            outcome = self._work()
            took = clock.monotonic() - self._began
            self._outcome = dataclasses.replace(outcome, seconds=took)
        except BaseException as error:  # noqa: BLE001 - raised where it is looked at
            self._error = error
        sys.setswitchinterval(usual)
        self._ended.set()

    def result(self) -> Outcome:
        """Wait for the end. Raises the error, if that is what it ended in."""
        began = clock.monotonic()
        self._ended.wait()
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        stall = self.stall_s + clock.monotonic() - began
        return dataclasses.replace(self._outcome, stall_s=stall)


class _Worker:
    """The thread that saves. It ends with the process: nobody leaves while a save is in flight,
    unless all is lost anyway."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threads, single = torch.get_num_threads(), threading.Event()
        threading.Thread(target=self._serve, args=(single,), name="save", daemon=True).start()
        single.wait()
        torch.set_num_threads(threads)

    def give(self, job: _Job) -> None:
        self._jobs.put(job)

    def _serve(self, single: threading.Event) -> None:
        """One thread is enough to keep a disk busy, and more would take cores from training.

        torch keeps one number of threads for the process, which a thread takes over when it
        first asks: so this one asks for 1, and the trainer's thread then puts its own back.
        """
        torch.set_num_threads(1)
        torch.get_num_threads()
        single.set()
        while True:
            self._jobs.get().run()


class _Ballot:
    """Agreement on the step in which all ranks look at a save that is over."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.team = Group(group)
        self._cast: tuple[dist.Work, torch.Tensor] | None = None

    def passed(self, job: _Job) -> bool:
        """Read the last vote, and give the next unless it was unanimous."""
        if self.team.alone:
            return job.over
        over, broken = self.close()
        if broken:
            _break_off(job)
        if over == self.team.world:
            return True
        vote = torch.tensor([job.over, job.over and job.broken], dtype=torch.int64)
        with answered():
            work = dist.all_reduce(vote, group=self.team.process_group, async_op=True)
        self._cast = (work, vote)
        return False

    def close(self) -> tuple[int, int]:
        """How many ranks said that their save is over, and that it broke off."""
        if self._cast is None:
            return 0, 0
        (work, vote), self._cast = self._cast, None
        with answered():
            work.wait()
        over, broken = vote.tolist()
        return over, broken


def _break_off(job: _Job) -> NoReturn:
    """Raise what broke a save off, on every rank in the same step: the others' threads would
    wait for the broken one until the timeout."""
    if job.broken:
        job.result()
    what = f"the save of step {job.step} broke off on another rank, which did not answer any more"
    raise CheckpointFailed.because(Fault("rank-failure", what))
