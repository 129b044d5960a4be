"""What passes between the supervisor and the agents of its nodes: files in the life's folder.

One writer a file, renamed into place:

``posts.json``
    the supervisor's, before the agents start: what each node has to do.
``nodes/NODE.json``
    an agent's: how far it is, every few seconds again (`Sign`). Not fsynced, it means nothing
    after a crash.
``tidy.json``
    the supervisor's, at the end: whose logs to keep. Its existence tells agents to leave.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from exa_cli.base import proc
from exa_cli.base.errors import Damaged
from exa_cli.base.files import read_json, to_json, write_json
from exa_cli.job.node import Post
from exa_cli.staging.copy import Item

PHASES = ("started", "swept", "ready", "gone")
"""How far an agent is. Each includes what comes before it; a fault can come at any point."""


@dataclass(frozen=True)
class Supervisor:
    """Which process leads the life, and on which node: the one thing no sweep there may end."""

    node: str | None
    process: proc.Process


def write_posts(folder: Path, posts: Sequence[Post], supervisor: Supervisor) -> Path:
    """Write ``posts.json`` into a life's folder; its path."""
    first = posts[0]
    path = folder / "posts.json"
    record = {
        "schema": 1,
        "run_dir": str(first.run_dir),
        "base": str(first.base),
        "source": str(first.source),
        "items": [asdict(item) for item in first.items],
        "supervisor": {"node": supervisor.node, **supervisor.process.to_dict()},
        "posts": [
            {
                "node": post.node,
                "scratch": str(post.scratch),
                "target": str(post.target),
                "ranks": list(post.ranks),
            }
            for post in posts
        ],
    }
    (folder / "nodes").mkdir(exist_ok=True)
    write_json(path, record)
    return path


def read_posts(path: Path) -> tuple[tuple[Post, ...], Supervisor]:
    """The inverse of `write_posts`. Raises Damaged."""
    try:
        raw = read_json(path)
        items = tuple(Item(**item) for item in raw["items"])
        posts = tuple(_post(raw, each, items) for each in raw["posts"])
        leader = raw["supervisor"]
        return posts, Supervisor(leader["node"], proc.Process.from_dict(leader))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"cannot read the posts of this life: {error}", where=str(path)) from error


def _post(common: Mapping[str, Any], own: Mapping[str, Any], items: tuple[Item, ...]) -> Post:
    return Post(
        node=own["node"],
        run_dir=Path(common["run_dir"]),
        base=Path(common["base"]),
        scratch=Path(own["scratch"]),
        ranks=tuple(own["ranks"]),
        source=Path(common["source"]),
        target=Path(own["target"]),
        items=items,
    )


@dataclass(frozen=True)
class Sign:
    """What an agent tells.

    Attributes:
        n: counts its signs: one that does not grow is silence. No clock is compared.
        phase: one of `PHASES`.
        host: gethostname() there.
        pid: the agent's.
        swept, staged: what it did, once it has.
        fault: what stopped it: ``what``, ``where``, ``hint``, ``errno``.
        notice: the signal it got from the batch system, by name.
        memory_kills: processes the kernel has ended for memory since the agent started.
        ranks: rank → its last heartbeat.
    """

    n: int
    phase: str
    host: str
    pid: int
    swept: dict[str, int] | None = None
    staged: dict[str, Any] | None = None
    fault: dict[str, Any] | None = None
    notice: str | None = None
    memory_kills: int = 0
    ranks: dict[int, dict[str, Any]] = field(default_factory=dict)

    def reached(self, phase: str) -> bool:
        return PHASES.index(self.phase) >= PHASES.index(phase)


def sign_file(folder: Path, node: str) -> Path:
    return folder / "nodes" / f"{node}.json"


def put_sign(path: Path, sign: Sign) -> None:
    """Replace a node's sign. Raises OSError."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(to_json({"schema": 1, **asdict(sign)}, indent=None))
    os.replace(temporary, path)


def read_sign(folder: Path, node: str) -> Sign | None:
    """A node's newest sign; None when it gave none yet, or it cannot be read now."""
    try:
        raw = read_json(sign_file(folder, node))
        beats = {int(rank): beat for rank, beat in raw.pop("ranks").items()}
        del raw["schema"]
        return Sign(**raw, ranks=beats)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def order_stacks(folder: Path) -> None:
    """Tell the agents to have their ranks write down their stacks."""
    write_json(folder / "stacks.json", {"schema": 1})


def stacks_ordered(folder: Path) -> bool:
    return (folder / "stacks.json").exists()


def tidy_file(folder: Path) -> Path:
    return folder / "tidy.json"


def order_tidy(folder: Path, keep: Sequence[int]) -> None:
    """Tell the agents to save these ranks' logs, to tidy their nodes and to leave."""
    write_json(tidy_file(folder), {"schema": 1, "keep": sorted(keep)})


def tidy_ordered(folder: Path) -> tuple[int, ...] | None:
    """The ranks whose logs are to be kept, once the supervisor has asked to tidy."""
    try:
        return tuple(read_json(tidy_file(folder))["keep"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
