"""`exa submit` killed at any moment, or called twice: one job, or none, and never two."""

import json
import random
import time

import pytest
from kit import processes

from exa_cli.schedulers.registry import make
from exa_cli.schedulers.types import Settings


def jobs(exa, tag):
    return make("local", Settings({}, exa.env)).find(tag)


def spooled(exa):
    folder = exa.home / "spool"
    return list(folder.rglob("script*")) if folder.exists() else []


def test_dry_run_creates_nothing_and_prints_what_would_be_submitted(exa):
    path, _ = exa.runfile()
    before = sorted(p for p in exa.home.rglob("*"))
    done = exa("submit", path, "--dry-run")
    assert done.stdout.startswith("#!/bin/bash\n#EXA name=exa-dryrun-001\n")
    assert "Not checked" in done.stderr
    assert sorted(p for p in exa.home.rglob("*")) == before
    answer = exa.json("submit", path, "--dry-run")
    assert answer["script"] == done.stdout
    assert "".join(o["line"] + "\n" for o in answer["origins"]) == done.stdout
    assert all(o["origin"] for o in answer["origins"])


def test_the_submitted_script_is_the_dry_run_but_for_the_names(exa):
    path, _ = exa.runfile()
    dry = exa("submit", path, "--dry-run").stdout
    answer = exa.json("submit", path, "--name", "real", "--set", "train.steps=1")
    script = (exa.run_dir("real") / "attempts/001/script.sh").read_text()
    assert script == dry.replace("dryrun", answer["run"])
    exa.settle("real")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--set", "train.step=4"], 3, "steps"),
        (["--set", "train.steps"], 2, "table.key=value"),
        (["--set", "train.global_batch=3"], 3, "nearest global_batch"),
        (["--set", "data.path=/nowhere"], 3, "/nowhere"),
        (["--set", "model.preset=alphaexa-cy"], 6, "alphaexa-ci"),
        (["--site", "locl"], 6, "local"),
        (["--account", "me"], 3, "no accounts"),
        (["--name", "-rf"], 3, "a letter"),
        (["--walltime", "soon"], 3, "HH:MM:SS"),
        (["--nodes", "0"], 2, "--nodes"),
        (["--set", 'env."A B"=1'], 3, "env"),
    ],
)
def test_a_bad_request_is_refused_with_its_code_and_leaves_nothing(exa, words, code, said):
    path, _ = exa.runfile()
    done = exa("submit", path, *words, expect=code)
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (exa.home / "runs").exists() and not spooled(exa)


def test_a_missing_run_file_is_not_found(exa):
    assert "none.toml" in exa("submit", "none.toml", expect=6).stderr


def test_a_name_is_given_once_even_to_two_at_the_same_moment(exa):
    path, _ = exa.runfile()
    args = ("submit", path, "--name", "twin", "--set", "train.steps=1")
    pair = [exa.start(*args), exa.start(*args)]
    outs = [p.communicate(timeout=60) for p in pair]
    assert sorted(p.returncode for p in pair) == [0, 3]
    assert any("exa resume twin" in err for _, err in outs)
    assert len(jobs(exa, f"exa-{exa.run_dir('twin').name}-001")) == 1
    exa.settle("twin")


def test_two_resumes_at_the_same_moment_submit_one_attempt(exa):
    exa.submit("twice", settings={"train.steps": 400})
    run = exa.run_dir("twice")
    exa.wait_until(lambda: processes(run, "exa_train"))
    exa("cancel", "twice")
    exa.settle("twice")
    pair = [exa.start("resume", "twice", "--force") for _ in range(2)]
    for process in pair:
        process.communicate(timeout=60)
    assert 0 in [p.returncode for p in pair]
    assert not (run / "attempts/003").exists()
    assert len(jobs(exa, f"exa-{run.name}-002")) == 1


@pytest.mark.slow
def test_submit_killed_at_any_moment_is_finished_by_resume_and_never_doubled(exa):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    path, _ = exa.runfile()
    left = {}
    for number in range(12):
        name = f"cut{number}"
        process = exa.start("submit", path, "--name", name, "--set", "train.steps=1")
        time.sleep(rng.uniform(0.0, 0.8))
        process.kill()
        process.communicate()
        made = list((exa.home / "runs").glob(f"{name}-*"))
        left[name] = made[0] if made else None
    print({name: bool(run) for name, run in left.items()})
    for name, run in left.items():
        if run is None:
            assert not jobs(exa, f"exa-{name}")
            continue
        exa("resume", name, "--wait")
        assert exa.json("status", name)["state"] == "done"
        assert len(jobs(exa, f"exa-{run.name}-001")) == 1
        assert not (run / "attempts/002").exists()


def test_a_live_run_is_left_alone_by_resume_and_ended_by_cancel(exa):
    exa.submit("live", settings={"train.steps": 4000, "checkpoint.every": 5})
    run = exa.run_dir("live")
    exa.wait_until(lambda: list((run / "checkpoints").glob("step-*/MANIFEST.json")))
    assert exa.json("resume", "live")["attempt"] == "001"
    assert exa.json("status", "live")["state"] == "running"
    exa("cancel", "live")
    ended = exa.settle("live")
    assert (ended["state"], ended["cause"]) == ("cancelled", "cancelled")
    assert not processes(run)
    assert "--force" in exa("resume", "live", expect=3).stderr
    assert not (run / "attempts/002").exists()


def test_a_cancelled_run_saved_what_it_had(exa):
    exa.submit("save", settings={"train.steps": 4000, "checkpoint.every": 4000})
    run = exa.run_dir("save")
    metrics = run / "metrics" / "metrics.jsonl"
    exa.wait_until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 3)
    exa("cancel", "save")
    ended = exa.settle("save")
    assert ended["checkpoint"]["verdict"] == "good"
    assert ended["checkpoint"]["step"] >= 3


def test_at_the_walltime_a_run_saves_stops_and_goes_on_where_it_was(exa):
    settings = {"train.steps": 4000, "checkpoint.every": 4000, "policy.stop_before": "00:00:08",
                "policy.resubmit": "never"}  # fmt: skip
    exa.submit("short", "--walltime", "00:00:30", settings=settings)
    ended = exa.settle("short")
    assert (ended["state"], ended["cause"]) == ("failed", "walltime")
    saved = ended["checkpoint"]["step"]
    assert saved > 0 and "resume" in ended["next"]["action"]
    exa("resume", "short")
    run = exa.run_dir("short")
    loaded = exa.wait_until(lambda: [
        json.loads(line)["step"]
        for journal in (run / "journal").glob("rank-002-*")
        for line in journal.read_text().splitlines()
        if '"loaded"' in line
    ])  # fmt: skip
    assert loaded == [saved]


def test_where_the_sites_commands_are_missing_nothing_is_made(exa):
    site = exa.home / "elsewhere.toml"
    site.write_text('inherits = "local"\n[scheduler]\nkind = "slurm"\n')
    exa.env |= {"PATH": str(exa.home)}
    refused = exa("submit", exa.runfile()[0], "--name", "no", "--site", site, expect=5)
    assert "not on the PATH: sbatch" in refused.stderr
    assert not (exa.home / "runs").exists()


def test_a_prologue_that_cannot_work_is_refused_before_anything_is_made(exa):
    words = ["--set", "script.prologue='no-such-command || exit 3'"]
    path, _ = exa.runfile()
    refused = exa("submit", path, "--name", "doomed", *words, expect=3)
    assert "no-such-command: command not found" in refused.stderr
    assert not (exa.home / "runs").exists()
    planned = exa.json("plan", path, *words, expect=3)
    (row,) = [row for row in planned["preflight"] if row["name"] == "environment"]
    assert row["verdict"] == "fault"
    dry = exa("submit", path, *words, "--set", "script.rehearse=false", "--dry-run")
    assert "no-such-command" in dry.stdout


def test_the_users_epilogue_runs_once_the_end_is_recorded(exa):
    record = 'cat journal/*.jsonl > seen; echo "$EXA_CAUSE $EXA_STEP $MINE" > told; exit 3'
    path, _ = exa.runfile()
    path.write_text(path.read_text() + f"[script]\nepilogue = '''{record}'''\n")
    exa("submit", path, "--name", "after", "--set", "train.steps=2", "--set", "env.MINE=mine",
        "--wait")  # fmt: skip
    run = exa.run_dir("after")
    exa.wait_until((run / "told").exists)
    assert (run / "told").read_text() == "finished 2 mine\n"
    assert '"ended"' in (run / "seen").read_text()
    assert exa.settle("after")["state"] == "done"
    exa.wait_until(lambda: "epilogue: status 3" in exa("logs", "after").stdout)
