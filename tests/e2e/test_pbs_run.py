"""The main job on PBS, whose commands behave as recorded: one node, and scripts really run."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_pbs import FakePbs

from exa_cli.base.errors import Refused, Unreachable

SITE = """
inherits = "pbs"

[scheduler]
poll_s = 0.5

[directives]
A = false

[node]
count = 1
ranks_per_node = 2
cpus = 2
gpus = 0

[launcher]
kind = "mpich"
command = ["mpiexec", "-rmk", "user", "-launcher", "fork", "-n", "{ranks}"]
agents = ["mpiexec", "-rmk", "user", "-launcher", "fork", "-n", "{ranks}"]

[policy]
resubmit = "watch"

[torch]
device = "cpu"
backend = "gloo"
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def server(tmp_path):
    made = FakePbs(tmp_path / "pbs").install()
    yield made
    made.end_all()


@pytest.fixture
def there(exa, server):
    site = exa.home / "hill.toml"
    local = f'[local_storage]\npath = "{exa.home}/nvme-{{uid}}"\n'
    site.write_text(SITE + local)
    exa.env |= {"PATH": server.env["PATH"], "EXA_SITE": str(site)}
    return exa


def test_a_run_trains_to_its_end_and_its_script_is_the_dry_run(there, server):
    there.submit("whole", "--wait", settings={"train.steps": 10})
    status = there.json("status", "whole")
    assert (status["state"], status["step"]) == ("done", 10)
    (job,) = server.all()
    assert job["script"] == (there.run_dir("whole") / "attempts/001/script.sh").read_text()
    assert "ended: finished" in there("logs", "whole").stdout


def test_a_cancelled_run_saves_and_goes_on_when_it_is_forced(there, server):
    there.submit("stop", settings={"train.steps": 60})
    there.wait_until(lambda: (there.json("status", "stop")["step"] or 0) >= 5)
    there("cancel", "stop")
    there.wait_until(lambda: there.json("status", "stop")["state"] == "cancelled")
    there.wait_until(lambda: server.all()[0]["state"] == "F")
    there("resume", "stop", expect=3)
    there("resume", "stop", "--force", "--wait")
    status = there.json("status", "stop")
    assert (status["state"], status["step"]) == ("done", 60)
    assert status["attempts"][1]["first_step"] > 1


def test_what_pbs_refuses_is_told_in_its_words(there, server):
    server.fault("qsub", "hook")
    refused = there.submit("no", expect=Refused.code)
    assert "Please give a valid account" in refused.stderr
    server.fault("qsub", "none")
    there("resume", "no", "--wait")


def test_a_twin_that_the_server_makes_late_ends_itself_and_changes_nothing(there, server):
    there.submit("twice", settings={"train.steps": 60})
    there.wait_until(lambda: (there.json("status", "twice")["step"] or 0) >= 5)
    script = there.run_dir("twice") / "attempts/001/script.sh"
    subprocess.run(["qsub"], input=script.read_bytes(), env=there.env, check=True)
    there.wait_until(lambda: [job["state"] for job in server.all()[1:]] == ["F"])
    lives = sorted((there.run_dir("twice") / "attempts/001/lives").iterdir())
    assert "was accepted in place of this one" in (lives[1] / "stdout.log").read_text()
    there.wait_until(lambda: there.json("status", "twice")["state"] not in ("queued", "running"))
    status = there.json("status", "twice")
    assert (status["state"], status["step"], len(status["attempts"])) == ("done", 60, 1)
    (attempt,) = status["attempts"]
    assert attempt["lives"] == 1
    assert attempt["job_id"].startswith(server.all()[0]["id"])


def test_inside_of_qsub_i_a_run_trains_without_another_job(there, server, tmp_path):
    held = "#PBS -N interactive\nexec sleep 300\n"
    asked = subprocess.run(["qsub"], input=held, env=there.env, text=True, capture_output=True)
    there.wait_until(lambda: server.all()[0]["state"] == "R")
    nodes = tmp_path / "nodes"
    nodes.write_text(f"{os.uname().nodename}\n")
    there.env |= {"PBS_JOBID": asked.stdout.strip(), "PBS_NODEFILE": str(nodes)}
    there.submit("mine", "--here", "--set", "resources.walltime='01:00:00'",
                 settings={"train.steps": 10})  # fmt: skip
    status = there.json("status", "mine")
    assert (status["state"], status["step"]) == ("done", 10)
    assert status["attempts"][0]["job_id"] == asked.stdout.strip()
    request = json.loads((there.run_dir("mine") / "attempts/001/request.json").read_text())
    assert 500 < request["walltime_s"] <= 600  # what PBS has left for that job
    assert [job["state"] for job in server.all()] == ["R"]


def test_while_the_server_is_away_nothing_is_assumed(there, server):
    there.submit("alone", settings={"train.steps": 20})
    server.fault("qstat", "down")
    there.wait_until(lambda: server.all()[0]["state"] == "F")
    status = there.json("status", "alone")
    # The run's own journal knows its end; the server is not needed for that.
    assert status["state"] == "done"
    there.submit("queued", settings={"train.steps": 5})
    there("status", "queued", "--json", expect=Unreachable.code)
    server.fault("qstat", "none")


def chain(there, **more):
    """A run with a job queued ahead. A login shell forgets the PATH on which the fake lies."""
    programs = Path(shutil.which("qsub", path=there.env["PATH"])).parent
    return {
        "checkpoint.every": 100000, "policy.resubmit": "chain",
        "script.prologue": f"'export PATH={programs}:$PATH'", "script.rehearse": "false", **more,
    }  # fmt: skip


def test_a_job_queued_ahead_is_taken_back_before_a_finished_runs_job_ends(there, server):
    there.submit("short", settings=chain(there, **{"train.steps": 10}))
    _, ahead = server.all()
    assert (ahead["state"], ahead["substate"]) in (("H", 22), ("Q", 10))
    there.wait_until(lambda: all(job["state"] == "F" for job in server.all()))
    status = there.json("status", "short")
    assert status["state"] == "done"
    first, second = status["attempts"]
    assert (first["cause"], second["lives"]) == ("finished", 0)
    assert second["evidence"] == ["the run had ended before"]


def test_where_nodes_have_no_commands_a_job_queued_ahead_ends_itself(there, server):
    there.submit("short", settings=chain(there, **{"train.steps": 10, "script.prologue": "''"}))
    there.wait_until(lambda: all(job["state"] == "F" for job in server.all()))
    status = there.json("status", "short")
    assert status["state"] == "done"
    assert status["attempts"][1]["evidence"] == ["the run is done"]
    assert not list((there.run_dir("short") / "attempts/002").glob("lives/*/launch.json"))


def test_on_pbs_a_run_goes_on_after_its_walltime_by_the_job_queued_ahead(there, server):
    more = {
        "train.steps": 100000, "policy.stop_before": '"00:00:20"',
        "resources.walltime": '"00:01:00"',
    }  # fmt: skip
    there.submit("long", settings=chain(there, **more))
    run = there.run_dir("long")
    there.wait_until(lambda: (run / "attempts/002/lives/1/launch.json").exists(), seconds=200)
    there.wait_until(lambda: there.json("status", "long")["attempts"][1]["first_step"])
    there.wait_until(lambda: len(there.json("status", "long")["attempts"]) > 2)
    there("cancel", "long")
    there.wait_until(lambda: all(job["state"] == "F" for job in server.all()))
    # A slow machine may be at a later attempt by now; one is always queued ahead and never begins.
    first, second, *_, ahead = there.json("status", "long")["attempts"]
    assert (first["cause"], ahead["lives"]) == ("walltime", 0)
    assert second["first_step"] == first["last_step"] + 1
    assert there.json("status", "long")["state"] == "cancelled"
