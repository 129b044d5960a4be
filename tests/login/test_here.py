"""What runs in the present allocation takes what that has, or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.base import clock
from exa_cli.base.errors import Invalid
from exa_cli.login import draft as drafts
from exa_cli.login.draft import Draft, Options
from exa_cli.login.here import Present, fitted, present

SITE = """
inherits = "slurm"
directives.qos = "fill in"
[[queue]]
name = "prod"
limit = [{ min_nodes = 16, max_nodes = 32, walltime = "01:00:00" }]
[demands]
min_walltime = "00:01:00"
[node]
ranks_per_node = 1
cpus = 8
gpus = 0
[launcher]
options = ["--mpi=pmi2"]
[torch]
device = "cpu"
backend = "gloo"
"""


def made(tmp_path: Path, resources: str = "") -> Draft:
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "run.toml").write_text(f"[resources]\n{resources}\n")
    return drafts.draft(tmp_path / "run.toml", Options(str(tmp_path / "site.toml")))


@pytest.mark.parametrize(
    ("kind", "environ", "said"),
    [
        ("local", {"SLURM_JOB_ID": "1"}, "local has no allocations"),
        ("slurm", {}, "SLURM_JOB_ID is not set"),
        ("pbs", {"SLURM_JOB_ID": "1"}, "PBS_JOBID is not set"),
        ("slurm", {"SLURM_JOB_ID": "1"}, "SLURM_JOB_NODELIST is not set"),
    ],
)
def test_outside_of_an_allocation_it_is_refused(kind, environ, said, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Invalid, match=said):
        present(kind, environ)


def test_an_allocation_tells_its_nodes_and_how_long_it_lasts(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 1000.0)
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_END_TIME": "1600"}
    assert present("slurm", environ) == Present("7", 3, 600)


@pytest.mark.parametrize(
    ("resources", "left", "said"),
    [
        ("nodes = 4", 600, "the allocation has 2 nodes, the run asks for 4"),
        ('after = ["12"]', 600, "waits for no other job"),
        ("", 0, "the time of this allocation is over"),
    ],
)
def test_what_the_allocation_cannot_give_is_refused(tmp_path, resources, left, said):
    with pytest.raises(Invalid, match=said):
        fitted(made(tmp_path, resources), Present("7", 2, left))


@pytest.mark.parametrize(
    ("left", "walltime"),
    [(600, "00:10:00"), (90_000, "02:00:00"), (None, "02:00:00")],
)
def test_a_run_gets_the_nodes_there_are_and_no_more_time_than_is_left(tmp_path, left, walltime):
    run = fitted(made(tmp_path, 'walltime = "02:00:00"'), Present("7", 2, left))
    assert (run.run.resources.nodes, run.run.resources.walltime) == (2, walltime)
    assert run.here == "7"
