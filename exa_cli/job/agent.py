"""A node's agent: does on its node what the supervisor cannot reach. One a node.

``python -m exa_cli.job.agent LIFE/posts.json``, started by the site's launcher before the ranks
and there as long as they are: it sweeps, stages, tells how the node's ranks are, passes on the
notices that only steps get (Slurm, preemption with GraceTime: recordings, slurm/INDEX 20), and
tidies when asked. It decides nothing.

It ends with the supervisor, since its launcher does, and by itself when its launcher is gone or
a newer life has claimed the run while this node was cut off; then it ends its ranks too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from exa_cli.base import clock, proc
from exa_cli.base.errors import ExaError
from exa_cli.base.files import read_json
from exa_cli.job import node
from exa_cli.job.node import Post
from exa_cli.job.notice import Notice
from exa_cli.job.posts import Sign, put_sign, read_posts, sign_file, stacks_ordered, tidy_ordered
from exa_cli.runs import claims
from exa_cli.schedulers import inside

LOOK_S = 0.5
"""Between two looks for the order to tidy."""

SIGN_S = 2.0
"""Between two signs: one small file a node on the parallel filesystem."""

FENCE_S = 10.0
"""Between two looks at the epoch claims. An older life does no harm meanwhile."""


class Agent:
    """One node's agent. ``spare`` is the supervisor if it is on this node."""

    def __init__(self, folder: Path, post: Post, spare: proc.Process | None) -> None:
        self.folder, self.post, self.spare = folder, post, spare
        self.parent = os.getppid()
        self.kills = node.memory_kills()
        self.notice = Notice()
        self._sign = Sign(0, "started", socket.gethostname(), os.getpid())
        self._lock = threading.Lock()
        self._signed = float("-inf")
        self._looked = clock.monotonic()

    def run(self) -> None:
        """From the sweep to the end of the life."""
        self.notice.listen()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self.prepare)
            keep = self.watch()
        if keep is not None:
            self.tidy(keep)

    def tell(self, **changes: Any) -> None:
        """Give a sign now, with what is new in it. One that cannot be written is a missing one:
        a full filesystem must not end what keeps the node tidy."""
        with self._lock:
            self._sign = replace(self._sign, n=self._sign.n + 1, **changes)
            with contextlib.suppress(OSError):
                put_sign(sign_file(self.folder, self.post.node), self._sign)
            self._signed = clock.monotonic()

    def prepare(self) -> None:
        """Sweep and stage, beside the signs: a large copy must not look like a dead node."""
        try:
            self.tell(phase="swept", swept=asdict(node.sweep([self.post], self.spare)))
            staged = node.stage(self.post)
            self.kills = node.memory_kills()
            done = {"copied": staged.copied, "bytes": staged.bytes, "seconds": staged.seconds}
            self.tell(phase="ready", staged=done)
        except (ExaError, OSError) as error:
            self.tell(fault=_fault(error))

    def watch(self) -> tuple[int, ...] | None:
        """Give signs until told to tidy; the ranks whose logs to keep. None: leave as it is."""
        dumped = False
        while (keep := tidy_ordered(self.folder)) is None:
            if not dumped and stacks_ordered(self.folder):
                dumped = True
                with contextlib.suppress(OSError):
                    node.dump_stacks([self.post], self.folder)
            if os.getppid() != self.parent:
                return None
            if self.fenced():
                return ()
            due = clock.monotonic() - self._signed >= SIGN_S
            if due or self.notice.signal != self._sign.notice:
                self.look()
            time.sleep(LOOK_S)
        return keep

    def look(self) -> None:
        """Tell how the node's ranks are; note the shared memory they use."""
        if self._sign.reached("ready"):
            with contextlib.suppress(OSError):  # a full disk: noted again at the next look
                node.note_segments([self.post])
        self.tell(
            notice=self.notice.signal,
            memory_kills=node.memory_kills() - self.kills,
            ranks=node.beats(self.post),
        )

    def fenced(self) -> bool:
        """Whether a newer life has claimed the run. It has swept its own nodes before that, so
        one that was not swept is not among them."""
        if clock.monotonic() - self._looked < FENCE_S:
            return False
        self._looked = clock.monotonic()
        try:
            epoch = read_json(self.folder / "launch.json")["epoch"]
            return claims.is_fenced(self.post.run_dir, epoch)
        except (OSError, ValueError, KeyError):
            return False

    def tidy(self, keep: tuple[int, ...]) -> None:
        """The last look, then what the life left here goes."""
        self.look()
        try:
            swept = node.tidy([self.post], keep, self.folder / "ranks", self.spare)
            self.tell(phase="gone", swept=asdict(swept))
        except OSError as error:
            self.tell(phase="gone", fault=_fault(error))


def _fault(error: ExaError | OSError) -> dict[str, Any]:
    """An error as the supervisor reads it; errno of whatever stands in its chain."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if isinstance(error, ExaError):
        told = {"what": error.what, "where": error.where, "hint": error.hint}
    else:
        told = {"what": str(error.strerror), "where": error.filename, "hint": None}
    return {**told, "errno": cause.errno if isinstance(cause, OSError) else None}


def main() -> None:
    path = Path(sys.argv[1])
    posts, supervisor = read_posts(path)
    names = [post.node for post in posts]
    here = inside.this_node(names)
    if here is None:
        sys.exit(f"exa: {socket.gethostname()} is none of the nodes {', '.join(names)}")
    spare = supervisor.process if supervisor.node == here else None
    Agent(path.parent, posts[names.index(here)], spare).run()


if __name__ == "__main__":
    main()
