"""The first process of a node: makes the namespaces it was started in a machine of its own,
runs slurmd, and reaps what becomes its child. Run by `cluster.Cluster`, never by hand.

SIGUSR1 is a crash of slurmd, SIGUSR2 starts it again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ORDERS = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def furnish(root: Path, name: str) -> None:
    """Name, /etc/hosts, shared memory and a disk of its own."""
    socket.sethostname(name)
    mount("--bind", root / "hosts", "/etc/hosts")
    for place in (Path("/dev/shm"), root / "local"):
        mount("-t", "tmpfs", "-o", "mode=1777", "node", place)


def start(root: Path, name: str) -> subprocess.Popen[bytes]:
    with open(root / "log" / f"{name}.out", "ab") as log:
        return subprocess.Popen(
            ["slurmd", "-D", "-N", name, "-f", str(root / "slurm.conf")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS),
        )


def reap(slurmd: int | None) -> int | None:
    """Collect every ended child; slurmd's pid while it runs."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return slurmd
        if pid == slurmd:
            slurmd = None


def main(root: Path, name: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)
    furnish(root, name)
    slurmd: int | None = start(root, name).pid
    while True:
        order = signal.sigwait(ORDERS)
        if order == signal.SIGUSR1 and slurmd:
            os.kill(slurmd, signal.SIGKILL)
        slurmd = reap(slurmd)
        if order == signal.SIGUSR2 and not slurmd:
            slurmd = start(root, name).pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
