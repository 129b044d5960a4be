"""The lab is a cluster: machines of their own that share files, with faults on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab import packages, plugin
from lab.cluster import Cluster, LabError, answers
from lab.spec import Spec

from exa_cli.base import proc

MPI = """
import socket
from mpi4py import MPI
names = MPI.COMM_WORLD.gather(socket.gethostname())
if names: print(MPI.COMM_WORLD.size, *sorted(names))
"""

GLOO = """
import os, socket, torch
import torch.distributed as dist
rank, world = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
dist.init_process_group("gloo", "tcp://n1:29531", rank=rank, world_size=world)
value = torch.tensor([rank + 1.0])
dist.all_reduce(value)
print(socket.gethostname(), value.item())
dist.barrier()
dist.destroy_process_group()
"""

FOUR = ("srun", "-p", "prod", "-N4", "--quiet")


def python(slurm: Cluster, program: str, *options: str) -> list[str]:
    out = slurm.run(*FOUR, *options, sys.executable, "-c", program, timeout=240, cwd=Path("/"))
    return sorted(out.splitlines())


@pytest.mark.parametrize("ci", [False, True])
def test_a_machine_without_root_skips_with_the_reason_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CI", "true" if ci else "")
    outcome = pytest.fail.Exception if ci else pytest.skip.Exception
    with pytest.raises(outcome, match="needs root"):
        plugin.need_slurm()


def test_a_machine_without_slurm_and_apt_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    assert "no apt-get" in str(packages.unusable(install=True))


def test_the_tests_of_somebodys_machine_install_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    which = {"apt-get": "/usr/bin/apt-get"}
    monkeypatch.setattr(packages.shutil, "which", which.get)
    assert "the packages are" in str(packages.unusable(install=False))


def test_a_command_that_fails_says_how(slurm: Cluster) -> None:
    with pytest.raises(LabError, match="status 7"):
        slurm.run("srun", "-N1", "sh", "-c", "exit 7")


def test_each_node_is_a_machine_of_its_own(slurm: Cluster) -> None:
    assert sorted(slurm.run(*FOUR, "hostname").split()) == ["n1", "n2", "n3", "n4"]
    own = slurm.spec.local
    look = f"echo $SLURMD_NODENAME > {own}/x; touch /dev/shm/$(hostname); echo $$; cat {own}/*"
    out = slurm.run(*FOUR, "sh", "-c", f"{look}; ls /dev/shm | grep ^n")
    assert sorted(line for line in out.split() if line.startswith("n")) == sorted(
        slurm.spec.names * 2
    )
    assert not any(own.iterdir()), "a node's own disk is not the login node's"


def test_nodes_share_files(slurm: Cluster, tmp_path: Path) -> None:
    slurm.run(*FOUR, "sh", "-c", f"touch '{tmp_path}'/$(hostname)")
    assert sorted(os.listdir(tmp_path)) == ["n1", "n2", "n3", "n4"]


def test_mpi_ranks_on_four_nodes_are_one_world(slurm: Cluster) -> None:
    assert python(slurm, MPI, "--mpi=pmi2") == ["4 n1 n2 n3 n4"]


def test_torch_reduces_over_four_nodes(slurm: Cluster) -> None:
    assert python(slurm, GLOO) == ["n1 10.0", "n2 10.0", "n3 10.0", "n4 10.0"]


def test_gpus_are_counted_out(slurm: Cluster) -> None:
    out = slurm.run(
        "srun", "-N2", "-pprod", "--gpus-per-node=2", "printenv", "CUDA_VISIBLE_DEVICES"
    )
    assert out.split() == ["0,1", "0,1"]


def sleeper(slurm: Cluster, tmp_path: Path, *options: str) -> str:
    """A job that has begun to sleep; its id."""
    script = f"#!/bin/bash\nsrun sh -c 'touch \"{tmp_path}/$(hostname)\"; exec sleep 611'\n"
    words = ("sbatch", "--parsable", "-p", "prod", "-o", tmp_path / "out", *options)
    job = slurm.run(*words, stdin=script).strip()
    slurm.wait_until(lambda: len(list(tmp_path.glob("n*"))) >= 1)
    return job


def state(slurm: Cluster, job: str) -> str:
    return slurm.run("squeue", "-h", "-j", job, "-t", "all", "-o", "%T").strip()


def sleepers() -> int:
    lines = [p for pid in proc.pids() if (p := Path(f"/proc/{pid}/cmdline")).exists()]
    return sum(b"sleep\x00611" in line.read_bytes() for line in lines if line.exists())


def test_a_power_cut_ends_what_ran_on_the_node_and_slurm_notices(
    slurm: Cluster, tmp_path: Path
) -> None:
    job = sleeper(slurm, tmp_path, "-w", "n2", "--no-requeue")
    slurm.node_kill("n2")
    assert sleepers() == 0
    slurm.wait_until(lambda: state(slurm, job) == "NODE_FAIL")
    slurm.node_start("n2")
    slurm.wait_until(lambda: slurm.states()["n2"] == "idle")


def test_a_dead_daemon_leaves_its_job_running(slurm: Cluster, tmp_path: Path) -> None:
    job = sleeper(slurm, tmp_path, "-w", "n3")
    slurm.daemon_kill("n3")
    slurm.wait_until(lambda: slurm.run("scontrol", "ping") and sleepers() == 1)
    slurm.node_start("n3")
    assert state(slurm, job) == "RUNNING"
    slurm.run("scancel", job)
    slurm.wait_until(lambda: sleepers() == 0)


def test_jobs_outlive_the_controller(slurm: Cluster, tmp_path: Path) -> None:
    job = sleeper(slurm, tmp_path, "-w", "n4")
    slurm.ctl_stop()
    with pytest.raises(LabError):
        slurm.run("squeue", "-h", "-j", job)
    assert sleepers() == 1
    slurm.ctl_start()
    assert state(slurm, job) == "RUNNING"


def test_an_unplugged_node_cannot_be_reached_until_it_is_plugged_in(slurm: Cluster) -> None:
    there = (slurm.spec.address("n1"), slurm.spec.port("slurmd"))
    assert answers(*there)
    slurm.unplug("n1")
    assert not answers(*there)
    slurm.plug("n1")
    slurm.wait_until(lambda: answers(*there))


def test_calm_puts_everything_right_after_a_test(slurm: Cluster, tmp_path: Path) -> None:
    sleeper(slurm, tmp_path, "-N2")
    slurm.node_kill("n1")
    slurm.daemon_kill("n2")
    slurm.run("scontrol", "update", "NodeName=n3", "State=DRAIN", "Reason=test")
    slurm.ctl_stop()
    slurm.calm()
    assert set(slurm.states().values()) == {"idle"}
    assert slurm.run("squeue", "-h") == ""


def test_accounting_remembers_and_enforces(slurm_accounting: Cluster) -> None:
    run = slurm_accounting.run
    with pytest.raises(LabError, match="Invalid account"):
        run("srun", "-A", "nobody", "true")
    run("srun", "-t1", "-A", "lab", "--qos=quick", "-J", "counted", "true")
    query = ("sacct", "-nPX", "--name=counted", "-o", "account,qos,state")
    slurm_accounting.wait_until(lambda: run(*query).strip() == "lab|quick|COMPLETED")


def test_two_clusters_run_side_by_side_and_one_leaves_nothing_behind(slurm: Cluster) -> None:
    with plugin.running(nodes=1) as other:
        assert other.spec.slot != slurm.spec.slot
        assert other.run("srun", "hostname").split() == ["n1"]
        assert slurm.run("srun", "hostname").split() == ["n1"]
        before = {name: other._recorded(name) for name in other.status()}
    assert not any(process and proc.alive(process) for process in before.values())
    assert not other.spec.root.exists()
    left = slurm.run("ip", "-br", "link") + slurm.run("ip", "netns")
    assert f"{other.spec.bridge}-" not in left
    assert slurm.is_up()


KILLED = """
import os, signal
from lab import plugin
plugin.SLOTS = range(48, 49)
with plugin.running(nodes=2) as cluster:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_session_left_is_cleared_by_the_next(
    slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = Path(__file__).resolve().parents[1]
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tests)
    assert killed.returncode == -signal.SIGKILL
    left = Cluster(Spec(slot=48, nodes=2))
    assert left.is_up()
    processes = [left._recorded(name) for name in left.status()]
    monkeypatch.setattr(plugin, "SLOTS", range(48, 49))
    with plugin.running(nodes=1) as fresh:
        assert not any(process and proc.alive(process) for process in processes)
        assert fresh.run("srun", "hostname").split() == ["n1"]
    assert not fresh.spec.root.exists()
    assert "exa48-" not in slurm.run("ip", "-br", "link")


def test_a_pid_that_was_given_to_another_process_is_left_alone(tmp_path: Path) -> None:
    """Records name a start time: a process that has the number of one of ours is not ours."""
    cluster = Cluster(Spec(slot=49, home=str(tmp_path)))
    me = proc.myself()
    record = cluster.spec.file("run", "munged.json")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({**me.to_dict(), "start": me.start - 1}))
    assert not cluster.alive("munged")
    cluster.down()  # would be the end of this test
    assert not cluster.spec.root.exists()
