"""Become a rank: bind, redirect, then turn into the trainer. Started once per rank by the launcher.

``python -m exa_cli.job.rank LAUNCH.json``. It keeps its pid through exec, so the launcher
watches the trainer itself, and adds no process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from exa_cli.schedulers import inside
from exa_cli.sites.cpus import written


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


def check_place(launch: dict[str, Any], rank: int) -> None:
    """Raise ValueError when this is not the node on which the plan puts a rank."""
    names = list(dict.fromkeys(each["node"] for each in launch["ranks"]))
    wanted = launch["ranks"][rank]["node"]
    if not launch["virtual"] and inside.this_node(names) != wanted:
        raise ValueError(f"rank {rank} was started on {socket.gethostname()}, not on {wanted}")


def bind(me: dict[str, Any]) -> None:
    """Take a rank's seat: its CPUs, and the variables that show it its device.

    Raises ValueError when this job may not use one of those CPUs. Memory follows: a page lies in
    the NUMA domain of the CPU that first writes to it.
    """
    os.environ.update(me["env"])
    if not me["cpus"]:
        return
    wanted = set(me["cpus"])
    try:
        os.sched_setaffinity(0, wanted)
    except OSError as error:
        raise ValueError(f"cannot be bound to CPUs {written(wanted)}: {error.strerror}") from error
    # The kernel leaves out without a word what a cpuset forbids.
    if (got := os.sched_getaffinity(0)) != wanted:
        raise ValueError(
            f"should be bound to CPUs {written(wanted)}, but this job may use only "
            f"{written(got)} of them: the site profile's binding does not fit this allocation"
        )


def redirect(log: Path) -> None:
    """Send stdout and stderr to the rank's own log on its node."""
    log.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def hear_when_ready() -> None:
    """Let no notice end a rank that does not listen yet.

    The launcher was started with SIGTERM blocked; a rank wants to hear it, once it can. Until
    then it is ignored, as are the signals of Slurm's --signal, which reach every task: the
    supervisor's stop.json says the same later. An ignored signal stays so through exec.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def become(launch: dict[str, Any], rank: int) -> None:
    """Turn into the user's own program. Ends this process when that cannot be started."""
    from exa_cli.job import program

    # SIGTERM and the signals of Slurm's --signal stay ignored, through exec too: a batch system
    # sends them to every process, and $EXA_STOP asks the program to save. It may handle them.
    os.environ.update(program.environment(launch, rank))
    argv = launch["program"]["argv"]
    try:
        os.chdir(launch["program"]["directory"])
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"exa: cannot start {argv[0]}: {error.strerror}")


def main() -> None:
    path = Path(sys.argv[1])
    launch = json.loads(path.read_bytes())
    try:
        rank = my_rank(launch, dict(os.environ))
        check_place(launch, rank)
    except ValueError as error:
        sys.exit(f"exa: {error}")
    me = launch["ranks"][rank]
    try:
        bind(me)
    except ValueError as error:
        sys.exit(f"exa: rank {rank}: {error}")
    redirect(Path(me["log"]))
    hear_when_ready()
    os.environ["OMP_NUM_THREADS"] = str(launch["threads"])
    if launch["program"]:
        become(launch, rank)
    argv = [sys.executable, "-m", "exa_train", "--launch", str(path)]
    os.execv(sys.executable, argv)


if __name__ == "__main__":
    main()
