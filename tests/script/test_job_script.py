"""The job script: as reviewed in ``golden/``, and as a real bash runs it."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value, directives_of
from exa_cli.script.job import LIFE_TAKEN, UNREACHABLE, JobScript, Variable, job_script
from exa_cli.script.render import Script

GOLDEN = Path(__file__).parent / "golden"

FAKE_PYTHON = """#!/bin/bash
printf '%s\\0' "$@" > "$EXA_RUN_DIR/argv.$8"
env -0 > "$EXA_RUN_DIR/env.$8"
echo "pid $$, input $(readlink /proc/self/fd/0)"
echo "trouble" >&2
exit 75
"""


def made(
    run_dir: Path,
    *environment: Variable,
    tag: str = "exa-demo-3f9a-001",
    python: Path = Path("/opt/exa/bin/python"),
) -> Script:
    ask = Ask(
        name=Value(tag, "the attempt's tag"),
        nodes=Value("2", "site local, node.count"),
        walltime=Value("01:00:00", "run.toml:4"),
        kill_delay=Value("10", "site local, scheduler.kill_delay_s"),
    )
    return job_script(
        JobScript(
            scheduler="local",
            directives=directives_of("local", ask),
            run_dir=run_dir,
            attempt="001",
            tag=tag,
            python=python,
            environment=environment,
        )
    )


CASES = {
    "local-plain": made(Path("/scratch/runs/demo-3f9a")),
    "local-environment": made(
        Path("/scratch/my runs/$(id)/it's-3f9a"),
        Variable("OMP_PROC_BIND", "close", "run.toml:9"),
        Variable("GREETING", "two\nlines, a 'quote', $HOME and `id`", "run.toml:10"),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_scripts_are_those_that_were_reviewed(name: str) -> None:
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("EXA_WRITE_GOLDEN"):
        golden.write_text(CASES[name].text)
    assert CASES[name].text == golden.read_text(), "review it, then EXA_WRITE_GOLDEN=1 pytest …"


def test_no_reviewed_script_is_left_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sh")} == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_line_has_an_origin(name: str) -> None:
    explained = CASES[name].explained()
    assert all(origin for _, origin in explained)
    origins = dict(explained)
    assert origins["#EXA walltime=01:00:00"] == "run.toml:4"
    assert origins["export EXA_TAG=exa-demo-3f9a-001"].endswith("the attempt's tag")


@pytest.mark.parametrize("name", ["EXA_TAG", "EXA_RUN_DIR", "EXA_JOB_ID"])
def test_a_run_file_cannot_set_the_marks_of_a_run(name: str) -> None:
    with pytest.raises(Invalid, match=f"{name} is set by exa itself already") as caught:
        made(Path("/r"), Variable(name, "x", "run.toml:9"))
    assert caught.value.where == "run.toml:9"


def test_every_bad_variable_is_reported_at_once() -> None:
    bad = [Variable("A B", "x", "line 1"), Variable("C", "\0", "line 2"), Variable("D", "", "l3")]
    with pytest.raises(Invalid) as caught:
        made(Path("/r"), *bad, Variable("D", "", "line 4"))
    assert all(f"line {n}" in str(caught.value) for n in (1, 2, 4))


def test_a_relative_run_directory_is_refused() -> None:
    with pytest.raises(Invalid, match="the run directory must be absolute"):
        made(Path("runs/x"))


def test_a_batch_system_without_a_template_is_refused() -> None:
    from dataclasses import replace

    from exa_cli.script.directives import Directives

    job = JobScript(
        scheduler="local", directives=Directives(()), run_dir=Path("/r"), attempt="001",
        tag="t", python=Path("/p"),
    )  # fmt: skip
    with pytest.raises(Invalid, match="no directives can be written for"):
        job_script(replace(job, scheduler="none-such"))


class Started:
    """A run directory and a script that runs a fake interpreter in it."""

    def __init__(self, folder: Path, *environment: Variable) -> None:
        self.run_dir = folder / "my $(runs)" / "it's-3f9a"
        (self.run_dir / "attempts" / "001").mkdir(parents=True)
        python = folder / "fake python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        self.script = folder / "script.sh"
        self.script.write_text(made(self.run_dir, *environment, python=python).text)
        self.lives = self.run_dir / "attempts" / "001" / "lives"
        self.folder = folder

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.script)],
            env={**os.environ, **env},
            input="not for the script\n",
            capture_output=True,
            text=True,
        )


@pytest.fixture
def started(tmp_path: Path) -> Started:
    return Started(tmp_path, Variable("ODD", "a\nb'c $(id)", "here"))


def test_a_life_is_taken_and_the_supervisor_replaces_the_script(started: Started) -> None:
    ended = started.run()
    assert (ended.returncode, ended.stdout) == (75, "")
    argv = (started.run_dir / "argv.1").read_text()
    assert argv.split("\0")[:-1] == [
        "-m", "exa_cli", "job", str(started.run_dir), "--attempt", "001", "--life", "1",
    ]  # fmt: skip
    log = (started.lives / "1" / "stdout.log").read_text()
    assert "input /dev/null" in log
    assert "trouble" in log
    env = (started.run_dir / "env.1").read_text().split("\0")
    assert f"EXA_RUN_DIR={started.run_dir}" in env
    assert "EXA_TAG=exa-demo-3f9a-001" in env
    assert "ODD=a\nb'c $(id)" in env


def test_a_second_start_is_a_second_life_and_leaves_the_first_alone(started: Started) -> None:
    started.run()
    first = (started.lives / "1" / "stdout.log").read_text()
    assert started.run().returncode == 75
    assert (started.lives / "1" / "stdout.log").read_text() == first
    assert (started.lives / "2" / "stdout.log").exists()
    assert sorted(path.name for path in started.lives.iterdir()) == ["1", "2"]


def test_the_loser_of_a_race_for_a_life_ends_with_its_own_status(
    started: Started, tmp_path: Path
) -> None:
    """The other copy takes the life between our look and our mkdir."""
    shim = tmp_path / "bin" / "mkdir"
    shim.parent.mkdir()
    shim.write_text('#!/bin/bash\n[ "$1" = -p ] || /bin/mkdir "$1"\nexec /bin/mkdir "$@"\n')
    shim.chmod(0o755)
    ended = started.run(PATH=f"{shim.parent}:{os.environ['PATH']}")
    assert ended.returncode == LIFE_TAKEN
    assert "another copy of this job took life 1" in ended.stderr
    assert not list(started.run_dir.glob("argv.*")), "the loser must not start a supervisor"


def test_of_copies_started_together_each_has_a_life_of_its_own_or_ends(started: Started) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = [ended.returncode for ended in pool.map(lambda _: started.run(), range(16))]
    winners = codes.count(75)
    assert winners + codes.count(LIFE_TAKEN) == 16
    assert winners >= 1
    logs = [path.read_text() for path in started.lives.glob("*/stdout.log")]
    assert len(logs) == winners
    assert all(log.count("trouble") == 1 for log in logs)


def test_a_run_directory_that_cannot_be_written_is_unreachable(started: Started) -> None:
    started.lives.write_text("a file where the lives should be")
    ended = started.run()
    assert ended.returncode == UNREACHABLE
    assert not list(started.run_dir.glob("argv.*"))


def test_a_life_that_cannot_be_made_is_not_taken_for_a_lost_race(
    started: Started, tmp_path: Path
) -> None:
    shim = tmp_path / "bin" / "mkdir"
    shim.parent.mkdir()
    shim.write_text('#!/bin/bash\n[ "$1" = -p ] || exit 1\nexec /bin/mkdir "$@"\n')
    shim.chmod(0o755)
    ended = started.run(PATH=f"{shim.parent}:{os.environ['PATH']}")
    assert ended.returncode == UNREACHABLE


def test_the_exit_codes_of_a_script_differ_from_a_supervisors() -> None:
    from exa_cli.base import errors

    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    codes = {c.code for c in classes if issubclass(c, errors.ExaError)}
    assert LIFE_TAKEN not in codes | {0, 70, 71, 72, 73, 74, 75, 130}
    assert LIFE_TAKEN < 126, "bash and signals have the statuses above"
