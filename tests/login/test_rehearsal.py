"""A job that would die in its first second is refused before it is submitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from exa_cli.login import rehearse
from exa_cli.script.dialects import dialect_of
from exa_cli.script.directives import Directives, Line
from exa_cli.script.job import JobScript, Variable
from exa_cli.script.rehearsal import rehearsal


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def job(*prologue: str, modules: tuple[str, ...] = (), **changes: Any) -> JobScript:
    lines = tuple(Line(text, f"run.toml:{n}") for n, text in enumerate(prologue, start=1))
    parts: dict[str, Any] = {
        "scheduler": "slurm",
        "directives": Directives((), dialect_of("slurm").write),
        "run_dir": Path("/runs/x"),
        "attempt": "001",
        "tag": "exa-x-001",
        "python": Path(sys.executable),
        "modules": tuple(Line(text, f"site.toml:{text}") for text in modules),
        "prologue": lines,
    }
    return JobScript(**{**parts, **changes})


def test_a_script_with_nothing_that_could_fail_runs_nothing():
    assert rehearsal(job(environment=(Variable("A", "1", "run.toml"),))) is None
    assert rehearse.rehearse(job()).verdict == "ok"


def test_a_module_that_does_not_load_is_named_with_its_place_and_the_words_of_the_shell():
    found = rehearse.rehearse(job(modules=("true", "no-such-command || exit 70", "true")))
    assert (found.verdict, found.where) == ("fault", "site.toml:no-such-command || exit 70")
    assert "exit status 70" in found.says
    assert "no-such-command: command not found" in found.says


def test_an_interpreter_without_exa_is_told_before_the_job_finds_it(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named exa_cli >&2; exit 1\n")
    python.chmod(0o755)
    found = rehearse.rehearse(job("true", python=python))
    assert (found.verdict, found.where) == ("fault", f"import exa_cli by {python}")
    assert "no module named exa_cli" in found.says


def test_a_prologue_that_leaves_early_is_a_fault_although_its_status_is_0():
    found = rehearse.rehearse(job("exit 0"))
    assert (found.verdict, found.where) == ("fault", "run.toml:1")
    assert "ended before exa's own program began" in found.says


def test_nothing_of_the_present_environment_is_there(monkeypatch):
    monkeypatch.setenv("ONLY_IN_THIS_TERMINAL", "1")
    assert rehearse.rehearse(job('[ "$ONLY_IN_THIS_TERMINAL" ] || exit 3')).verdict == "fault"


def test_the_prologue_sees_the_variables_that_the_job_would_set():
    say_so = '[ "$A" = "a b" ] && [ -d "$EXA_RUN_DIR" ] && [ "$HOME" ]'
    told = (Variable("A", "a b", "run.toml"),)
    assert rehearse.rehearse(job(f"{say_so} || exit 3", environment=told)).verdict == "ok"


def test_one_that_gives_no_answer_leaves_the_question_open(monkeypatch):
    monkeypatch.setattr(rehearse, "TIMEOUT_S", 0.5)
    found = rehearse.rehearse(job("sleep 60"))
    assert (found.verdict, found.where) == ("warning", "run.toml:1")
    assert "not known" in found.says


def test_a_success_is_remembered_for_a_day_a_failure_is_not(tmp_path, own_cache, monkeypatch):
    ran = tmp_path / "ran"
    good, bad = job(f"echo good >>{ran}"), job(f"echo bad >>{ran}; exit 1")
    for _ in range(2):
        assert rehearse.rehearse(good).verdict == "ok"
        assert rehearse.rehearse(bad).verdict == "fault"
    assert sorted(ran.read_text().split()) == ["bad", "bad", "good"]
    monkeypatch.setattr(rehearse, "MEMORY_S", 0.0)
    rehearse.rehearse(good)
    assert ran.read_text().split().count("good") == 2
