"""exa on a real Slurm: training over several nodes through srun, and what goes wrong there."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from kit import Exa, last_state, losses, processes

from exa_cli.base import proc
from exa_cli.base.errors import Findings, Refused, RunFailed, Unreachable

SITE = """
inherits = "slurm"

[scheduler]
kill_delay_s = 5.0
poll_s = 0.5

[directives]
account = false

[node]
count = {nodes}
ranks_per_node = 1
cpus = 4
gpus = 0

[launcher]
options = ["--mpi=pmi2"]

[local_storage]
path = "{local}/exa-{{uid}}"

[torch]
device = "cpu"
backend = "gloo"
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def on(exa, cluster):
    """The command with the starter profile, filled in for a cluster."""
    site = exa.home / "lab.toml"
    site.write_text(SITE.format(nodes=cluster.spec.nodes, local=cluster.spec.local))
    exa.env |= {**cluster.env, "EXA_SITE": str(site)}
    return exa


@pytest.fixture
def there(exa, slurm):
    return on(exa, slurm)


def start(exa, name, steps, every=5, nodes=2, **more):
    settings = {
        "train.steps": steps, "train.microbatch": 1, "checkpoint.every": every,
        "resources.queue": "prod", "resources.nodes": nodes, **more,
    }  # fmt: skip
    return json.loads(exa.submit(name, "--json", settings=settings).stdout)


def trains(exa, name, step, expect=0):
    def far_enough():
        return (exa.json("status", name, expect=expect)["step"] or 0) >= step

    exa.wait_until(far_enough, seconds=200)


def ends(exa, name):
    live = ("queued", "running", "resubmitting", "unknown")
    exa.wait_until(lambda: exa.json("status", name)["state"] not in live, seconds=300)
    return exa.json("status", name)


def events(exa, name, kind):
    lines = [
        json.loads(line)
        for path in (exa.run_dir(name) / "journal").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if line["event"] == kind]


def test_what_slurm_refuses_is_told_in_its_words_and_leaves_no_job(there, slurm):
    refused = there("submit", there.runfile()[0], "--name", "no", "--queue", "nowhere",
                    "--set", "train.microbatch=1", expect=Refused.code)  # fmt: skip
    assert "invalid partition specified: nowhere" in refused.stderr
    assert slurm.run("squeue", "-h") == ""


def test_a_run_trains_over_four_nodes_to_its_end(there, slurm):
    submitted = start(there, "four", 20, nodes=4)
    assert submitted["scheduler"] == "slurm"
    status = ends(there, "four")
    assert (status["state"], status["step"]) == ("done", 20)
    assert {e["node"] for e in events(there, "four", "staged")} == {"n1", "n2", "n3", "n4"}
    assert [e["world"] for e in events(there, "four", "healthy")] == [4]
    assert "ended: finished" in there("logs", "four").stdout
    assert slurm.run("squeue", "-h") == ""


def test_a_cancelled_run_stays_down_until_it_is_forced_and_goes_on_where_it_was(there, slurm):
    start(there, "stop", 60)
    trains(there, "stop", 5)
    there("cancel", "stop")
    assert ends(there, "stop")["state"] == "cancelled"
    slurm.wait_until(lambda: slurm.run("squeue", "-h") == "")
    there("resume", "stop", expect=3)
    there("resume", "stop", "--force")
    status = ends(there, "stop")
    assert (status["state"], status["step"]) == ("done", 60)
    first, second = status["attempts"]
    assert second["first_step"] <= first["last_step"] + 1
    assert second["first_step"] > 1


def test_a_run_goes_on_while_the_controller_is_away(there, slurm):
    start(there, "alone", 120, every=40)
    trains(there, "alone", 5)
    with slurm.ctl_away():
        # An answer of a moment ago may still be shown, with its age.
        slurm.wait_until(lambda: there.code("status", "alone") == Unreachable.code)

        # A scheduler that does not answer is exit code 5, and what the journal knows is shown.
        def goes_on():
            status = there.json("status", "alone", expect=Unreachable.code)
            assert (status["state"], status["source"]) == ("unknown", "journal")
            return status["step"] >= 15

        there.wait_until(goes_on, seconds=200)
    assert ends(there, "alone")["state"] == "done"


def test_a_run_whose_node_dies_goes_on_elsewhere_from_its_checkpoint(there, slurm):
    start(there, "power", 60)
    there.wait_until(lambda: events(there, "power", "committed"), seconds=200)
    slurm.node_kill("n2")
    there("watch", "power")
    status = there.json("status", "power")
    assert (status["state"], status["step"]) == ("done", 60)
    hurt, whole = status["attempts"]
    assert 5 < whole["first_step"] <= hurt["last_step"] + 1
    slurm.calm()


TWICE = {"policy.stop_before": '"00:00:30"', "checkpoint.every": 1000, "train.steps": 100000}


@pytest.mark.parametrize(
    "means", [pytest.param("inside", marks=pytest.mark.full), "chain", "requeue"]
)
def test_after_its_walltime_a_run_goes_on_by_every_means_slurm_has(there, slurm, means):
    """Half a minute's job, twice; then a cancel ends all of it."""
    site = there.home / "lab.toml"
    site.write_text(site.read_text().replace("poll_s", "retry_s = 5.0\npoll_s"))
    settings = TWICE | {
        "train.microbatch": 1, "resources.queue": "prod", "resources.nodes": 2,
        "resources.walltime": '"00:01:00"', "policy.resubmit": means,
    }  # fmt: skip
    there.submit("long", settings=settings)
    queued = slurm.run("squeue", "-h", "-o", "%T %r").splitlines()
    assert len(queued) == (2 if means == "chain" else 1)
    there.wait_until(lambda: len(events(there, "long", "loaded")) == 2, seconds=240)
    there("cancel", "long")
    status = ends(there, "long")
    assert status["state"] == "cancelled"
    begun = "attempts/001/lives/2" if means == "requeue" else "attempts/002/lives/1"
    assert (there.run_dir("long") / begun / "launch.json").exists()
    saved = min(e["step"] for e in events(there, "long", "stopped"))
    assert sorted(e["step"] for e in events(there, "long", "loaded")) == [0, saved]
    slurm.wait_until(lambda: slurm.run("squeue", "-h") == "")


def test_with_accounting_the_account_is_charged_or_the_run_refused(exa, slurm_accounting):
    there = on(exa, slurm_accounting)
    path = there.runfile()[0]
    words = ("--set", "train.microbatch=1", "--set", "train.steps=10", "--queue", "prod")
    refused = there("submit", path, "--name", "no", "--account", "nobody", *words,
                    expect=Refused.code)  # fmt: skip
    assert "Invalid account" in refused.stderr
    there("submit", path, "--name", "paid", "--account", "lab", "--wait", *words)
    tag = there.json("status", "paid")["run"]
    query = ("sacct", "-nPX", "-o", "jobname%60,account,state")
    slurm_accounting.wait_until(
        lambda: f"exa-{tag}-001|lab|COMPLETED" in slurm_accounting.run(*query)
    )


def test_a_run_that_failed_makes_wait_exit_8(there, slurm):
    there("submit", there.runfile()[0], "--name", "bad", "--queue", "prod", "--wait",
          "--set", "train.microbatch=1", "--set", 'script.prologue="exit 3"',
          "--set", "script.rehearse=false", "--set", "policy.retries=0",
          expect=RunFailed.code)  # fmt: skip


@pytest.fixture
def allocated(there, slurm):
    """The command there; salloc starts the supervisor on the login node, whose disk is cleared."""
    yield there
    shutil.rmtree(slurm.spec.local / f"exa-{os.getuid()}", ignore_errors=True)


def in_allocation(exa, name, steps, *words):
    """``salloc … exa submit --here``, whose site needs an account that nobody gave."""
    site = exa.home / "lab.toml"
    site.write_text(site.read_text().replace("account = false", 'account = "fill in"'))
    argv = ["salloc", "--nodes=2", "--partition=prod", "--time=5", "--exclusive", "--quiet"]
    settings = [f"train.steps={steps}", "train.microbatch=1", "checkpoint.every=5"]
    run = exa.argv("submit", exa.runfile()[0], "--name", name, "--here", *words)
    run += [word for setting in settings for word in ("--set", setting)]
    return subprocess.Popen(
        [*argv, *run], env=exa.env, cwd=exa.home, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_in_an_allocation_of_one_s_own_a_run_trains_without_another_job(allocated, slurm):
    before = slurm.run("squeue", "-h", "-t", "all", "-o", "%i").split()
    done = in_allocation(allocated, "mine", 20, "--json", "--set", "resources.walltime='00:30:00'")
    out, talk = done.communicate(timeout=240)
    assert done.returncode == 0, talk
    status = allocated.json("status", "mine")
    assert (status["state"], status["step"]) == ("done", 20)
    assert json.loads(out)["job_id"] == status["attempts"][0]["job_id"]
    made = set(slurm.run("squeue", "-h", "-t", "all", "-o", "%i").split()) - set(before)
    assert made == {status["attempts"][0]["job_id"]}
    assert {e["node"] for e in events(allocated, "mine", "staged")} == {"n1", "n2"}
    request = json.loads((allocated.run_dir("mine") / "attempts/001/request.json").read_text())
    assert 200 < request["walltime_s"] <= 300


def test_a_cancel_there_ends_the_run_and_leaves_the_allocation(allocated, slurm):
    done = in_allocation(allocated, "mine", 400)
    allocated.wait_until(
        lambda: (allocated.home / "runs").exists() and any((allocated.home / "runs").iterdir())
    )
    trains(allocated, "mine", 5)
    allocated("cancel", "mine")
    _, talk = done.communicate(timeout=120)
    assert done.returncode == RunFailed.code and "cancelled" in talk
    status = allocated.json("status", "mine")
    assert (status["state"], status["checkpoint"]["verdict"]) == ("cancelled", "good")
    shown = slurm.run("sh", "-c", "scontrol -o show job " + status["attempts"][0]["job_id"])
    assert "JobState=CANCELLED" not in shown


def test_a_profile_is_held_against_the_running_cluster(there, slurm):
    site = there.home / "lab.toml"
    bare = site.read_text()
    plain = bare.replace("gpus = 0", "gpus = 2").replace("cpus = 4", "cpus = 'unknown'")
    site.write_text(plain + '[[queue]]\nname = "prod"\n')
    there("site", "check", site, "--live")
    site.write_text(plain + '[[queue]]\nname = "nowhere"\n')
    drifted = there("site", "check", site, "--live", expect=Findings.code)
    assert "no queue 'nowhere'" in drifted.stdout
    site.write_text(bare)
    without = there("site", "check", site, "--live", expect=Findings.code)
    assert "nodes have 2 GPUs, not 0" in without.stdout
    with slurm.ctl_away():
        there("site", "check", site, "--live", expect=Unreachable.code)


SAME = {"train.precision": "fp32", "train.threads": 1, "train.microbatch": 1}


def test_a_rank_killed_on_a_node_costs_no_bit_and_the_same_layout_elsewhere_has_the_same(
    there, slurm, tmp_path_factory, prepared
):
    """Two Slurm nodes and a kill against two virtual nodes of this machine and none."""
    here = Exa(tmp_path_factory.mktemp("here"), prepared)
    here.submit("whole", "--nodes", 2, "--wait", settings=SAME)
    there.submit("hurt", "--nodes", 2, "--queue", "prod", settings=SAME)
    trains(there, "hurt", 7)
    run = there.run_dir("hurt")
    for rank in processes(run, "-m exa_train")[:1]:
        proc.send(rank, signal.SIGKILL)
    status = ends(there, "hurt")
    assert (status["state"], status["attempts"][0]["lives"]) == ("done", 2)
    whole = here.run_dir("whole")
    assert losses(run) == losses(whole)
    assert last_state(run) == last_state(whole)


def test_a_submit_that_finds_no_controller_leaves_no_job_and_resume_makes_the_one(there, slurm):
    site = there.home / "lab.toml"
    site.write_text(site.read_text().replace("poll_s", "retry_s = 0.0\npoll_s"))
    words = {"train.microbatch": 1, "train.steps": 2, "resources.queue": "prod"}
    with slurm.ctl_away():
        there.submit("late", "--nodes", 2, settings=words, expect=Unreachable.code)
    assert slurm.run("squeue", "-h") == ""
    there("resume", "late", "--wait")
    status = there.json("status", "late")
    assert status["state"] == "done"
    known = slurm.run("squeue", "-h", "-t", "all", "-o", "%j").split()
    assert known.count(f"exa-{status['run']}-001") == 1


def test_variables_of_the_submitter_do_not_change_the_job(there, slurm):
    there.env |= {"SBATCH_PARTITION": "debug", "SBATCH_TIMELIMIT": "1", "SQUEUE_FORMAT": "%N"}
    job = start(there, "plain", 2)["job_id"]
    shown = slurm.run("scontrol", "-o", "show", "job", job)
    assert "Partition=prod" in shown and "TimeLimit=00:10:00" in shown
    assert ends(there, "plain")["state"] == "done"


def test_a_spare_takes_the_place_of_a_node_that_dies_and_the_job_goes_on(there, slurm):
    start(there, "spare", 60, **{"resources.spares": 1})
    there.wait_until(lambda: events(there, "spare", "committed"), seconds=200)
    slurm.node_kill("n2")
    status = ends(there, "spare")
    slurm.calm()
    assert (status["state"], status["step"]) == ("done", 60)
    (only,) = status["attempts"]
    assert only["lives"] == 2
    (lost,) = [e for e in events(there, "spare", "ended") if e["cause"] != "finished"]
    assert (lost["cause"], lost["lost"]) == ("node-failure", ["n2"])
    assert {e["node"] for e in events(there, "spare", "staged")} == {"n1", "n2", "n3"}
    assert "node-failure" in there("report", "spare").stdout


def test_a_preempted_run_saves_within_its_grace_and_goes_on_when_there_is_room(there, slurm):
    """A partition of higher priority takes all nodes; the run comes back behind it."""
    start(there, "low", 60, nodes=4, every=1000, **{"resources.queue": "preempt"})
    trains(there, "low", 3)
    urgent = slurm.run("sbatch", "--parsable", "-p", "prod", "-N4", "--exclusive", "-t", "5",
                       "-o", os.devnull, "--wrap", "sleep 20").strip()  # fmt: skip
    status = ends(there, "low")
    assert (status["state"], status["step"]) == ("done", 60)
    first, second = status["attempts"]
    assert (first["cause"], second["cause"]) == ("preempted", "finished")
    (saved,) = [e["step"] for e in events(there, "low", "stopped")]
    assert second["first_step"] == saved + 1 > 1, "nothing was lost but the time of waiting"
    assert "COMPLETED" in slurm.run("sh", "-c", f"scontrol -o show job {urgent}")
