"""Whatever happens, the command ends with a documented exit code and a message in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).resolve().parents[1])


def exa(words: str, cwd: Path, before: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    line = f"{before} exec {sys.executable} -m exa_cli {words}"
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": HERE, "HOME": str(cwd), **env}
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=settings, capture_output=True, text=True, timeout=60
    )


def test_a_working_directory_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    done = exa("status", tmp_path, before="mkdir gone; cd gone; rmdir ../gone;")
    assert done.returncode == 5
    assert "the working directory" in done.stderr and "bug" not in done.stderr


def test_what_goes_to_a_closed_stderr_is_not_mixed_with_the_answer(tmp_path: Path) -> None:
    done = exa("status --json -v 2>&-", tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["schema"] == 1


@pytest.mark.parametrize("words", ["status --json >&-", "plan run.toml >&- <&-"])
def test_a_closed_stdout_is_no_fault(tmp_path: Path, words: str) -> None:
    assert exa("init", tmp_path).returncode == 0
    done = exa(words, tmp_path)
    assert (done.returncode, "bug" in done.stderr) == (0, False)


def test_a_full_disk_under_stdout_is_told(tmp_path: Path) -> None:
    done = exa("status --json >/dev/full", tmp_path)
    assert done.returncode == 5
    assert "No space left" in done.stderr and "Exception ignored" not in done.stderr


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    done = exa("model show alphaexa-250b --json | true; exit ${PIPESTATUS[0]}", tmp_path, "set +e;")
    assert "bug" not in done.stderr and "Traceback" not in done.stderr


def test_a_path_that_is_no_text_is_printed_escaped(tmp_path: Path) -> None:
    done = exa("status --json x", tmp_path, "mkdir $'\\xff'; export EXA_RUNS=$PWD/$'\\xff';")
    assert done.returncode == 6 and "bug" not in done.stderr


@pytest.mark.parametrize("name", ["''", ".", "/", "folder", "pipe"])
def test_init_replaces_files_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    done = exa(f"init --force {name}", tmp_path)
    assert (done.returncode, "bug" in done.stderr) == (3, False)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "folder").is_dir()
