"""Gather what there is to know once the launcher has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from exa_cli.base import clock
from exa_cli.base.files import read_json
from exa_cli.job.allocation import Allocation
from exa_cli.job.nodes import Farewell
from exa_cli.job.words import failed_task, killed_for_memory, launcher_words, rank_signal, read
from exa_cli.policy.cause import RankError, Seen
from exa_cli.runs import journal, state
from exa_cli.runs.journal import Event
from exa_cli.runs.state import place


def was_cancelled(here: Allocation) -> bool:
    """Whether the user cancelled this attempt, or the run before exa handed it in."""
    return state.was_cancelled(journal.read(here.run.path), here.attempt)


class Wish:
    """A user's cancel of a run in an allocation of the user's own, which no batch system passes
    on: looked for every few seconds."""

    EVERY_S = 2.0

    def __init__(self, here: Allocation) -> None:
        self._here = here
        self._asked = clock.monotonic()

    def notice(self) -> str | None:
        """SIGTERM, as a batch system would send, once it is cancelled."""
        now = clock.monotonic()
        if not self._here.request.get("here") or now - self._asked < self.EVERY_S:
            return None
        self._asked = now
        return "SIGTERM" if was_cancelled(self._here) else None


class SaveTimes:
    """How long this run's saves have taken, looked up now and then."""

    EVERY_S = 10.0

    def __init__(self, here: Allocation) -> None:
        self._run = here.run.path
        self._asked = clock.monotonic()

    def is_due(self) -> bool:
        now = clock.monotonic()
        due = now - self._asked >= self.EVERY_S
        self._asked = now if due else self._asked
        return due

    def seconds(self) -> list[float]:
        """Seconds that the last save of each life took until it was durable, oldest first."""
        events = journal.read(self._run, brief=True)
        told = (event.fields.get("seconds") for event in events if event.kind == "committed")
        return [float(seconds) for seconds in told if seconds is not None]


def gather(here: Allocation, status: int, reason: str | None, hang: str | None = None) -> Seen:
    """Everything the classifier looks at, but for what the nodes say at their `farewell`."""
    mine = list(_own_events(here))
    kinds = {event.kind for event in mine}
    stopped = reason if "stopped" in kinds else None
    text = read(here.folder / "launcher.log")
    words = launcher_words(text)
    return Seen(
        done="done" in kinds,
        hang=hang,
        cancelled=reason == "cancelled" or was_cancelled(here),
        rank_errors=tuple(_rank_errors(here.folder)),
        memory_kill=status != 0 and killed_for_memory(text),
        stopped_for=stopped,
        launcher_exit=status,
        signal=rank_signal(text),
        trained="training" in kinds,
        notes=(words,) if words and "done" not in kinds and not stopped else (),
    )


def _own_events(here: Allocation) -> Iterator[Event]:
    for event in journal.read(here.run.path):
        if place(event) == (here.attempt, here.life):
            yield event


def _rank_errors(folder: Path) -> Iterator[RankError]:
    for path in sorted((folder / "ranks").glob("*.error.json")):
        try:
            raw = read_json(path)
            rank = int(path.name.split(".")[0])
            echo = raw.get("echo", False)
            yield RankError(rank, raw["cause"], raw["what"], raw.get("step"), echo)
        except (OSError, ValueError, KeyError) as error:
            yield RankError(-1, "rank-failure", f"{path.name} cannot be read: {error}")


def logs_to_keep(here: Allocation, seen: Seen) -> tuple[int, ...]:
    """The ranks whose logs go into the life's folder."""
    return worth_keeping(seen, here.world, failed_task(read(here.folder / "launcher.log")))


def worth_keeping(seen: Seen, world: int, named: int | None) -> tuple[int, ...]:
    """Rank 0's log and the failed ranks'; all of them when nobody said why. Pure.

    Args:
        named: the rank that the launcher says went first. One that is killed says nothing itself,
            and ranks that only noticed do not explain it.
    """
    reasons = {error.rank for error in seen.rank_errors if not error.echo}
    if not seen.done and named is not None:
        reasons.add(named)
    if seen.done or seen.stopped_for or reasons:
        noticed = {error.rank for error in seen.rank_errors}
        return tuple(sorted({0, *reasons, *noticed} & set(range(world))))
    return tuple(range(world))


def farewell(seen: Seen, left: Farewell) -> Seen:
    """What was seen, with what the nodes said when they were tidied. Pure."""
    killed = seen.memory_kill or (left.memory_kill and seen.launcher_exit != 0)
    return replace(
        seen, memory_kill=killed, lost_nodes=left.lost, notes=(*seen.notes, *left.untidy)
    )
