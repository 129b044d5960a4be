"""Bad numbers, met in a run: try again, skip, compare replicas, repair, go back.

The choices are `exa_train.trouble`'s and `exa_train.replicas`'s; here they are carried out, and
each is told as an event. Everything is collective and comes out the same on every rank.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from exa_cli.checkpoint.names import parse_directory
from exa_cli.checkpoint.select import choose
from exa_cli.checkpoint.verify import survey
from exa_cli.runs import claims
from exa_train import replicas, state
from exa_train import step as steps
from exa_train.checkpoint import Loaded, NoReadableCheckpoint, load
from exa_train.checkpoint.agree import Group
from exa_train.faults import BadNumbers
from exa_train.replicas import Finding, Report
from exa_train.soundness import Adam, faults
from exa_train.step import Outcome
from exa_train.trouble import Action, Case, Sighting, decide, ranks_in_words, some

if TYPE_CHECKING:
    from exa_train.loop import Trainer

HINT = "a lower train.lr, a longer train.warmup or train.precision = fp32 may avoid it"

Try = Callable[[], tuple[Outcome, Tensor]]
"""Computes the step's gradients: what ranks agree on, and this rank's own tally."""


def settled(t: Trainer, number: int, gradients: Try) -> tuple[Outcome, Action]:
    """Step ``number``, tried twice if need be, and what is to become of it.

    ``skip`` and ``update`` are the caller's to do; ``roll-back`` is done. A superseded run is the
    caller's to end, whatever the action. Raises BadNumbers where the run has to stop.
    """
    policy, seen = t.plan.policy, None
    for tries in itertools.count(1):
        outcome, mine = gradients()
        case = _case(t, outcome, tries)
        action = decide(case, policy.bad_step, policy.skip_at_most)
        if case.bad is None or outcome.superseded:
            break
        seen = sighting(t, case.bad, mine)
        t.optimizer.zero_grad(set_to_none=True)
        if action != "retry":
            _carry_out(t, number, action, seen)
            return outcome, action
    if seen is not None and case.bad is None:
        t.chronicle.tell("retried", step=number, **seen.fields())
    return outcome, action


def _case(t: Trainer, outcome: Outcome, tries: int) -> Case:
    """What is known of a try. The state is looked at when it may be why the step fails."""
    bad = outcome.bad(t.plan.train.clip)
    sound = bad is None or tries < 2 or _sound_everywhere(t)
    return Case(bad, tries, sound, t.skips.row)


def sighting(t: Trainer, quantity: str, mine: Tensor) -> Sighting:
    """Which ranks and tensors a bad quantity was seen on."""
    every = Group(t.group).gather(steps.seen_here(t.engine, mine))
    ill = [rank for rank, (loss, _) in enumerate(every) if loss]
    held = [rank for rank, (_, names) in enumerate(every) if names]
    names = dict.fromkeys(name for _, listed in every for name in listed)
    return Sighting(quantity, tuple(ill or held), tuple(names))


def _carry_out(t: Trainer, number: int, action: Action, seen: Sighting) -> None:
    """What follows when a step has failed again."""
    if action == "stop":
        raise _stopped(t, number, seen)
    if action == "roll-back":
        roll_back(t, number, f"{seen.quantity} is not finite, twice, {seen.where}")
        return
    after = t.skips.after(action)
    t.chronicle.tell(
        "skipped-step", step=number, in_a_row=after.row, in_all=after.total, **seen.fields()
    )


def _stopped(t: Trainer, number: int, seen: Sighting) -> BadNumbers:
    twice = f"{seen.quantity} is not finite in step {number}, twice from the same state"
    if t.skips.row:
        twice += f", after {t.skips.row} skipped steps in a row"
    where = f"{seen.where}, before the update; the last checkpoint is step {t.step} or older"
    return BadNumbers(twice, where=where, hint=HINT)


def adam(t: Trainer) -> Adam:
    train = t.plan.train
    return Adam(train.beta1, train.beta2, t.step - t.skips.total)


def _sound_everywhere(t: Trainer) -> bool:
    found = faults(state.tensors(t.engine, t.optimizer), adam(t))
    return not any(Group(t.group).gather(bool(found)))


def well(t: Trainer) -> bool:
    """Whether the state is sound and the same on all ranks that share it, repaired if need be.

    False = the run went back to a checkpoint. Raises BadNumbers where the run has to stop.
    """
    found = state.tensors(t.engine, t.optimizer)
    lines, each, reports = _reports(t, found)
    finding = replicas.judge(reports)
    if finding.well:
        return True
    names = replicas.differing(Group(t.group).gather(each), reports, finding)
    said = enumerate(Group(t.group).gather(lines))
    told = [f"rank {rank}: {line}" for rank, listed in said for line in listed]
    if finding.lost:
        return _lost(t, finding, names, told)
    _repaired(t, found, finding, names)
    return True


def _reports(
    t: Trainer, found: Mapping[str, Tensor]
) -> tuple[list[str], dict[str, int], list[Report]]:
    """This rank's faults and checksums, and every rank's report. Nobody's bits are summed
    where no two ranks hold the same."""
    team = Group(t.group)
    parts = team.gather(replicas.part_of(found))
    lines = faults(found, adam(t))
    each = replicas.digests(found) if len(set(parts)) < len(parts) else {}
    mine = Report(parts[team.rank], replicas.digest_of(each), sound=not lines)
    return lines, each, team.gather(mine)


def _repaired(
    t: Trainer, found: Mapping[str, Tensor], finding: Finding, names: dict[int, list[str]]
) -> None:
    """Take what differs from a healthy rank, and look again."""
    replicas.repair(found, finding, names, t.rank, t.group)
    state.set_optimizer_step(t.optimizer, t.step - t.skips.total)
    sources = sorted(set(finding.repairs.values()))
    _tell(t, "diverged", finding.repairs, names, f"repaired from {ranks_in_words(sources)}")
    _, _, reports = _reports(t, found)
    if not replicas.judge(reports).well:
        raise BadNumbers(
            f"{ranks_in_words(sorted(finding.repairs))} differs again after the repair",
            where=f"step {t.step}; nothing of it was committed",
            hint="its memory does not keep what is written there: leave its node out",
        )


def _lost(t: Trainer, finding: Finding, names: dict[int, list[str]], told: list[str]) -> bool:
    """No rank can vouch for these: go back, or stop where the policy says so."""
    ill = ranks_in_words(finding.lost)
    why = f"{ill} differ and no majority says which is right" if any(names.values()) else ""
    why = "; ".join(filter(None, (why, *some(told)))) or f"{ill} cannot be vouched for"
    stops = t.plan.policy.bad_step == "stop"
    event = "diverged" if any(names.values()) else "unsound"
    done = "stopped" if stops else "rolled back"
    _tell(t, event, finding.lost, names, done, faults=some(told))
    if stops:
        raise BadNumbers(f"the state is not sound after step {t.step}: {why}", hint=HINT)
    roll_back(t, t.step, why)
    return False


def _tell(
    t: Trainer,
    event: str,
    ranks: Sequence[int] | Mapping[int, int],
    names: dict[int, list[str]],
    done: str,
    **more: Any,
) -> None:
    tensors = list(dict.fromkeys(name for listed in names.values() for name in listed))
    t.chronicle.tell(
        event, step=t.step, ranks=sorted(ranks), tensors=some(tensors), done=done, **more
    )


def roll_back(t: Trainer, failed: int, why: str) -> None:
    """Go on from the newest checkpoint that may still help; `trouble.Back` says which may.

    Raises BadNumbers when there is none.
    """
    t.optimizer.zero_grad(set_to_none=True)
    t.settle()
    below = t.back.below(failed)
    names = Group(t.group).leader_does(lambda: candidates(t.life.run_dir, below))
    try:
        loaded = read(t, names)
    except NoReadableCheckpoint as error:
        raise _no_way_back(failed, why, error.what) from error
    if loaded is None:
        older = "" if below is None else f" older than step {below}, from which it failed before"
        raise _no_way_back(failed, why, f"there is no checkpoint{older}")
    t.back = t.back.then(failed, loaded.step)
    restore(t, loaded)
    t.chronicle.tell("rolled-back", step=failed, to=loaded.step, name=loaded.name, why=why)


def _no_way_back(failed: int, why: str, obstacle: str) -> BadNumbers:
    return BadNumbers(f"no way back from step {failed}: {why}", where=obstacle, hint=HINT)


def candidates(run_dir: Path, below: int | None) -> list[str]:
    """Checkpoints that count now, the best first, of steps before ``below``."""
    known = claims.read_claims(run_dir)
    reports = survey(run_dir / "checkpoints")
    names = choose(reports, lambda name, epoch: claims.counts(known, name, epoch)).candidates
    return [name for name in names if below is None or _step(name) < below]


def _step(name: str) -> int:
    parsed = parse_directory(name)
    return parsed[0] if parsed else 0


def read(t: Trainer, names: Sequence[str]) -> Loaded | None:
    """Load the first of these checkpoints that is whole and sound; as `load`."""
    train = t.plan.train

    def check(found: Mapping[str, Tensor], meta: dict[str, Any]) -> list[str]:
        return faults(found, Adam(train.beta1, train.beta2, meta["optimizer_steps"]))

    return load(
        state.tensors(t.engine, t.optimizer),
        root=t.checkpoints,
        candidates=names,
        group=t.group,
        check=check,
    )


def restore(t: Trainer, loaded: Loaded) -> None:
    """Take up what a checkpoint says besides its tensors, telling what was passed over."""
    for skipped in loaded.skipped:
        t.chronicle.tell("skipped", name=skipped.name, reason=skipped.reason)
    t.step = loaded.step
    t.skips = state.skips(loaded.meta)
    state.set_optimizer_step(t.optimizer, loaded.meta["optimizer_steps"])
