"""Who am I: rank and size as the launcher says, and whether everyone agrees.

Decisions are pure; `agree` carries them over MPI. torch is not needed yet.

A wrong MPI starts N worlds of one and says nothing; each would train alone and write the same
files. So three sources must name the same world before step 1: the launcher's variables,
MPI_COMM_WORLD and the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exa_train.faults import LaunchFailed

LAUNCHERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Open MPI", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",)),
    ("MVAPICH", "MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",)),
    ("PMI", "PMI_RANK", ("PMI_SIZE",)),
    ("PALS", "PALS_RANKID", ("PALS_SIZE",)),
    ("PMIx", "PMIX_RANK", ("PMIX_SIZE", "SLURM_STEP_NUM_TASKS")),
    ("Slurm", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")),
)
"""Launcher, rank variable, size variables in order of trust. Slurm comes last: a batch script
carries SLURM_PROCID=0 and the whole job's SLURM_NTASKS even when mpiexec starts the ranks.
PMI is MPICH's, Intel MPI's and PALS's; PALS and PMIx do not always state a size."""

MPI_HINT = (
    "the mpiexec that starts the ranks and the MPI that mpi4py loads must be one: start them by "
    "the mpiexec of that MPI, or point MPI4PY_LIBMPI at the launcher's"
)


@dataclass(frozen=True)
class Place:
    """One process's place as its launcher tells it; ``size`` is None when it does not say."""

    rank: int
    size: int | None
    launcher: str
    variable: str


@dataclass(frozen=True)
class Seen:
    """What one process sees of the world, from all sides."""

    place: Place | None
    mpi_rank: int
    mpi_size: int
    mpi_library: str
    plan_world: int
    listed: int
    digest: str

    @property
    def rank(self) -> int:
        """The rank to sign files with: the launcher's, which differs even in N worlds of one."""
        return self.mpi_rank if self.place is None else self.place.rank


def place(environ: Mapping[str, str]) -> Place | None:
    """Rank and size from the first launcher of `LAUNCHERS` found, or None without a launcher.

    Raises LaunchFailed for a variable that is not a whole number.
    """
    for launcher, rank_name, size_names in LAUNCHERS:
        if rank_name in environ:
            size_name = next((name for name in size_names if name in environ), None)
            size = None if size_name is None else _whole(environ, size_name)
            return Place(_whole(environ, rank_name), size, launcher, rank_name)
    return None


def _whole(environ: Mapping[str, str], name: str) -> int:
    if not environ[name].isascii() or not environ[name].isdecimal():
        raise LaunchFailed(f"{name} = {environ[name]!r} is not a whole number", where=name)
    return int(environ[name])


def disagreement(seen: Seen) -> LaunchFailed | None:
    """Why this process must not train, or None when all sides name the same world."""
    return _of_mpi(seen) or _of_plan(seen)


def _of_mpi(seen: Seen) -> LaunchFailed | None:
    at = seen.place
    if at is None:
        return None
    if at.size is not None and at.size != seen.mpi_size:
        return LaunchFailed(
            f"{at.launcher} started {at.size} ranks, but MPI_COMM_WORLD holds {seen.mpi_size}",
            where=f"rank {at.rank} ({at.variable}); mpi4py runs on {seen.mpi_library}",
            hint=MPI_HINT,
        )
    if at.rank != seen.mpi_rank:
        return LaunchFailed(
            f"{at.variable} = {at.rank}, but this is rank {seen.mpi_rank} of MPI_COMM_WORLD",
            where=f"mpi4py runs on {seen.mpi_library}",
            hint=MPI_HINT,
        )
    return None


def _of_plan(seen: Seen) -> LaunchFailed | None:
    where = f"rank {seen.rank}; mpi4py runs on {seen.mpi_library}"
    if seen.mpi_size != seen.plan_world:
        found = "no launcher's variables are set" if seen.place is None else "by its launcher"
        return LaunchFailed(
            f"the plan wants {seen.plan_world} ranks, but {seen.mpi_size} run ({found})",
            where=where,
            hint=f"start them by mpiexec -n {seen.plan_world}; {MPI_HINT}",
        )
    if seen.listed != seen.plan_world:
        return LaunchFailed(
            f"launch.json lists {seen.listed} ranks, but the plan wants {seen.plan_world}",
            where=where,
        )
    return None


def split_brain(digests: Sequence[str]) -> LaunchFailed | None:
    """Why the ranks must not train together: some read another plan than rank 0."""
    strange = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if not strange:
        return None
    return LaunchFailed(
        "ranks read different plans",
        where=f"plan.json and launch.json of rank {strange[0]} differ from rank 0's",
        hint="the run directory must be the same on every node; a stale mount shows old files",
    )


def agree(comm: Any, seen: Seen) -> None:
    """Stop all ranks with one message when any of them sees another world. Collective.

    In N worlds of one there is nobody to agree with; each then finds its own disagreement.
    """
    faults = [fault for fault in comm.allgather(_told(disagreement(seen))) if fault]
    if faults:
        raise _agreed(LaunchFailed(faults[0][0], where=faults[0][1], hint=faults[0][2]))
    split = split_brain(comm.allgather(seen.digest))
    if split is not None:
        raise _agreed(split)


def _told(fault: LaunchFailed | None) -> tuple[str, str | None, str | None] | None:
    return None if fault is None else (fault.what, fault.where, fault.hint)


def _agreed(fault: LaunchFailed) -> LaunchFailed:
    fault.agreed = True
    return fault
