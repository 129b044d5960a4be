"""The training loop: load, step, validate, save, stop. Every rank runs it in lockstep.

Step N is the state after N optimizer steps. Every decision here is the same on all ranks: it
follows from the plan, from the step, or from the step's all-reduce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from exa_cli.base import clock
from exa_cli.base.errors import ExaError
from exa_cli.runs import claims, journal
from exa_cli.runs.interrupts import History, history
from exa_train import mend, optim, state
from exa_train import step as steps
from exa_train.checkpoint import (
    Background,
    Keeper,
    Loaded,
    NoReadableCheckpoint,
    Target,
)
from exa_train.chronicle import Chronicle
from exa_train.device import Device
from exa_train.faults import FINISHED, STOPPED, BadNumbers, NothingToLoad, Superseded
from exa_train.feed import Feed, Windows
from exa_train.metrics import losses, rates, resident_bytes
from exa_train.outside import Ear
from exa_train.pace import Pace
from exa_train.parallel import Engine
from exa_train.plan import Life, Plan
from exa_train.pulse import Pulse
from exa_train.saves import Saves
from exa_train.schedule import learning_rate
from exa_train.step import Outcome
from exa_train.trouble import Back, Skips
from exa_train.validate import held_out_loss


@dataclass(frozen=True)
class Speed:
    """What utilisation is stated against: FLOPs of a token, FLOP/s of all ranks by peak."""

    flops_per_token: int
    peaks: dict[str, float | None]


@dataclass
class Trainer:
    """Everything one rank trains with. ``step`` is the last finished optimizer step; ``skips``
    of them made no update. ``back`` is the last roll-back of this life.

    ``group`` and ``saving`` are private gloo groups: what this thread and the one that saves
    agree on with their likes. ``settle`` waits for the save in flight: nothing is loaded beside.
    """

    plan: Plan
    life: Life
    rank: int
    group: dist.ProcessGroup | None
    saving: dist.ProcessGroup | None
    device: Device
    engine: Engine
    optimizer: torch.optim.Optimizer
    feed: Feed
    held_out: Windows
    ear: Ear
    pulse: Pulse
    chronicle: Chronicle
    speed: Speed
    step: int = 0
    skips: Skips = field(default_factory=Skips)
    back: Back = field(default_factory=Back)
    settle: Callable[[], None] = lambda: None

    @property
    def checkpoints(self) -> Path:
        return self.life.run_dir / "checkpoints"

    @property
    def finished(self) -> bool:
        return self.step >= self.plan.train.steps

    def due(self, every: int) -> bool:
        """Whether something done every so many steps, and after the last one, is due now."""
        return self.finished or self.step % every == 0


def run(t: Trainer) -> int:
    """Train from the newest readable checkpoint to the last step, or to a stop; the exit code.

    Raises BadNumbers, NothingToLoad, Superseded, CheckpointFailed; see `exa_train.faults`.
    """
    keeper = resume(t)
    if not t.finished:
        t.chronicle.open_metrics(t.step)
        t.chronicle.tell("training", step=t.step)
        train(t, saves_of(t, keeper))
    if not t.finished:
        t.chronicle.conclude("stopped", step=t.step, reason=t.ear.reason())
        return STOPPED
    t.chronicle.conclude("done", step=t.step)
    return FINISHED


def train(t: Trainer, saves: Saves) -> None:
    """Step until the last one, or until a rank was asked to stop; either is committed."""
    t.settle = saves.settle
    try:
        take_steps(t, saves)
    except BadNumbers:
        saves.settle()  # what was begun before is good, or it was bad first and says so
        raise


def take_steps(t: Trainer, saves: Saves) -> None:
    """The steps of `train`, each with what is due after it.

    A save that is due while steps are being skipped waits for a step that makes an update: the
    state may be why they fail.
    """
    stopping = owed = False
    while not (t.finished or stopping):
        taken = take_step(t)
        if taken is None:
            owed = False
            continue
        outcome, record = taken
        record = record and record | saves.take_stall()
        stopping = outcome.stop and not t.finished
        owed = owed or saves.due(t.step)
        saving = (owed and not t.skips.row) or stopping or t.finished
        if (saving or t.due(t.plan.policy.compare_every)) and not mend.well(t):
            stopping = owed = False
            continue
        validating = t.due(t.plan.train.validate_every) and not stopping
        if validating:
            record["held_out"] = validate(t)
        if record and (validating or t.due(t.plan.train.log_every)):
            t.chronicle.measure(t.step, record)
        saves.at(t.step, due=saving, last=t.finished or stopping)
        owed = owed and not saving


def take_step(t: Trainer) -> tuple[Outcome, dict[str, Any]] | None:
    """One optimizer step and its record, which is empty if the step was skipped; None if the
    run went back instead. Raises BadNumbers before anything is updated."""
    began, number, train = clock.monotonic(), t.step + 1, t.plan.train
    t.pulse.beat("step", t.step)
    outcome, action = mend.settled(t, number, lambda: gradients(t, number))
    if outcome.superseded:
        raise superseded(t)
    if action == "roll-back":
        return None
    rate = learning_rate(number, train)
    optim.set_learning_rate(t.optimizer, rate)
    if action == "update":
        steps.update(t.engine, t.optimizer, outcome.grad_norm, train.clip)
    t.step, t.skips = number, t.skips.after(action)
    if action == "skip":
        return outcome, {}
    pace = rates(outcome.tokens, clock.monotonic() - began, t.speed.flops_per_token, t.speed.peaks)
    return outcome, {**losses(outcome, rate), **pace, "rss_bytes": resident_bytes()}


def gradients(t: Trainer, number: int) -> tuple[Outcome, Tensor]:
    """Forward and backward of step ``number`` on all ranks: what they agree on about it, and
    this rank's own tally."""
    train = t.plan.train
    steps.reseed(train.seed, number, t.rank, t.device)
    batches = t.feed.step(number)
    sums, load = steps.backward(t.engine, batches, t.device, train.precision)
    tokens = sum(batch.tokens.numel() for batch in batches)
    mine = steps.tally(sums, load, optim.square_sum(t.engine, t.rank), tokens, t.ear.wishes())
    total = steps.reduced(mine, t.plan.parallel.world)
    return steps.outcome(total, train.microbatches, t.plan.model.experts), mine


def superseded(t: Trainer) -> Superseded:
    return Superseded(
        "a newer life has claimed this run",
        where=f"epoch {t.life.epoch}, attempt {t.life.attempt}, life {t.life.life}",
        hint="nothing is lost: the newer life goes on from the last checkpoint that counts",
    )


def validate(t: Trainer) -> float:
    """Score the held-out windows: nats per token."""
    value = held_out_loss(
        t.engine, t.held_out, t.plan, t.device, t.rank, lambda: t.pulse.beat("validate", t.step)
    )
    t.chronicle.tell("validated", step=t.step, loss=value)
    return value


def saves_of(t: Trainer, keeper: Keeper) -> Saves:
    """What saves this life's steps, into the run's checkpoints."""
    target = Target(keeper, t.life.epoch, t.saving)
    return Saves(
        t.plan.checkpoint,
        Background(target, votes=t.group),
        t.chronicle,
        state=lambda: state.tensors(t.engine, t.optimizer),
        meta=lambda step: state.meta(t.plan, t.life, step, t.skips),
        waiting=lambda: t.pulse.beat("checkpoint", t.step),
        pace=Pace(t.plan.checkpoint, t.step, interrupts(t)),
    )


def interrupts(t: Trainer) -> History:
    """What interrupted this run before. Only rank 0 is asked, and a journal that cannot be read
    tells of none."""
    if t.rank == 0 and t.plan.checkpoint.adaptive:
        try:
            return history(journal.read(t.life.run_dir, brief=True), t.life.attempt, t.life.life)
        except (ExaError, OSError) as error:
            t.chronicle.say(f"earlier interrupts are not known: {error}")
    return History(0, 0.0)


def resume(t: Trainer) -> Keeper:
    """Load the newest candidate that verifies, or begin at step 0 when there is none.

    Returns the keeper of checkpoints, which counts the loaded one as verified.
    """
    try:
        loaded = mend.read(t, t.life.candidates)
    except NoReadableCheckpoint as error:
        raise NothingToLoad(error.what, where=error.where, hint=error.hint) from error
    if loaded is None:
        t.chronicle.tell("loaded", step=0, name=None)
        return keeper_of(t, ())
    take_up(t, loaded)
    return keeper_of(t, (loaded.name,))


def take_up(t: Trainer, loaded: Loaded) -> None:
    """Go on from a loaded checkpoint, saying what was passed over and what is not promised."""
    mend.restore(t, loaded)
    t.chronicle.tell("loaded", step=loaded.step, name=loaded.name)
    broken = state.broken_promises(loaded.meta["promise"], state.promise(t.plan))
    if broken:
        t.chronicle.tell("promise-downgraded", step=loaded.step, keys=broken)


def keeper_of(t: Trainer, verified: Iterable[str]) -> Keeper:
    """What prunes this run's checkpoints; it trusts those in ``verified``."""

    def accepts(name: str, epoch: int) -> bool:
        return claims.counts(claims.read_claims(t.life.run_dir), name, epoch)

    return Keeper(
        t.checkpoints,
        keep=t.plan.checkpoint.keep,
        parity_bytes=t.plan.checkpoint.parity_bytes,
        accepts=accepts,
        group=t.saving,
        verified=verified,
    )
