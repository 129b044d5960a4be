"""A launcher's grammar: the words of its command line, with places for values.

``{name}`` in a word stands for that value; everything else stands as it is. So a new launcher
is a line in a profile, not code. The program and its arguments follow at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exa_cli.base.errors import Invalid

PLACES = ("ranks", "nodes", "ranks_per_node", "cpus_per_rank", "hostfile", "nodelist", "seats")


@dataclass(frozen=True)
class Kind:
    """What exa knows of a launcher.

    Attributes:
        command: its command line for the ranks.
        rank, size, local_rank: the variables in which it tells each process.
        bound: words for ranks that bind themselves: they keep it from doing otherwise.
        agents: its command line for one small program a node beside the ranks, None where it
            starts nothing beside them.
    """

    command: tuple[str, ...]
    rank: str
    size: str
    local_rank: str
    bound: tuple[str, ...] = ()
    agents: tuple[str, ...] | None = None


# A step takes CPUs, memory and GPUs from the steps beside it unless told (--overlap is from 20.11
# on), and neither one agent's end nor one node's is a reason to end the others.
STEP_AGENTS = (
    "srun", "--overlap", "--mpi=none", "--nodes={nodes}", "--nodelist={nodelist}",
    "--ntasks={ranks}", "--no-kill",
    "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=0", "--gres=none",
    "--cpu-bind=none", "--export=ALL", "--kill-on-bad-exit=0",
)  # fmt: skip
"""Agents of every job of Slurm, whatever starts the ranks: there Open MPI and MPICH reach other
nodes by a step without --overlap, and a second one of theirs waits until the first has ended."""

KINDS = {
    # srun gives a step one CPU a task unless told, whatever sbatch was told; and it waits for
    # the other tasks when one fails, unless told (srun(1); 22.05). Its agents: `STEP_AGENTS`.
    "srun": Kind(
        (
            "srun", "--nodes={nodes}", "--nodelist={nodelist}", "--ntasks={ranks}",
            "--ntasks-per-node={ranks_per_node}",
            "--cpus-per-task={cpus_per_rank}", "--mem=0", "--export=ALL", "--kill-on-bad-exit=1",
        ),
        rank="SLURM_PROCID",
        size="SLURM_NTASKS",
        local_rank="SLURM_LOCALID",
        bound=("--cpu-bind=none",),
    ),
    # HPE's launcher of Cray systems under PBS (PALS, mpiexec(1)). It can bind ranks to lists of
    # CPUs, colons between, and so it is told the very seats that the ranks will take. Several
    # of it may run in one job.
    "pals": Kind(
        (
            "mpiexec", "-n", "{ranks}", "--ppn", "{ranks_per_node}", "--hostfile", "{hostfile}",
            "--envall",
        ),
        rank="PMI_RANK",
        size="PMI_SIZE",
        local_rank="PALS_LOCAL_RANKID",
        bound=("--cpu-bind", "list:{seats}"),
        agents=(
            "mpiexec", "-n", "{ranks}", "--ppn", "1", "--hostfile", "{hostfile}", "--envall",
        ),
    ),
    # Hydra, MPICH's mpiexec.
    "mpich": Kind(
        ("mpiexec", "-f", "{hostfile}", "-n", "{ranks}", "-ppn", "{ranks_per_node}"),
        rank="PMI_RANK",
        size="PMI_SIZE",
        local_rank="MPI_LOCALRANKID",
        bound=("-bind-to", "none"),
        agents=("mpiexec", "-f", "{hostfile}", "-n", "{ranks}", "-ppn", "1"),
    ),
    # Open MPI, whose host files give a host as many slots as it has cores: a rank a thread, or
    # an agent beside all ranks, would be more than fit. By default it deals ranks out in turn.
    "openmpi": Kind(
        (
            "mpirun", "--hostfile", "{hostfile}", "-n", "{ranks}",
            "--map-by", "ppr:{ranks_per_node}:node:OVERSUBSCRIBE", "--rank-by", "slot",
        ),
        rank="OMPI_COMM_WORLD_RANK",
        size="OMPI_COMM_WORLD_SIZE",
        local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
        bound=("--bind-to", "none"),
        agents=(
            "mpirun", "--hostfile", "{hostfile}", "-n", "{ranks}",
            "--map-by", "ppr:1:node:OVERSUBSCRIBE", "--bind-to", "none",
        ),
    ),
}  # fmt: skip
"""Launchers whose profile need not say more than their name."""

_PLACE = re.compile(r"\{([a-z_]+)\}")


def wrong_with(grammar: Sequence[str]) -> str | None:
    """What is wrong with a grammar, in words; None when it is legal."""
    if not grammar or not grammar[0] or grammar[0].startswith("-"):
        return "the first word must be the launcher's program"
    names = [name for part in grammar for name in _PLACE.findall(part)]
    unknown = [name for name in names if name not in PLACES]
    if unknown:
        return f"{{{unknown[0]}}} is not known; there are: " + ", ".join(PLACES)
    return None if "ranks" in names else "it must say how many ranks: {ranks}"


def fill(grammar: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words of the command. Raises Invalid when it asks for a value that is not given."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise Invalid(
                f"the launcher asks for {match[1]}, which is not known here",
                where="launcher.command in the site's profile",
                hint="give node.cpus" if match[1] == "cpus_per_rank" else None,
            )
        return values[match[1]]

    return [_PLACE.sub(value, part) for part in grammar]
