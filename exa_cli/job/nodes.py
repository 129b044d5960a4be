"""The allocation's nodes as the supervisor reaches them: itself, or through their agents."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from exa_cli.base import clock, proc
from exa_cli.base.errors import Invalid, Unreachable
from exa_cli.job import node, posts
from exa_cli.job.node import Post
from exa_cli.job.posts import Sign, Supervisor
from exa_cli.schedulers import inside
from exa_cli.staging.copy import Staged

SILENT_S = 60.0
"""After how long an agent that gives no new sign counts as lost. A parallel filesystem may
stand still for a while; so may a node, and neither harms the ranks by itself."""

STALE_S = 6.0
"""Three signs of an agent that did not come."""

TIDY_S = 30.0
"""How long nodes have to tidy. Batch systems give a job that ends about as much."""

_LEAVE_S = 2.0
_POLL_S = 0.2
_READ_S = 1.0
_FRESH_S = 5.0


@dataclass(frozen=True)
class Glance:
    """What a look at the nodes showed that is new.

    Attributes:
        notice: a signal from the batch system that a node got, by name.
        silent: nodes whose agents gave no sign for `SILENT_S`.
        beats: the last heartbeat of each rank; empty when this look did not read them.
        heard: the ranks of whose node a sign is new.
    """

    notice: str | None = None
    silent: tuple[str, ...] = ()
    beats: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    heard: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Farewell:
    """What the nodes leave behind when a life is over.

    Attributes:
        step: the newest step any rank finished, None when unknown.
        memory_kill: whether a kernel ended a process for memory while the ranks ran.
        swept: leftovers removed, over all nodes.
        untidy: sentences on nodes that could not be tidied.
        lost: nodes that gave no sign any more.
    """

    step: int | None
    memory_kill: bool
    swept: node.Swept
    untidy: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class Nodes(Protocol):
    """One life's nodes."""

    def sweep(self) -> node.Swept:
        """End what earlier lives left on every node. Raises ExaError or OSError."""

    def stage(self) -> list[tuple[str, Staged]]:
        """Put the data on every node. Raises ExaError or OSError."""

    def look(self) -> Glance:
        """What is new; called at every tick while ranks run."""

    def stacks(self) -> None:
        """Have every rank write down its stacks, without waiting for it."""

    def tidy(self, keep: Sequence[int]) -> Farewell:
        """Save these ranks' logs and leave every node as it was found, as far as it answers."""


class Here:
    """All nodes are this machine: the supervisor does everything itself."""

    def __init__(self, own: Sequence[Post], folder: Path) -> None:
        self.posts, self.folder = own, folder
        self.kills = node.memory_kills()
        self._read = float("-inf")

    def sweep(self) -> node.Swept:
        return node.sweep(self.posts)

    def stage(self) -> list[tuple[str, Staged]]:
        staged = [(post.node, node.stage(post)) for post in self.posts]
        self.kills = node.memory_kills()
        return staged

    def look(self) -> Glance:
        node.note_segments(self.posts)
        now = clock.monotonic()
        if now - self._read < _READ_S:
            return Glance()
        self._read = now
        beats = {rank: beat for post in self.posts for rank, beat in node.beats(post).items()}
        return Glance(beats=beats, heard=frozenset(beats))

    def stacks(self) -> None:
        node.dump_stacks(self.posts, self.folder)

    def tidy(self, keep: Sequence[int]) -> Farewell:
        beats = {rank: beat for post in self.posts for rank, beat in node.beats(post).items()}
        killed = node.memory_kills() > self.kills
        swept = node.tidy(self.posts, keep, self.folder / "ranks")
        return Farewell(node.newest_step(beats), killed, swept)


class Ear:
    """The newest sign of each agent, and since when it is the newest."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.signs: dict[str, Sign] = {}
        self.since = dict.fromkeys(names, clock.monotonic())

    def listen(self, names: Sequence[str]) -> None:
        """Read these nodes' signs again."""
        for name in names:
            sign = posts.read_sign(self.folder, name)
            known = self.signs.get(name)
            if sign and (known is None or sign.n > known.n):
                self.signs[name] = sign
                self.since[name] = clock.monotonic()


def silent(since: Mapping[str, float], now: float, gone: Sequence[str] = ()) -> tuple[str, ...]:
    """Nodes without a new sign for `SILENT_S`, but for those that took their leave. Pure."""
    return tuple(n for n, t in since.items() if now - t >= SILENT_S and n not in gone)


def lost_nodes(
    mute: Sequence[str], since: Mapping[str, float], ordered: float, own: str | None
) -> tuple[str, ...]:
    """Which of the nodes whose agents did not take their leave are lost. Pure.

    Not one that gave signs until it was told to tidy: that takes its time. And none at all where
    the supervisor's own node is among the mute: then the agents' launcher ended, and no node.
    """
    if own in mute:
        return ()
    return tuple(name for name in mute if ordered - since[name] >= STALE_S)


class Agents:
    """Nodes that are other machines: an agent on each, started by the site's launcher.

    Args:
        own: every node's post.
        folder: the life's.
        start: starts ``python -m exa_cli.job.agent POSTS.json`` on every node.
    """

    def __init__(
        self,
        own: Sequence[Post],
        folder: Path,
        start: Callable[[Path], subprocess.Popen[bytes]],
    ) -> None:
        self.names = [post.node for post in own]
        self.posts, self.folder, self.start = own, folder, start
        self.ear = Ear(folder, self.names)
        self.launcher: subprocess.Popen[bytes] | None = None
        self.told_silent: set[str] = set()
        self._read = float("-inf")

    def sweep(self) -> node.Swept:
        leader = Supervisor(inside.this_node(self.names), proc.myself())
        path = posts.write_posts(self.folder, self.posts, leader)
        self.ear = Ear(self.folder, self.names)
        self.launcher = self.start(path)
        return _total(self._wait_for("swept"))

    def stage(self) -> list[tuple[str, Staged]]:
        signs = self._wait_for("ready")
        return [
            (post.node, _staged(post, sign)) for post, sign in zip(self.posts, signs, strict=True)
        ]

    def _wait_for(self, phase: str) -> list[Sign]:
        """Every node's sign once all have reached a phase. Raises ExaError: one cannot."""
        while True:
            ended = self.launcher is None or self.launcher.poll() is not None
            self.ear.listen(self._short_of(phase))
            waiting = self._short_of(phase)
            if not waiting:
                return [self.ear.signs[name] for name in self.names]
            self._check(waiting, ended)
            time.sleep(_POLL_S)

    def _check(self, waiting: Sequence[str], ended: bool) -> None:
        """Raise ExaError when there is no use in waiting any longer."""
        for name in waiting:
            if (sign := self.ear.signs.get(name)) and sign.fault:
                raise _failure(name, sign.fault)
        lost = set(silent(self.ear.since, clock.monotonic())).intersection(waiting)
        if ended or lost:
            raise self._no_sign(waiting if ended else sorted(lost))

    def _short_of(self, phase: str) -> list[str]:
        """The nodes that have not reached a phase."""
        signs = self.ear.signs
        return [n for n in self.names if n not in signs or not signs[n].reached(phase)]

    def _no_sign(self, names: Sequence[str]) -> Unreachable:
        words = _last_line(self.folder / "agents.log")
        return Unreachable(
            f"no sign of the agent on {', '.join(names)}" + (f": {words}" if words else ""),
            where=str(self.folder / "agents.log"),
            hint="the site profile's launcher.agents starts one program a node",
        )

    def look(self) -> Glance:
        now = clock.monotonic()
        if now - self._read < _READ_S:
            return Glance()
        self._read = now
        self.ear.listen(self.names)
        notices = [sign.notice for sign in self.ear.signs.values() if sign.notice]
        lost = set(silent(self.ear.since, now)) - self.told_silent
        self.told_silent |= lost
        signs = self.ear.signs
        beats = {rank: beat for sign in signs.values() for rank, beat in sign.ranks.items()}
        fresh = [n for n, t in self.ear.since.items() if n in signs and now - t < _FRESH_S]
        heard = frozenset(rank for name in fresh for rank in signs[name].ranks)
        return Glance(next(iter(notices), None), tuple(sorted(lost)), beats, heard)

    def stacks(self) -> None:
        posts.order_stacks(self.folder)

    def tidy(self, keep: Sequence[int]) -> Farewell:
        ordered = clock.monotonic()
        if self.launcher is not None:
            posts.order_tidy(self.folder, keep)
            self._wait_for_leave(self.launcher)
        signs = list(self.ear.signs.values())
        beats = {rank: beat for sign in signs for rank, beat in sign.ranks.items()}
        kills = any(sign.memory_kills for sign in signs)
        left = _total([sign for sign in signs if sign.reached("gone")])
        lost = self._lost(ordered) if self.launcher else ()
        return Farewell(node.newest_step(beats), kills, left, tuple(self._untidy()), lost)

    def _lost(self, ordered: float) -> tuple[str, ...]:
        """Nodes that gave no sign for a while before they were told to tidy, and none since."""
        own = inside.this_node(self.names)
        return lost_nodes(self._short_of("gone"), self.ear.since, ordered, own)

    def _wait_for_leave(self, launcher: subprocess.Popen[bytes]) -> None:
        """Until every agent that still gives signs has left, at most `TIDY_S`."""
        give_up = clock.monotonic() + TIDY_S
        while launcher.poll() is None and clock.monotonic() < give_up:
            self.ear.listen(self._short_of("gone"))
            if not set(self._short_of("gone")).difference(
                silent(self.ear.since, clock.monotonic())
            ):
                break
            time.sleep(_POLL_S)
        self.ear.listen(self.names)
        try:
            launcher.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()

    def _untidy(self) -> Iterator[str]:
        """What is to be said of nodes that were not left as they were found."""
        for name in self._short_of("gone") if self.launcher else ():
            yield f"{name}: its agent gave no answer; logs of its ranks stay there"
        for name, sign in self.ear.signs.items():
            if sign.fault and sign.reached("gone"):
                yield f"{name} could not be tidied: {sign.fault['what']}"


def _total(signs: Sequence[Sign]) -> node.Swept:
    done = [sign.swept for sign in signs if sign.swept]
    return node.Swept(sum(d["processes"] for d in done), sum(d["segments"] for d in done))


def _staged(post: Post, sign: Sign) -> Staged:
    done = sign.staged or {}
    return Staged(post.target, done["copied"], done["bytes"], done["seconds"])


def _failure(name: str, fault: Mapping[str, Any]) -> Invalid:
    """A node's fault as if it had happened here: what it means follows from its errno."""
    failure = Invalid(f"{name}: {fault['what']}", where=fault["where"], hint=fault["hint"])
    if fault["errno"] is not None:
        failure.__cause__ = OSError(fault["errno"], os.strerror(fault["errno"]))
    return failure


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
