"""A program of the user's own under the supervisor: told what it needs, believed what it tells."""

import json
import os
import signal
import sys
import textwrap

import pytest

PROGRAM = """
    import json, os, pathlib, sys, time
    rank = int(os.environ["RANK"])
    said = {name: os.environ[name] for name in (
        "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
        "MASTER_PORT")}
    pathlib.Path(f"said-{rank}.json").write_text(json.dumps(said))
    saved = pathlib.Path("saved")
    step = int(saved.read_text()) if saved.exists() else 0
    pause = 0.01 if step else float(os.environ.get("PACE", "0.01"))
    while step < 30:
        if os.path.exists(os.environ["EXA_STOP"]):
            sys.exit(75)
        step += 1
        if rank == 0:
            pathlib.Path("saving").write_text(str(step))
            os.replace("saving", saved)
            with open(os.environ["EXA_METRICS"], "a") as out:
                print(json.dumps({"step": step, "loss": 1 / step}), file=out, flush=True)
        time.sleep(pause)
"""


@pytest.fixture
def submit(exa):
    (exa.home / "mine.py").write_text(textwrap.dedent(PROGRAM))

    def submit(*words, program='["python", "mine.py"]', expect=0):
        path = exa.home / "own.toml"
        text = f'[resources]\nwalltime = "00:05:00"\n[train]\nsteps = 30\ncommand = {program}\n'
        path.write_text(text)
        return exa("submit", path, "--name", "own", "--wait", *words, expect=expect)

    return submit


@pytest.mark.slow
def test_it_runs_to_its_end_on_every_rank_and_its_steps_and_loss_are_shown(exa, submit):
    done = submit()
    assert "its checkpoints, what it resumes from" in " ".join(done.stderr.split())
    status = exa.json("status", "own")
    assert (status["state"], status["step"], status["checkpoint"]) == ("done", 30, None)
    told = [json.loads((exa.home / f"said-{rank}.json").read_text()) for rank in (0, 1)]
    for rank, said in enumerate(told):
        wanted = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": str(rank)}
        assert said.items() >= wanted.items()
        assert said["MASTER_PORT"] == told[0]["MASTER_PORT"]
    report = exa.json("report", "own")
    assert (report["tokens"], report["lives"][0]["cause"]) == (None, "finished")


@pytest.mark.slow
def test_asked_to_stop_it_saves_and_the_next_attempt_goes_on_where_it_says_it_was(exa, submit):
    words = ["--set", "env.PACE='1'", "--walltime", "00:00:40", "--set"]
    submit(*words, "policy.stop_before='00:00:20'")
    answer = exa.json("status", "own")
    assert answer["state"] == "done"
    first, *others = answer["attempts"]
    assert first["cause"] == "walltime" and others
    assert 0 < first["last_step"] < 30
    steps = [json.loads(line)["step"] for line in metrics(exa)]
    assert steps == list(range(1, 31))


@pytest.mark.slow
def test_a_cancel_lets_it_save_though_every_process_got_the_batch_system_s_sigterm(exa):
    (exa.home / "mine.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "rank = os.environ['RANK']\n"
        "pathlib.Path(f'begun-{rank}').write_text(str(os.getpid()))\n"
        "while not os.path.exists(os.environ['EXA_STOP']): time.sleep(0.05)\n"
        "pathlib.Path(f'saved-{rank}').write_text('all of it')\n"
        "sys.exit(75)\n"
    )
    path = exa.home / "own.toml"
    path.write_text(
        '[resources]\nwalltime = "00:05:00"\n[train]\ncommand = ["python", "mine.py"]\n'
    )
    exa("submit", path, "--name", "own")
    begun = [exa.home / f"begun-{rank}" for rank in (0, 1)]
    exa.wait_until(lambda: all(each.exists() and each.read_text() for each in begun))
    for each in begun:
        os.kill(int(each.read_text()), signal.SIGTERM)
    exa("cancel", "own")
    assert exa.settle("own")["state"] == "cancelled"
    assert [(exa.home / f"saved-{rank}").read_text() for rank in (0, 1)] == ["all of it"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "cause", "evidence"),
    [
        ('["no-such-program"]', "launch-failed", "before any rank trained"),
        ('["python", "-c", "raise SystemExit(3)"]', "launch-failed", "status 3"),
    ],
)
def test_one_that_cannot_work_fails_with_what_it_said_in_the_logs(
    exa, submit, program, cause, evidence
):
    submit(program=program, expect=8)
    (attempt,) = exa.json("status", "own")["attempts"]
    assert attempt["cause"] == cause
    assert evidence in " ".join(attempt["evidence"])


SEATS = """
inherits = "local"
[node]
count = 1
ranks_per_node = 2
[accelerator]
select = "MY_DEVICES"
[[binding]]
name = "reversed"
default = true
permutes = "cpus"
rank = [{{ cpus = "{last}", device = 1 }}, {{ cpus = "{first}", device = 0 }}]
"""


@pytest.mark.slow
def test_every_rank_runs_on_its_seat_s_cpus_and_sees_its_device(exa, submit):
    first, *_, last = sorted(os.sched_getaffinity(0))
    site = exa.home / "seats.toml"
    site.write_text(SEATS.format(first=first, last=last))
    (exa.home / "mine.py").write_text(
        "import json, os, pathlib\n"
        "seen = [sorted(os.sched_getaffinity(0)), os.environ['MY_DEVICES']]\n"
        "pathlib.Path('seat-' + os.environ['RANK']).write_text(json.dumps(seen))\n"
    )
    submit("--site", site)
    seats = [json.loads((exa.home / f"seat-{rank}").read_text()) for rank in (0, 1)]
    assert seats == [[[last], "1"], [[first], "0"]]


@pytest.mark.slow
def test_a_seat_that_the_machine_does_not_have_stops_the_run_before_it_trains(exa, submit):
    site = exa.home / "seats.toml"
    site.write_text(SEATS.format(first=sorted(os.sched_getaffinity(0))[0], last=1023))
    submit("--site", site, expect=8)
    (attempt,) = exa.json("status", "own")["attempts"]
    assert attempt["cause"] == "launch-failed"
    assert "cannot be bound to CPUs 1023" in " ".join(attempt["evidence"])


BOX = """
inherits = "local"
[container]
command = ["{home}/box", "{{binds}}", "{{image}}"]
bind = ["-b", "{{path}}"]
binds = ["/opt/shared"]
python = "{python}"
"""


@pytest.mark.slow
def test_ranks_run_in_the_container_and_the_supervisor_does_not(exa):
    box = exa.home / "box"
    box.write_text(
        f'#!/bin/sh\necho "$@" >> "{exa.home}/boxed"\n'
        'while [ "$1" = -b ]; do shift 2; done\nshift\nexec env IN_BOX=1 "$@"\n'
    )
    box.chmod(0o755)
    site = exa.home / "boxed.toml"
    site.write_text(BOX.format(home=exa.home, python=sys.executable))
    settings = {"train.steps": 5, "train.image": "'/images/my torch.sif'"}
    exa.submit("boxed", "--site", site, "--wait", settings=settings)
    assert exa.json("status", "boxed")["state"] == "done"
    started = (exa.home / "boxed").read_text().splitlines()
    assert len(started) == 4  # the probe and the training, on two ranks
    for line in started:
        for shown in (exa.run_dir("boxed"), exa.data, "/opt/shared", "/images/my torch.sif"):
            assert str(shown) in line
        assert "exa_cli.job.rank" in line or "exa_cli.job.probe" in line


def test_a_site_without_a_runtime_takes_no_image(exa):
    path, _ = exa.runfile()
    words = ("--set", "train.image='/x.sif'", "--dry-run")
    refused = exa("submit", path, *words, expect=3)
    assert "no container runtime" in refused.stderr


def test_a_plan_shows_what_is_known_and_says_what_is_not_exa_s(exa, submit):
    (exa.home / "own.toml").write_text('[train]\ncommand = ["python", "mine.py"]\n')
    plan = exa.json("plan", exa.home / "own.toml")
    assert (plan["model"], plan["checkpoint"]) == (None, None)
    verdicts = {row["name"]: row["verdict"] for row in plan["preflight"]}
    assert verdicts["program"] == "warning"
    assert not {"space", "data", "staging"} & verdicts.keys()
    assert "mine.py" not in exa("plan", exa.home / "own.toml").stdout.split("pre-flight")[0]
    assert not (exa.home / "cache").exists()


def metrics(exa):
    return (exa.run_dir("own") / "metrics" / "metrics.jsonl").read_text().splitlines()
