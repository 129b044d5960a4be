"""TAB offers what is there, from files alone, and never a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).resolve().parents[2])


def exa(tmp_path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": HERE, "HOME": str(tmp_path), **env}
    argv = [sys.executable, "-m", "exa_cli", *words]
    return subprocess.run(argv, cwd=tmp_path, env=settings, capture_output=True, text=True)


def offered(tmp_path: Path, line: str, **env: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    count = len(line.split(" ")) - 1
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(count), "_EXA_COMPLETE": "bash_complete"}
    done = exa(tmp_path, **asked, **env)
    assert (done.returncode, done.stderr) == (0, "")
    return [row.partition(",")[2] for row in done.stdout.splitlines() if row]


@pytest.fixture
def runs(tmp_path: Path) -> str:
    for name in ("big-aaaa", "bug-bbbb", "small-cccc"):
        (tmp_path / "runs" / name / "journal").mkdir(parents=True)
    return str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("exa stat", ["status"]),
        ("exa status b", ["big-aaaa", "bug-bbbb"]),
        ("exa ckpt verify sm", ["small-cccc"]),
        ("exa resume ", ["big-aaaa", "bug-bbbb", "small-cccc"]),
        ("exa submit run.toml --site pol", ["polaris"]),
        ("exa site show luu", []),
        ("exa submit run.toml --set train.ste", ["train.steps="]),
        ("exa model show alphaexa-250", ["alphaexa-250b"]),
        ("exa submit --dry", ["--dry-run"]),
    ],
)
def test_a_word_begun_is_completed(tmp_path: Path, runs: str, line: str, wanted: list[str]) -> None:
    assert offered(tmp_path, line, EXA_RUNS=runs) == wanted


def test_what_cannot_be_read_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert offered(tmp_path, "exa status x", EXA_RUNS=str(tmp_path / "file")) == []


def test_the_verbs_are_offered_without_loading_one(tmp_path: Path) -> None:
    code = (
        "import sys, exa_cli.main as m, click\n"
        "m.group.shell_complete(click.Context(m.group), '')\n"
        "print([name for name in sys.modules if name.startswith('exa_cli.commands.')])\n"
    )
    env = {**os.environ, "PYTHONPATH": HERE}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(tmp_path: Path, shell: str) -> None:
    done = exa(tmp_path, "completion", shell)
    assert done.returncode == 0
    assert f"_EXA_COMPLETE={shell}_complete" in done.stdout


def test_bash_takes_the_script_and_completes_with_it(tmp_path: Path, runs: str) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "exa"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={HERE} exec {sys.executable} -m exa_cli "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(exa completion bash)"; COMP_WORDS=(exa status bi); COMP_CWORD=2\n'
        '_exa_completion exa status exa; printf "%s\\n" "${COMPREPLY[@]}"; complete -p exa'
    )
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "EXA_RUNS": runs, "HOME": str(tmp_path)}
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, "-c", script], env=env, capture_output=True, text=True)
    first, setup = done.stdout.splitlines()
    assert first == "big-aaaa" and "_exa_completion exa" in setup
