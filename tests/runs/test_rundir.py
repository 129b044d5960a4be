"""Runs exist whole or not at all; names lead to exactly one; turns have one holder."""

import json
import subprocess
import sys

import pytest

from exa_cli.base.errors import Damaged, Invalid, NotFound, Unreachable, Usage
from exa_cli.runs import rundir
from exa_cli.runs.find import all_runs, find
from exa_cli.runs.rundir import RunDir, create, new_id
from exa_cli.runs.turn import turn
from exa_cli.spec.ends import UNSAID


def make(root, name, unique=False):
    return create(root, new_id(name, unique=unique), {"plan.json": {}, "run.toml": ""})


def test_a_name_the_user_gave_is_refused_the_second_time_even_after_the_first_check(tmp_path):
    make(tmp_path, "demo", unique=True)
    with pytest.raises(Invalid, match="exists already") as caught:
        make(tmp_path, "demo", unique=True)
    assert "exa resume demo" in caught.value.hint
    assert len(list(tmp_path.iterdir())) == 1


def test_runs_of_a_file_do_not_collide(tmp_path):
    assert len({make(tmp_path, "run").run_id for _ in range(5)}) == 5


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Invalid) as caught:
        make(blocked / "runs", "demo")
    assert "EXA_RUNS" in caught.value.hint


def test_half_made_runs_are_not_runs(tmp_path):
    (tmp_path / ".demo-1234.abcd.tmp" / "journal").mkdir(parents=True)
    (tmp_path / ".demo-1234.abcd.tmp" / "plan.json").write_text("{}")
    assert all_runs(tmp_path) == []


def test_a_missing_plan_is_damage_with_the_path(tmp_path):
    run = make(tmp_path, "demo")
    (run.path / "plan.json").write_text("{")
    with pytest.raises(Damaged, match=r"plan\.json"):
        run.plan()


def test_an_unknown_run_names_the_nearest(tmp_path):
    make(tmp_path, "polaris", unique=True)
    with pytest.raises(NotFound) as caught:
        find("polarsi", tmp_path)
    assert "polaris" in caught.value.hint


def test_an_ambiguous_prefix_is_a_usage_error_that_lists_the_runs(tmp_path):
    ids = {make(tmp_path, name, unique=True).run_id for name in ("abc", "abd")}
    with pytest.raises(Usage) as caught:
        find("ab", tmp_path)
    assert all(run_id in caught.value.hint for run_id in ids)


def test_a_run_is_found_by_id_name_prefix_and_path(tmp_path):
    run = make(tmp_path, "demo", unique=True)
    for text in (run.run_id, "demo", "dem", str(run.path)):
        assert find(text, tmp_path) == run


def test_an_exact_name_wins_over_longer_ones(tmp_path):
    run = make(tmp_path, "demo", unique=True)
    make(tmp_path, "demo2", unique=True)
    assert find("demo", tmp_path) == run


def test_attempts_are_listed_in_order_and_nothing_else_is(tmp_path):
    run = make(tmp_path, "demo")
    for name in ("010", "002", "001", "notes", ".x"):
        (run.path / "attempts" / name).mkdir()
    assert rundir.attempts(run) == ["001", "002", "010"]


def test_a_turn_has_one_holder_at_a_time(tmp_path):
    run = make(tmp_path, "demo")
    with turn(run), pytest.raises(Unreachable, match="right now"), turn(run):
        pass
    with turn(run):
        pass


def test_the_turn_of_a_dead_process_passes_on(tmp_path):
    run = make(tmp_path, "demo")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from exa_cli.runs.rundir import RunDir\nfrom exa_cli.runs.turn import turn\n"
        "with turn(RunDir(Path(sys.argv[1]))):\n    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.path)])
    assert done.returncode == -9
    with turn(run):
        pass


def test_the_turn_of_another_machine_is_taken_over_only_by_force(tmp_path):
    run = make(tmp_path, "demo")
    folder = run.path / "turns"
    folder.mkdir()
    record = {"host": "elsewhere", "process": {"pid": 1, "start": 1, "boot": "x"}}
    (folder / "000001.json").write_text(json.dumps(record))
    with pytest.raises(Unreachable, match="elsewhere"), turn(run):
        pass
    with turn(run, force=True):
        pass


def test_an_empty_word_never_names_a_run(tmp_path):
    make(tmp_path, "demo")
    with pytest.raises(Usage):
        find("", tmp_path)


def test_a_name_of_any_length_is_only_not_found(tmp_path):
    with pytest.raises(NotFound):
        find("x" * 5000, tmp_path)


def test_a_file_in_place_of_the_folder_of_runs_is_not_no_runs(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(NotFound, match="a file is where"):
        all_runs(tmp_path / "runs")


def test_a_plan_of_an_older_exa_has_the_policy_that_nobody_said_otherwise(tmp_path):
    plan = {
        "scheduler": "local", "env": {}, "train": {"steps": 5}, "policy": {"stop_before_s": 10},
        "parallel": {"nodes": 1, "ranks_per_node": 1, "world": 1},
        "program": {"argv": ["x"], "directory": "/"},
    }  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    policy = RunDir(tmp_path).plan()["policy"]
    assert policy == {**UNSAID, "stop_before_s": 10}
