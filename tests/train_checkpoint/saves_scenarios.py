"""What a rank does in the tests of saving beside the training. Runs in forked gloo ranks only.

`training` is a run in small: steps that change the state in place, with a small all-reduce in
each, and `exa_train.saves.Saves` at their boundaries.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from ckpt_scenarios import Place, Result, die_at, local, refused, spread, whole

from exa_cli.runs.interrupts import History
from exa_train.checkpoint import Background, Keeper, Saved, Target, background, save
from exa_train.checkpoint.staging import Stage
from exa_train.pace import Pace
from exa_train.plan import Saving
from exa_train.saves import Saves


@dataclass
class Told:
    """A chronicle that keeps what it is told."""

    events: list[list[Any]] = field(default_factory=list)

    def tell(self, event: str, **fields: Any) -> None:
        self.events.append([event, fields])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == kind]


class Training:
    """State, saves and steps of one life on one rank; ``votes`` is a group of its own."""

    def __init__(
        self, place: Place, *, every: int = 2, keep: int = 9, mode: str = "async", **more: Any
    ) -> None:
        self.place, self.told, self.step = place, Told(), 0
        self.held: threading.Event | None = None
        self.values = spread(whole(0), "rows", place.world)
        votes = dist.new_group(backend="gloo")
        accepts: Callable[[str, int], bool] = lambda name, epoch: True  # noqa: E731
        keeper = Keeper(place.root, keep=keep, accepts=accepts, group=place.group)
        self.background = Background(Target(keeper, 1, place.group), votes)
        policy = Saving(every=every, keep=keep, mode=mode, **more)
        self.saves = Saves(
            policy,
            self.background,
            self.told,  # type: ignore[arg-type]
            state=lambda: self.values,
            meta=lambda step: {"step": step},
            waiting=self._waits,
            pace=Pace(policy, 0, History(0, 0.0)),
        )

    def _waits(self) -> None:
        """The training is about to stand still: what held the disk up lets go of it now."""
        self.told.tell("waits", step=self.step)
        if self.held is not None:
            self.held.set()

    def take_step(self, *, last: bool = False) -> None:
        self.step += 1
        for name, value in spread(whole(self.step), "rows", self.place.world).items():
            local(self.values[name]).copy_(local(value))
        dist.all_reduce(torch.ones(1))
        self.saves.at(self.step, due=self.saves.due(self.step), last=last)

    def until(self, true: Callable[[], bool]) -> None:
        """Steps until something is true that all ranks see alike."""
        while not true():
            self.take_step()

    def hold_disk(self) -> None:
        """Writes of the thread that saves wait until the training does."""
        self.held = held = threading.Event()
        real = os.write

        def slow(fd: int, data: Any) -> int:
            if threading.current_thread().name == "save":
                held.wait()
            return real(fd, data)

        os.write = slow


def slow_disk(place: Place, steps: int) -> Result:
    """The disk takes nothing before somebody waits for it; saves are due every ``steps``."""
    run = Training(place, every=steps)
    if place.rank == place.world - 1:
        run.hold_disk()
    for _ in range(2 * steps - 1):
        run.take_step()
    before = [event for event, _ in run.told.events]
    stall_before = run.saves.take_stall()
    run.take_step()
    run.take_step(last=True)
    return {"before": before, "events": run.told.events, "stall": stall_before}


def collected_alike(place: Place, seed: int) -> Result:
    """Saves whose end the ranks see at different times: the steps in which they were told."""
    chance = random.Random(seed + place.rank)
    run = Training(place, every=1)
    real = background.save_and_keep

    def ends_late(*args: Any) -> Any:
        outcome = real(*args)
        threading.Event().wait(chance.random() * 0.02)
        return outcome

    background.save_and_keep = ends_late
    told = []
    for _ in range(12):
        run.take_step()
        told.append([e for e, f in run.told.events if e in ("committed", "waits")])
    run.take_step(last=True)
    return {"told": told, "committed": [f["step"] for f in run.told.of("committed")]}


def failing_in_background(place: Place, rank: int, error: str, fails: int, keep: int = 9) -> Result:
    """``fails`` saves in a row fail on one rank, after a good one; how far training came."""
    run = Training(place, every=2, keep=keep)
    run.until(lambda: len(run.told.of("committed")) == 1)
    real, left = os.write, [fails]

    def failing(fd: int, data: Any) -> int:
        if left[0] and os.readlink(f"/proc/self/fd/{fd}").endswith(".exa.tmp"):
            left[0] -= 1
            raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))
        return real(fd, data)

    if place.rank == rank:
        os.write = failing
    began = run.step

    def until_saved_again() -> None:
        run.until(lambda: len(run.told.of("committed")) == 3)
        run.take_step(last=True)

    result = refused(until_saved_again)
    return {**result, "began": began, "step": run.step, "events": run.told.events}


def full_at_the_end(place: Place, fails: int) -> Result:
    """The last save of a life meets a full disk, ``fails`` times."""
    run = Training(place, every=100)
    run.take_step()
    left, real = [fails], os.fsync

    def failing(fd: int) -> None:
        if left[0] and os.readlink(f"/proc/self/fd/{fd}").endswith(".exa.tmp"):
            left[0] -= 1
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(fd)

    os.fsync = failing
    return {**refused(lambda: run.take_step(last=True)), "events": run.told.events}


def room_is_made(place: Place) -> Result:
    """A fresh life meets a full disk beside four old checkpoints and a leftover of its own."""
    for step in (1, 2, 3, 4):
        save(
            spread(whole(step), "rows", place.world),
            root=place.root,
            step=step,
            epoch=1,
            meta={},
            group=place.group,
        )
    if place.rank == 0:
        (place.root / "step-00000005.dead").mkdir()
        (place.root / "step-00000005.dead" / "OPEN.json").write_text('{"epoch": 1}')
    dist.barrier()
    return full_again(place, keep=2)


def full_again(place: Place, keep: int) -> Result:
    run = Training(place, every=2, keep=keep)
    real, left = os.write, [1]

    def failing(fd: int, data: Any) -> int:
        if left[0] and os.readlink(f"/proc/self/fd/{fd}").endswith(".exa.tmp"):
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    os.write = failing
    run.step = 5
    run.take_step()
    run.saves.settle()
    failed = run.told.of("save-failed")[0]
    left_then = sorted(path.name for path in place.root.iterdir())
    os.write = real
    run.take_step(last=True)
    return {"freed": failed["freed"], "left": left_then, "committed": run.told.of("committed")}


def broken_off(place: Place) -> Result:
    """A bug in one rank's thread; the other's waits in a collective for it."""
    run = Training(place, every=2)
    real = background.save

    def buggy(*args: Any, **kwargs: Any) -> Saved:
        if place.rank == 1:
            raise TypeError("a bug")
        return real(*args, **kwargs)

    background.save = buggy  # type: ignore[assignment]
    try:
        run.until(lambda: False)
    except Exception as error:  # noqa: BLE001 - what it is, is the result
        return {"error": type(error).__name__, "words": str(error), "step": run.step}
    raise AssertionError("it never ended")


def killed_in_background(place: Place, seed: int) -> Result:
    """Train until a random change to the filesystem, on a random rank, kills that rank."""
    chance = random.Random(seed)
    victim, point = chance.randrange(place.world), chance.randrange(80)
    run = Training(place, every=1)
    if place.rank == victim:
        die_at(point, torn=chance.random() < 0.5)
    try:
        for _ in range(4):
            run.take_step()
        run.take_step(last=True)
    except Exception as error:  # noqa: BLE001 - a peer that was killed shows in many ways
        return {"error": type(error).__name__}
    return {"error": None}


def threads_of_a_save(place: Place) -> Result:
    """How many threads torch takes in the one that saves, and what the trainer's keeps."""
    torch.set_num_threads(3)
    seen = []
    real = background.save_and_keep

    def looking(*args: Any) -> Any:
        seen.append(torch.get_num_threads())
        return real(*args)

    background.save_and_keep = looking
    run = Training(place, every=1)
    run.take_step()
    run.take_step(last=True)
    return {"saving": seen, "training": torch.get_num_threads()}


def copies_are_reused(place: Place) -> Result:
    """Where the copies of two saves lie, and whether a part that grew gets a new place."""
    stage, state = Stage(), spread(whole(1), "rows", place.world)
    first = {name: copy.data_ptr() for name, copy in stage.take(state).items()}
    second = {name: copy.data_ptr() for name, copy in stage.take(state).items()}
    grown = stage.take({**state, "model.none": torch.ones(3, 3)})["model.none"].tolist()
    right = all(torch.equal(copy, local(state[name])) for name, copy in stage.take(state).items())
    return {"reused": first == second, "grown": grown, "right": right}


def adaptive(place: Place, mode: str, interrupt_s: float) -> Result:
    """A run of forty steps that was planned to save every twenty; ranks of different speed."""
    run = Training(
        place, every=20, mode=mode, adaptive=True, interrupt_s=interrupt_s, interrupt_source="told"
    )
    for step in range(40):
        run.take_step(last=step == 39)
    return {"events": [[e, f] for e, f in run.told.events if e in ("interval", "committed")]}
