"""What a batch system tells a job from inside: its nodes, its end, how often it was started.

| | Slurm | PBS | else |
|---|---|---|---|
| nodes | SLURM_JOB_NODELIST | lines of $PBS_NODEFILE, once each | this machine |
| end | SLURM_JOB_END_TIME (newer ones), else squeue | ``qstat -f``: stime + walltime | – |
| starts before | SLURM_RESTART_COUNT, unset the first time | not told | not told |

Slurm 22.05 sets no SLURM_JOB_END_TIME (recordings: slurm/INDEX, 30), PBS one line a chunk or
rank in its node file. Asked once, at the start of a life: later answers cost and change little.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from exa_cli.base import proc
from exa_cli.base.errors import Invalid, Unreachable
from exa_cli.schedulers.hostlist import expand
from exa_cli.schedulers.pbs import environment, read
from exa_cli.spec import times

ASK_TIMEOUT_S = 20

OWN_ID = {"slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID"}
"""By batch system, the variable in which a job finds its own id."""


def nodes(kind: str, environ: Mapping[str, str], count: int) -> tuple[str, ...]:
    """The allocation's nodes in its order, spares too. Raises Invalid unless ``count``."""
    names = told_nodes(kind, environ)
    if len(set(names)) != len(names):
        raise Invalid("a node stands twice in the allocation", where=", ".join(names))
    if len(names) != count:
        raise Invalid(
            f"the allocation has {len(names)} nodes, the job asked for {count}",
            where=", ".join(names)[:400],
            hint="submit with that number of nodes: exa submit or exa resume does",
        )
    return names


def told_nodes(kind: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names the batch system told, unchecked. Raises Invalid outside of a job."""
    if kind == "slurm":
        return expand(_told(environ, "SLURM_JOB_NODELIST"))
    if kind == "pbs":
        return node_file(Path(_told(environ, "PBS_NODEFILE")).read_text())
    return (socket.gethostname(),)


def _told(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        hint = "exa job runs inside a job of the batch system that its site profile names"
        raise Invalid(f"{name} is not set: this is no job", where="environment", hint=hint)
    return value


def node_file(text: str) -> tuple[str, ...]:
    """Node names of a PBS node file: one a line, each as often as it has ranks or chunks."""
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def which(names: Sequence[str], host: str, told: str | None) -> str | None:
    """Which of the allocation's nodes a process is on; None when it is on none of them. Pure.

    Args:
        names: the nodes as the batch system calls them.
        host: gethostname() there. Never $HOSTNAME, which srun copies from the first node.
        told: SLURMD_NODENAME there: where a node's name and its host name differ.
    """
    if host in names:
        return host
    short = [name for name in names if name.split(".")[0] == host.split(".")[0]]
    if len(short) == 1:
        return short[0]
    return told if told in names else None


def this_node(names: Sequence[str]) -> str | None:
    """Which of the allocation's nodes this process is on."""
    return which(names, socket.gethostname(), os.environ.get("SLURMD_NODENAME"))


def restarts(environ: Mapping[str, str]) -> int | None:
    """How often the batch system started this job before; None where it does not say."""
    count = environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isascii() and count.isdigit() else None


def end(kind: str, environ: Mapping[str, str], now: float) -> float | None:
    """When the batch system will end this job, in seconds since the epoch; None = unknown."""
    if kind == "slurm":
        return _slurm_end(environ, now)
    return _pbs_end(environ) if kind == "pbs" else None


def _pbs_end(environ: Mapping[str, str]) -> float | None:
    """A job of PBS is ended later than that, when its node next looks; never before."""
    job = environ.get("PBS_JOBID")
    if not job:
        return None  # asked for no job by name, qstat answers with somebody's
    argv = ["qstat", "-f", job]
    try:
        answer = proc.run(argv, timeout=ASK_TIMEOUT_S, env=environment.of_question(environ))
    except Unreachable:
        return None
    rows = {row.job_id: row for row in read.qstat(answer.out)}
    row = rows.get(read.by_id([job], rows).get(job, ""))
    if row is None or row.started is None or row.walltime_s is None:
        return None
    return row.started + row.walltime_s


def _slurm_end(environ: Mapping[str, str], now: float) -> float | None:
    told = environ.get("SLURM_JOB_END_TIME", "")
    if told.isascii() and told.isdigit():
        return float(told)
    argv = ["squeue", "--noheader", "-j", environ.get("SLURM_JOB_ID", ""), "-o", "%L"]
    try:
        answer = proc.run(argv, timeout=ASK_TIMEOUT_S)
    except Unreachable:
        return None
    left = times.read(answer.out) if answer.code == 0 else None
    return None if left is None else now + left
