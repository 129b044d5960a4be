"""Rank and size out of each launcher's variables, and what does not fit together."""

from __future__ import annotations

import dataclasses

import pytest

from exa_train.faults import LaunchFailed
from exa_train.launch import Place, Seen, disagreement, place, split_brain

TABLE = {
    "MPICH": ({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0"}, 1, 4),
    "Open MPI": (
        {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "8", "PMIX_RANK": "2"},
        2,
        8,
    ),
    "PALS with PMI": ({"PALS_RANKID": "3", "PMI_RANK": "3", "PMI_SIZE": "12"}, 3, 12),
    "PALS alone": ({"PALS_RANKID": "3", "PALS_LOCAL_RANKID": "1"}, 3, None),
    "srun with PMIx": (
        {"PMIX_RANK": "5", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6", "SLURM_NTASKS": "9"},
        5,
        6,
    ),
    "srun with PMI-2": ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 1, 2),
    "mpiexec in a Slurm batch script": (
        {"PMI_RANK": "1", "PMI_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "64"},
        1,
        2,
    ),
    "MVAPICH": ({"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "2"}, 0, 2),
}


@pytest.mark.parametrize("launcher", TABLE)
def test_each_launcher_is_understood(launcher: str) -> None:
    environ, rank, size = TABLE[launcher]
    found = place(environ)
    assert found is not None
    assert (found.rank, found.size) == (rank, size)


def test_without_a_launcher_there_is_no_place() -> None:
    assert place({"PATH": "/bin", "OMP_NUM_THREADS": "1"}) is None


@pytest.mark.parametrize("text", ["", "-1", "one", "1.5", "²"])
def test_a_variable_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(LaunchFailed, match="PMI_RANK"):
        place({"PMI_RANK": text, "PMI_SIZE": "2"})


GOOD = Seen(
    place=Place(1, 4, "PMI", "PMI_RANK"),
    mpi_rank=1,
    mpi_size=4,
    mpi_library="MPICH 5.0",
    plan_world=4,
    listed=4,
    digest="",
)


def test_one_world_seen_from_all_sides_is_no_disagreement() -> None:
    assert disagreement(GOOD) is None
    assert disagreement(dataclasses.replace(GOOD, place=None)) is None
    unsized = Place(1, None, "PALS", "PALS_RANKID")
    assert disagreement(dataclasses.replace(GOOD, place=unsized)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mpi_size": 1, "mpi_rank": 0}, "PMI started 4 ranks, but MPI_COMM_WORLD holds 1"),
        ({"mpi_rank": 2}, "PMI_RANK = 1, but this is rank 2 of MPI_COMM_WORLD"),
        ({"plan_world": 8}, "the plan wants 8 ranks, but 4 run"),
        ({"listed": 3}, "launch.json lists 3 ranks, but the plan wants 4"),
        ({"place": None, "mpi_size": 1, "mpi_rank": 0}, "no launcher's variables are set"),
    ],
)
def test_each_disagreement_is_told_with_the_mpi_in_use(
    change: dict[str, object], words: str
) -> None:
    fault = disagreement(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert fault is not None
    assert words in fault.what
    assert "MPICH 5.0" in str(fault)


def test_files_are_signed_with_the_launchers_rank() -> None:
    """In N worlds of one every process is rank 0 of its MPI; only the launcher tells them apart."""
    assert dataclasses.replace(GOOD, mpi_rank=0, mpi_size=1).rank == 1


def test_ranks_that_read_different_plans_are_found_out() -> None:
    assert split_brain(["a", "a", "a"]) is None
    fault = split_brain(["a", "a", "b"])
    assert fault is not None
    assert "rank 2" in str(fault)
