"""Commands after an attempt's end: whatever becomes of them, the end stands as it was recorded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exa_cli.job import epilogue


def test_a_failing_epilogue_is_told_and_raises_nothing(tmp_path: Path, capfd) -> None:
    assert epilogue.run("echo out; echo err >&2; exit 7", tmp_path, "hang", 4) == "status 7"
    said = capfd.readouterr().err
    assert "out" in said and "err" in said


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(epilogue, "TIMEOUT_S", 0.3)
    words = epilogue.run("sleep 60 & echo $! > child; wait", tmp_path, "hang", None)
    assert words == "bash did not answer within 0.3 s"
    child = int((tmp_path / "child").read_text())
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_machine_without_bash_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert epilogue.run("true", tmp_path, "finished", 1).startswith("cannot start bash")


@pytest.mark.parametrize(("step", "word"), [(12, "12"), (None, "")])
def test_it_is_told_why_and_where_the_attempt_ended(tmp_path: Path, step, word) -> None:
    commands = 'printf "%s|%s|%s" "$EXA_CAUSE" "$EXA_STEP" "$PWD" > told'
    assert epilogue.run(commands, tmp_path, "walltime", step) == "status 0"
    assert (tmp_path / "told").read_text() == f"walltime|{word}|{os.path.realpath(tmp_path)}"
