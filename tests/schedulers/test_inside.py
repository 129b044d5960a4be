"""What a batch system tells a job from inside, and what is made of it."""

import os
import socket

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.schedulers import inside


def test_an_allocation_of_another_size_than_was_asked_for_is_refused_with_its_names():
    with pytest.raises(Invalid, match=r"has 3 nodes, the job asked for 4") as raised:
        inside.nodes("slurm", {"SLURM_JOB_NODELIST": "n[1-3]"}, 4)
    assert "n1, n2, n3" in str(raised.value)


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_outside_of_a_job_it_says_which_variable_is_missing(kind):
    with pytest.raises(Invalid, match=r"(SLURM_JOB_NODELIST|PBS_NODEFILE) is not set"):
        inside.nodes(kind, {}, 1)


def test_a_node_that_stands_twice_is_refused():
    with pytest.raises(Invalid, match="twice"):
        inside.nodes("slurm", {"SLURM_JOB_NODELIST": "n[1,1]"}, 2)


def test_a_pbs_node_file_names_each_node_once_in_its_order(tmp_path):
    path = tmp_path / "nodes"
    path.write_text("x2.hsn\nx2.hsn\nx1.hsn\n\nx1.hsn\nx3.hsn\n")
    assert inside.nodes("pbs", {"PBS_NODEFILE": str(path)}, 3) == ("x2.hsn", "x1.hsn", "x3.hsn")


def test_without_a_batch_system_the_node_is_this_machine():
    assert inside.nodes("gpulab", {}, 1) == (socket.gethostname(),)


@pytest.mark.parametrize(
    ("host", "told", "node"),
    [
        ("n1", None, "n1"),
        ("n1.site.org", None, "n1"),
        ("b2", None, "b2.site.org"),
        ("other", None, None),
        ("other", "n1", "n1"),
        ("other", "n9", None),
        # mpiexec hands the first node's variable on to all: the host's own name goes first.
        ("b2", "n1", "b2.site.org"),
    ],
)
def test_a_process_knows_its_node_by_the_hosts_own_name(host, told, node):
    assert inside.which(["n1", "b2.site.org"], host, told) == node


def test_two_nodes_of_one_short_name_are_not_mixed_up():
    names = ["n1.a", "n1.b"]
    assert inside.which(names, "n1", None) is None
    assert inside.which(names, "n1.b", None) == "n1.b"


def fake_squeue(tmp_path, monkeypatch, body):
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_a_variable_with_the_end_saves_the_question(tmp_path, monkeypatch):
    fake_squeue(tmp_path, monkeypatch, "echo 1:00")
    assert inside.end("slurm", {"SLURM_JOB_END_TIME": "1000"}, 10.0) == 1000.0


def test_without_it_the_scheduler_is_asked_for_this_job(tmp_path, monkeypatch):
    fake_squeue(tmp_path, monkeypatch, 'case "$*" in *"-j 42 "*) echo 1:00;; esac')
    assert inside.end("slurm", {"SLURM_JOB_ID": "42"}, 10.0) == 70.0


@pytest.mark.parametrize("body", ["exit 1", "echo 1:00; exit 1", "echo UNLIMITED"])
def test_no_answer_about_the_end_is_unknown(tmp_path, monkeypatch, body):
    fake_squeue(tmp_path, monkeypatch, body)
    assert inside.end("slurm", {"SLURM_JOB_ID": "42"}, 10.0) is None


def test_without_the_command_the_end_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert inside.end("slurm", {"SLURM_JOB_ID": "42"}, 10.0) is None
    assert inside.end("local", {}, 10.0) is None


@pytest.mark.parametrize(("environ", "count"), [({}, None), ({"SLURM_RESTART_COUNT": "2"}, 2)])
def test_the_starts_before_this_one_are_counted_by_slurm(environ, count):
    assert inside.restarts(environ) == count


QSTAT = """#!/bin/sh
printf 'Job Id: 7.pbs\\n    Resource_List.walltime = %s\\n    stime = %s\\n' "$W" "$S"
"""


@pytest.mark.parametrize(
    ("walltime", "started", "end"),
    [
        ("00:10:00", "Thu Jan  1 00:00:10 1970", 610.0),
        ("", "Thu Jan  1 00:00:10 1970", None),
        ("00:10:00", "soon", None),
    ],
)
def test_the_end_of_a_job_of_pbs_is_its_start_and_its_walltime(
    tmp_path, monkeypatch, walltime, started, end
):
    program = tmp_path / "qstat"
    program.write_text(QSTAT)
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PBS_JOBID": "7.pbs", "W": walltime, "S": started}
    monkeypatch.setenv("PATH", env["PATH"])
    assert inside.end("pbs", env, 0.0) == end


@pytest.mark.parametrize("job", [None, "", "8.pbs", "8"])
def test_another_jobs_end_is_never_taken_for_ones_own(tmp_path, monkeypatch, job):
    """Without an id qstat prints everybody's jobs."""
    program = tmp_path / "qstat"
    program.write_text(QSTAT)
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "W": "00:10:00", "S": "Thu Jan  1 00:00:10 1970"}
    env |= {} if job is None else {"PBS_JOBID": job}
    monkeypatch.setenv("PATH", env["PATH"])
    assert inside.end("pbs", env, 0.0) is None


def test_the_end_is_unknown_where_nobody_can_be_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert inside.end("pbs", {"PBS_JOBID": "7"}, 0.0) is None
    assert inside.end("local", {}, 0.0) is None
