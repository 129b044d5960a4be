"""Asking about many runs costs the scheduler one question, and nothing that is not shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from run_maker import RunMaker

from exa_cli import main
from exa_cli.base.errors import Damaged, Unreachable
from exa_cli.login import observe, resume
from exa_cli.runs import journal
from exa_cli.runs.rundir import RunDir
from exa_cli.schedulers import asked

SETTLED, LIVE = 900, 100


@pytest.fixture
def runs(fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunMaker:
    """An empty folder of runs, and an environment in which exa finds it and the fake."""
    monkeypatch.setenv("PATH", fake.env["PATH"])
    monkeypatch.setenv("EXA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EXA_RUNS", str(tmp_path / "runs"))
    return RunMaker(tmp_path / "runs")


def exa(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main.run(list(args), False)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_thousand_runs_are_one_question(
    fake: FakeSlurm,
    runs: RunMaker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(SETTLED):
        runs.run(f"old{n:04d}", str(10_000 + n), done=True, commits=40 if n == 0 else 2)
    for n in range(LIVE):
        runs.run(f"new{n:04d}", fake.plant("RUNNING"), done=False)
    read: list[str] = []
    parse = journal.parse_line
    monkeypatch.setattr(
        journal, "parse_line", lambda writer, line: read.append(line) or parse(writer, line)
    )
    monkeypatch.setattr(asked, "_seconds", {})
    code, out, err = exa("status", "--json", "--verbose", capsys=capsys)
    rows = json.loads(out)["runs"]
    assert (code, len(rows)) == (0, SETTLED + LIVE)
    assert [sum(r["state"] == s for r in rows) for s in ("done", "running")] == [SETTLED, LIVE]
    assert [argv[0] for argv in fake.calls()] == ["squeue"]
    assert "1 scheduler command in" in err
    # Two of the login node, three of the supervisor, and of a rank the first, last and done.
    assert len(read) <= 8 * SETTLED + 2 * LIVE


def test_within_the_floor_nobody_asks_again_and_ages_are_true(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.run("a", fake.plant("RUNNING"), done=False)
    first, second = (json.loads(exa("status", "a", "--json", capsys=capsys)[1]) for _ in range(2))
    assert (first["age_s"], first["source"]) == (0.0, "squeue")
    assert second["age_s"] > 0
    assert (second["state"], second["source"]) == ("running", "squeue")
    assert fake.count("squeue") == 1


def test_what_decides_about_a_submission_asks_anew(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    job = fake.plant("RUNNING")
    run = runs.run("a", job, done=False)
    observe.look([run])
    fake.change(job, state="PENDING", kept="PENDING", reason="BeginTime")
    assert observe.look([run])[0].state.state == "running"
    assert resume.resume(run, {}, force=False).why == f"{run.run_id} is queued: nothing to do"
    assert fake.count("squeue") > 1
    assert observe.look([run])[0].state.state == "queued"


def test_a_silent_scheduler_is_complained_of_once(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(5):
        runs.run(f"new{n}", fake.plant("RUNNING"), done=False)
    fake.fault("squeue", "down")
    code, out, err = exa("status", "--verbose", capsys=capsys)
    assert (code, out.count("unknown")) == (0, 5)
    assert err.count("warning") == err.count("Unable to contact slurm controller") == 1
    assert "new0-0000 and 4 more" in err
    code, out, err = exa("status", "new1", capsys=capsys)
    assert (code, "state       unknown" in out) == (5, True)


def test_a_job_that_will_never_start_says_so(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slurm takes what can never run, and keeps it (recorded)."""
    runs.run("a", fake.plant("PENDING", reason="PartitionTimeLimit"), done=False)
    _, out, _ = exa("status", "a", capsys=capsys)
    assert "PartitionTimeLimit: as it stands it will never start" in out


def test_a_run_whose_job_is_not_answered_for_is_not_touched(
    fake: FakeSlurm, runs: RunMaker
) -> None:
    fake.fault("sacct", "down")
    run = runs.run("a", fake.plant("RUNNING", known=False), done=False)
    for force in (False, True):
        with pytest.raises(Unreachable):
            resume.resume(run, {}, force=force)
    assert fake.count("sbatch") == 0


def test_a_job_that_is_not_found_can_be_given_up_but_only_by_force(
    fake: FakeSlurm, runs: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.fault("sacct", "disabled")
    run = runs.run("a", fake.plant("RUNNING", known=False), done=False)
    with pytest.raises(Unreachable, match="nobody knows how job") as caught:
        resume.resume(run, {}, force=False)
    assert "--force" in str(caught.value.hint)
    made: list[RunDir] = []
    monkeypatch.setattr(resume.submit, "reopen", lambda run, changes: made.append(run))
    monkeypatch.setattr(resume.submit, "lay_down", lambda run, made, **_: "002")
    monkeypatch.setattr(resume.submit, "hand_in", lambda run, attempt: made.append(run))
    resume.resume(run, {}, force=True)
    assert made == [run, run]


@pytest.mark.parametrize("text", ["", "null", "{}", "[5]", '{"scheduler": "slurm"}'])
def test_one_broken_run_does_not_hide_the_others(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    runs.run("a", "1", done=True)
    broken = runs.run("b", fake.plant("RUNNING"), done=False)
    runs.run("c", fake.plant("RUNNING"), done=False)
    (broken.path / "plan.json").write_text(text)
    code, out, err = exa("status", "--json", capsys=capsys)
    rows = {row["run"][0]: row["state"] for row in json.loads(out)["runs"]}
    assert (code, rows) == (0, {"a": "done", "b": "damaged", "c": "running"})
    assert "b-0000: cannot read plan.json" in err
    assert "b-0000  damaged" in exa("status", capsys=capsys)[1]
    assert exa("status", "b", capsys=capsys)[0] == 7


def test_a_broken_profile_does_not_keep_the_other_runs_from_being_asked_about(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = runs.run("a", fake.plant("RUNNING"), done=False)
    runs.run("b", fake.plant("RUNNING"), done=False)
    (broken.path / "site.toml").write_text("")
    _, out, _ = exa("status", "--json", capsys=capsys)
    assert [row["state"] for row in json.loads(out)["runs"]] == ["running", "running"]


@pytest.mark.parametrize("line", ["5", "null", "[]", '{"t": 5, "n": 0, "event": "life"}'])
def test_a_line_that_is_no_event_is_damage_and_told_with_its_place(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    run = runs.run("a", fake.plant("RUNNING"), done=False)
    journal_file = run.path / "journal" / "login-00000000.jsonl"
    journal_file.write_text(line + "\n" + journal_file.read_text())
    code, _, err = exa("status", "a", capsys=capsys)
    assert (code, "login-00000000.jsonl:1" in err) == (7, True)


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_whose_journal_is_lost_is_not_submitted_again(
    fake: FakeSlurm, runs: RunMaker, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(resume.submit, "reopen", lambda run, changes: None)
    run = runs.run("a", fake.plant("RUNNING"), done=False)
    (run.path / "attempts/001/submission.json").write_text("{}")
    for path in (run.path / "journal").iterdir():
        path.unlink()
    if whole:
        (run.path / "journal").rmdir()
    with pytest.raises(Damaged, match="the journal"):
        resume.resume(run, {}, force=True)
    assert fake.count("sbatch") == 0


def test_a_cancel_of_a_job_that_is_forgotten_is_a_cancel(
    fake: FakeSlurm, runs: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.fault("sacct", "disabled")
    runs.run("a", fake.plant("RUNNING", known=False), done=False)
    code, _, err = exa("cancel", "a", capsys=capsys)
    assert (code, "does not know any more" in err) == (0, True)
    assert json.loads(exa("status", "a", "--json", capsys=capsys)[1])["state"] == "cancelled"
