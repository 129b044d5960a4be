"""Become a rank: bind, redirect, then turn into the trainer. Started once per rank by the launcher.

``python -m exa_cli.job.rank LAUNCH.json``. It keeps its pid through exec, so the launcher
watches the trainer itself, and adds no process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


def my_rank(launch: dict[str, Any], environ: dict[str, str]) -> int:
    """The rank by the launcher's variable. Raises ValueError: N worlds of one would start."""
    name = launch["rank_variable"]
    text = environ.get(name)
    if text is None or not text.isdigit() or int(text) >= len(launch["ranks"]):
        raise ValueError(
            f"the launcher gave {name}={text!r}; a rank from 0 to {len(launch['ranks']) - 1} was "
            "expected: is this the mpiexec that the site profile's [launcher] names?"
        )
    return int(text)


def redirect(log: Path) -> None:
    """Send stdout and stderr to the rank's own log on its node."""
    log.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def main() -> None:
    path = Path(sys.argv[1])
    launch = json.loads(path.read_bytes())
    try:
        me = launch["ranks"][my_rank(launch, dict(os.environ))]
    except ValueError as error:
        sys.exit(f"exa: {error}")
    redirect(Path(me["log"]))
    if me["cpus"]:
        os.sched_setaffinity(0, me["cpus"])
    # The launcher was started with SIGTERM blocked; a rank wants to hear it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.environ["OMP_NUM_THREADS"] = str(launch["threads"])
    argv = [sys.executable, "-m", "exa_train", "--launch", str(path)]
    os.execv(sys.executable, argv)


if __name__ == "__main__":
    main()
