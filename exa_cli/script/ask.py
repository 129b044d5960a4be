"""What a run asks of a batch system, in words that are the same for all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """A value and where it comes from."""

    text: str
    origin: str


def local_time(begin: Value | None, form: str) -> Value | None:
    """A time as this machine's clock shows it, which is how sbatch and qsub read one."""
    if begin is None:
        return None
    return Value(time.strftime(form, time.localtime(int(begin.text))), begin.origin)


def product(each: Value | None, times: Value) -> Value | None:
    """So many of each, a whole number; None where it is not known."""
    if each is None:
        return None
    return Value(str(int(each.text) * int(times.text)), f"{each.origin}, {times.origin}")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One job. What is None is not asked for: neither the user nor the site says it.

    Attributes:
        name: the attempt's tag; what a lost submission is found again by.
        nodes: how many, each whole.
        spares: whether the job wants to live on when one of them fails.
        walltime: HH:MM:SS.
        workdir: absolute directory the script starts in.
        folder: absolute directory for what the script prints before it takes its life.
        ranks_per_node, cpus_per_rank, gpus_per_node: what a node has to have room for.
        partition, qos, account: where the job stands, and who pays.
        notice_s: seconds before the walltime's end at which the job wants a signal.
        kill_delay: seconds from SIGTERM to SIGKILL, where that is the job's to choose.
        requeue: whether the batch system may start an interrupted job again, yes or no.
        filesystems: those that the job uses, joined by colons.
        after: ids, joined by colons, of jobs whose end, good or bad, this one waits for.
        exclude: names, joined by commas, of nodes to keep away from where that can be said.
        begin: seconds since the epoch before which the job must not start.
    """

    name: Value
    nodes: Value
    walltime: Value
    workdir: Value
    folder: Value
    ranks_per_node: Value
    spares: bool = False
    cpus_per_rank: Value | None = None
    gpus_per_node: Value | None = None
    partition: Value | None = None
    qos: Value | None = None
    account: Value | None = None
    notice_s: Value | None = None
    kill_delay: Value | None = None
    requeue: Value | None = None
    filesystems: Value | None = None
    after: Value | None = None
    exclude: Value | None = None
    begin: Value | None = None
