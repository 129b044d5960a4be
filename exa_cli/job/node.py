"""What is done on each node for a life: sweep, stage, watch, tidy.

Called by the node's agent, or by the supervisor itself where all nodes are its own machine;
then one call serves several posts, since processes and shared memory belong to the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import marks, proc
from exa_cli.base.files import read_json, write_text
from exa_cli.job import layout
from exa_cli.job import sweep as sweeps
from exa_cli.sites.paths import make_private
from exa_cli.staging import copy
from exa_cli.staging.copy import Item, Staged

SEGMENTS = "segments.json"


@dataclass(frozen=True)
class Post:
    """One node's part in a life.

    Attributes:
        node: its name.
        run_dir: the run's directory.
        base: the user's own folder on the node; below it `scratch` and `target`.
        scratch: this life's folder on the node: rank logs, heartbeats, segment record.
        ranks: the ranks it holds.
        source, target: prepared data on the shared filesystem, and its place on the node.
        items: the files of the data.
    """

    node: str
    run_dir: Path
    base: Path
    scratch: Path
    ranks: tuple[int, ...]
    source: Path
    target: Path
    items: tuple[Item, ...]

    def log(self, rank: int) -> Path:
        return layout.log(self.scratch, rank)

    @property
    def segments(self) -> Path:
        """The record of shared memory that this life was seen to use here."""
        return self.scratch / SEGMENTS


@dataclass(frozen=True)
class Swept:
    """What an end or a beginning removed."""

    processes: int
    segments: int


def sweep(posts: Sequence[Post], spare: proc.Process | None = None) -> Swept:
    """End what earlier lives left on this machine, forget their scratch and make our own.

    Args:
        spare: the supervisor, where it is not the caller or the caller's parent; it and its
            children are left alone. Anything else that carries the run's mark is of the past.

    Raises:
        Invalid: the node-local folder is somebody else's. OSError: it cannot be made.
    """
    for post in posts:
        make_private(post.base)
    older = list(_older(posts))
    left = sweeps.run_processes(posts[0].run_dir, spare)
    swept = _end(left, [scratch / SEGMENTS for scratch in older])
    for scratch in older:
        shutil.rmtree(scratch, ignore_errors=True)
    for post in posts:
        post.scratch.mkdir(parents=True, exist_ok=True)
    return swept


def _older(posts: Sequence[Post]) -> Iterator[Path]:
    """Scratch folders of this run's other lives on this machine."""
    own = {post.scratch for post in posts}
    for folder in {post.scratch.parent: None for post in posts}:
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path not in own)


def stage(post: Post) -> Staged:
    """Put the run's data on the node, if exa has any for it. Raises Damaged or Invalid."""
    if not post.items:
        return Staged(post.target, copied=False, bytes=0, seconds=0.0)
    return copy.stage(post.source, post.target, post.items)


def note_segments(posts: Sequence[Post]) -> None:
    """Record the shared memory that processes of the run map now."""
    found = sweeps.run_processes(posts[0].run_dir)
    sweeps.note_segments(posts[0].segments, [process.pid for process in found])


def beats(post: Post) -> dict[int, dict[str, Any]]:
    """The last sign of life of each rank that gave one."""
    read = {rank: heartbeat(post.scratch, rank) for rank in post.ranks}
    return {rank: beat for rank, beat in read.items() if beat}


def heartbeat(scratch: Path, rank: int) -> dict[str, Any]:
    """A rank's last sign of life; empty when it gave none."""
    try:
        beat: dict[str, Any] = read_json(scratch / "heartbeat" / f"{rank:06d}.json")
    except (OSError, ValueError):
        return {}
    return beat


def dump_stacks(posts: Sequence[Post], folder: Path) -> None:
    """Have every rank here write down its stacks, and write down what the kernel says of it: a
    rank that is stopped, or waits in the kernel, writes none itself."""
    for post in posts:
        for rank, beat in beats(post).items():
            process = proc.identify(beat["pid"]) if "pid" in beat else None
            if process and proc.environment(process.pid).get(marks.RUN_DIR) == str(post.run_dir):
                words = proc.waiting(process.pid)
                write_text(folder / "stacks" / f"{rank:06d}.kernel.txt", words)
                proc.send(process, signal.SIGUSR1)


def newest_step(beats: Mapping[int, Mapping[str, Any]]) -> int | None:
    """The newest step that any rank has finished."""
    steps = [beat["step"] for beat in beats.values() if isinstance(beat.get("step"), int)]
    return max(steps, default=None)


def tidy(
    posts: Sequence[Post], keep: Collection[int], folder: Path, spare: proc.Process | None = None
) -> Swept:
    """Save the logs of the ranks to keep into ``folder``; remove what this life left here.

    Of a later attempt, which may have begun beside us, nothing is touched: to end what is older
    is the younger one's business.
    """
    try:
        for post in posts:
            _save_logs(post, keep, folder)
    finally:
        left = sweeps.run_processes(posts[0].run_dir, spare, os.environ.get(marks.TAG))
        swept = _end(left, [posts[0].segments])
        for post in posts:
            shutil.rmtree(post.scratch, ignore_errors=True)
    return swept


def _save_logs(post: Post, keep: Collection[int], folder: Path) -> None:
    for rank in sorted(set(keep).intersection(post.ranks)):
        if post.log(rank).exists():
            shutil.copyfile(post.log(rank), folder / post.log(rank).name)


def _end(left: list[proc.Process], records: Sequence[Path]) -> Swept:
    names = set().union(*(sweeps.recorded(record) for record in records))
    names = names.union(*(sweeps.segments_of(process.pid) for process in left))
    killed = sweeps.kill(left)
    sweeps.wait_for_end(left)
    return Swept(killed, len(sweeps.remove_segments(names)))


def memory_kills() -> int:
    """How often the kernel has killed for memory since boot (proc_vmstat, oom_kill)."""
    for line in (proc.PROC / "vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
