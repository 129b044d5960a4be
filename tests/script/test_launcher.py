"""The launch line is the site's grammar, filled in: as words, for no shell to read."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.script.launcher import command, search_path
from exa_cli.sites.launcher import wrong_with
from exa_cli.sites.load import load_site
from exa_cli.sites.software import Launcher

PALS = Launcher(
    kind="pals",
    command=("mpiexec", "-n", "{ranks}", "--ppn", "{ranks_per_node}", "--hostfile={hostfile}"),
)


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "my bin"
    folder.mkdir()
    program = folder / "mpiexec"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ((), "first word must be the launcher"),
        (("",), "first word must be the launcher"),
        (("-n", "{ranks}"), "first word must be the launcher"),
        (("srun", "-N", "{nodes}"), "must say how many ranks"),
        (("srun", "-n", "{ranks}", "-c", "{cpus}"), "{cpus} is not known; there are: ranks, nodes"),
    ],
)
def test_a_grammar_that_cannot_launch_says_why(grammar: tuple[str, ...], words: str) -> None:
    assert words in str(wrong_with(grammar))


def test_a_launcher_that_is_not_here_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="the launcher mpiexec is not here"):
        command(PALS, world=2, nodes=1, program=["x"], hostfile=Path("/h"), search=str(tmp_path))


def test_ranks_that_do_not_spread_evenly_are_refused() -> None:
    with pytest.raises(Invalid, match="3 ranks do not spread evenly over 2 nodes"):
        command(PALS, world=3, nodes=2, program=["x"])


def test_a_hostfile_that_is_needed_and_not_given_is_refused(bin_dir: Path) -> None:
    with pytest.raises(Invalid, match="asks for hostfile"):
        command(PALS, world=4, nodes=2, program=["x"], search=str(bin_dir))


def test_values_fill_their_places_and_the_program_follows(bin_dir: Path) -> None:
    argv = command(
        PALS,
        world=8,
        nodes=2,
        program=["/a b/python", "-m", "x", "{ranks}"],
        hostfile=Path("/my hosts"),
        search=str(bin_dir),
    )
    launcher = [str(bin_dir / "mpiexec"), "-n", "8", "--ppn", "4", "--hostfile=/my hosts"]
    assert argv == [*launcher, "/a b/python", "-m", "x", "{ranks}"]


def test_cores_of_a_rank_fill_their_place_or_are_said_to_be_unknown(bin_dir: Path) -> None:
    srun = Launcher(kind="srun", command=("mpiexec", "-n{ranks}", "-c{cpus_per_rank}"))
    where = {"world": 2, "nodes": 1, "program": ["x"], "search": str(bin_dir)}
    assert command(srun, cpus_per_rank=7, **where)[1:] == ["-n2", "-c7", "x"]
    with pytest.raises(Invalid, match="asks for cpus_per_rank"):
        command(srun, **where)


def test_an_mpi_beside_the_interpreter_comes_before_the_path() -> None:
    first, *others = search_path().split(os.pathsep)
    assert first == str(Path(sys.executable).parent)
    assert others == os.environ["PATH"].split(os.pathsep)


def test_the_local_site_starts_ranks_without_ssh_or_a_batch_system() -> None:
    launcher = load_site("local").profile.launcher
    there = replace(launcher, command=("/bin/true", *launcher.command[1:]))
    argv = command(there, world=2, nodes=2, program=["x"])
    assert argv == ["/bin/true", "-rmk", "user", "-launcher", "fork", "-n", "2", "x"]
