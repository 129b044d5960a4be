"""Answers shared by the processes of a user, with their age; and what was spent."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exa_cli.base import clock
from exa_cli.base.errors import Unreachable
from exa_cli.schedulers import asked
from exa_cli.schedulers.asked import Shared
from exa_cli.schedulers.types import JobState

RUNNING = JobState(state="running", source="squeue", started=5.0, words="x")
SILENT = JobState(state="unknown", source="squeue", answer="not-answered")


class Asked:
    """A batch system that counts the questions."""

    def __init__(self, answer: JobState = RUNNING) -> None:
        self.answer = answer
        self.questions: list[list[str]] = []

    def __call__(self, jobs: Sequence[str]) -> dict[str, JobState]:
        self.questions.append(list(jobs))
        return dict.fromkeys(jobs, self.answer)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path / "cache" / "asked" / "slurm.json")


def test_within_the_floor_an_answer_is_given_again_with_its_age(
    shared: Shared, now: list[float]
) -> None:
    ask = Asked()
    assert shared.query(["1", "2"], 30, ask)["1"].age_s == 0
    now[0] += 12
    later = Shared(shared.path).query(["1"], 30, ask)
    assert later == {"1": JobState(**{**vars(RUNNING), "age_s": 12.0})}
    assert ask.questions == [["1", "2"]]
    now[0] += 20
    assert shared.query(["1"], 30, ask)["1"].age_s == 0
    assert ask.questions == [["1", "2"], ["1"]]


def test_a_job_nobody_asked_about_is_asked_about(shared: Shared, now: list[float]) -> None:
    ask = Asked()
    shared.query(["1"], 30, ask)
    shared.query(["1", "2"], 30, ask)
    assert ask.questions == [["1"], ["1", "2"]]


def test_a_decision_always_asks(shared: Shared, now: list[float]) -> None:
    ask = Asked()
    shared.query(["1"], 30, ask)
    shared.query(["1"], 0.0, ask)
    assert len(ask.questions) == 2


def test_silence_is_not_kept(shared: Shared, now: list[float]) -> None:
    shared.query(["1"], 30, Asked(SILENT))
    ask = Asked()
    assert shared.query(["1"], 30, ask) == {"1": RUNNING}

    def fail(jobs: Sequence[str]) -> dict[str, JobState]:
        raise Unreachable("no")

    with pytest.raises(Unreachable):
        shared.query(["2"], 30, fail)
    assert shared.query(["1"], 30, fail) == {"1": RUNNING}


def test_a_clock_set_back_makes_no_answer_young(shared: Shared, now: list[float]) -> None:
    ask = Asked()
    shared.query(["1"], 30, ask)
    now[0] -= 500
    shared.query(["1"], 30, ask)
    assert len(ask.questions) == 2


def test_answers_are_for_their_owner_only(shared: Shared) -> None:
    old = os.umask(0)
    try:
        shared.query(["1"], 30, Asked())
    finally:
        os.umask(old)
    assert stat.S_IMODE(shared.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.path.parent.stat().st_mode) == 0o700
    assert [p.name for p in shared.path.parent.iterdir()] == [shared.path.name]


def test_old_answers_go(shared: Shared, now: list[float]) -> None:
    shared.query(["1"], 30, Asked())
    now[0] += 7200
    shared.query(["2"], 30, Asked())
    assert list(json.loads(shared.path.read_text())["jobs"]) == ["2"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.sampled_from(['{"jobs": {"1": 3}}', '{"jobs": []}', "[]", "null",
       '{"jobs": {"1": {"at": 1e999, "state": {"state": "ended", "source": "x"}}}}',
       '{"jobs": {"1": {"at": "x", "state": {}}}}', '{"jobs": {"1": {"at": 1, "state": {"a":1}}}}'
    ]))  # fmt: skip
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    shared = Shared(tmp_path / "a.json")
    shared.path.write_text(text)
    assert shared.query(["1"], 30, Asked()) == {"1": RUNNING}


def test_a_cache_that_cannot_be_written_costs_a_question_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shared, ask = Shared(tmp_path / "file" / "x.json"), Asked()
    for _ in range(2):
        assert shared.query(["1"], 30, ask) == {"1": RUNNING}
    assert len(ask.questions) == 2


def test_clusters_do_not_share(tmp_path: Path) -> None:
    env = {"EXA_CACHE": str(tmp_path)}
    first, second = (asked.shared("slurm", name, env).path for name in ("a", "b"))
    assert first != second
    assert first.parent == second.parent == tmp_path / "asked"


def test_every_command_is_counted_whatever_becomes_of_it(tmp_path: Path) -> None:
    before = asked.spent().commands
    env = {"PATH": "/usr/bin:/bin"}
    for argv in (["true"], ["false"], ["no-such-command"], ["true"]):
        try:
            asked.run(argv, timeout=20, cwd=tmp_path, env=env)
        except Unreachable:
            assert argv == ["no-such-command"]
    after = asked.spent()
    counted = {name: after.commands[name] - before.get(name, 0) for name in after.commands}
    assert {n: counted[n] for n in ("true", "false", "no-such-command")} == {
        "true": 2, "false": 1, "no-such-command": 1,
    }  # fmt: skip


def test_what_was_spent_is_said_in_a_line() -> None:
    assert asked.Spent({}, 0.0).words == "0 scheduler commands in 0.00 s"
    assert asked.Spent({"squeue": 1}, 0.05).words == "1 scheduler command in 0.05 s: squeue 1"
    two = asked.Spent({"squeue": 1, "sacct": 2}, 0.5).words
    assert two == "3 scheduler commands in 0.50 s: squeue 1, sacct 2"
