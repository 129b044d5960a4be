"""The launch line is the site's grammar, filled in: as words, for no shell to read."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.script.launcher import command, search_path
from exa_cli.sites.launcher import KINDS, fill, wrong_with
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


VALUES = {"ranks": "8", "nodes": "2", "ranks_per_node": "4", "cpus_per_rank": "7"}


@pytest.mark.parametrize("name", KINDS)
def test_a_known_launcher_needs_no_more_than_its_name(name: str) -> None:
    kind = KINDS[name]
    values = {**VALUES, "hostfile": "/h", "nodelist": "n1,n2", "seats": "0-6:7-13"}
    for grammar in (kind.command, kind.agents or kind.command):
        assert wrong_with(grammar) is None
        assert "8" in " ".join(fill([*grammar, *kind.bound], values))
    assert len({kind.rank, kind.size, kind.local_rank}) == 3


@pytest.mark.parametrize(("site", "program"), [("slurm", "srun"), ("pbs", "mpirun")])
def test_on_slurm_agents_are_a_step_that_others_need_not_wait_for(
    tmp_path: Path, site: str, program: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        f'inherits = "{site}"\nnode = {{ ranks_per_node = 1, cpus = 8, gpus = 0 }}\n'
        'torch = { device = "cpu", backend = "gloo" }\n'
        'launcher = { kind = "openmpi", options = [] }\n'
        f"[directives]\n{'account' if site == 'slurm' else 'A'} = false\n"
    )
    launcher = load_site(str(path), {}).profile.launcher
    assert launcher.command[0] == "mpirun" and launcher.agents is not None
    assert launcher.agents[0] == program
    assert ("--overlap" in launcher.agents) == (site == "slurm")


def test_open_mpi_is_told_how_many_ranks_of_a_node_and_their_order(bin_dir: Path) -> None:
    (bin_dir / "mpiexec").rename(bin_dir / "mpirun")
    kind = KINDS["openmpi"]
    launcher = Launcher(kind="openmpi", command=kind.command, options=kind.bound)
    argv = command(
        launcher, world=8, nodes=2, program=["x"], hostfile=Path("/h"), search=str(bin_dir)
    )
    words = "--hostfile /h -n 8 --map-by ppr:4:node:OVERSUBSCRIBE --rank-by slot --bind-to none x"
    assert argv[1:] == words.split(" ")


def test_an_mpi_beside_the_interpreter_comes_before_the_path() -> None:
    first, *others = search_path().split(os.pathsep)
    assert first == str(Path(sys.executable).parent)
    assert others == os.environ["PATH"].split(os.pathsep)


def test_the_local_site_starts_ranks_without_ssh_or_a_batch_system() -> None:
    launcher = load_site("local").profile.launcher
    there = replace(launcher, command=("/bin/true", *launcher.command[1:]))
    argv = command(there, world=2, nodes=2, program=["x"])
    assert argv == ["/bin/true", "-rmk", "user", "-launcher", "fork", "-n", "2", "x"]
