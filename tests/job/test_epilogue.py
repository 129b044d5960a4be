"""Commands after an attempt's end: whatever becomes of them, the end stands as it was recorded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exa_cli.base import proc
from exa_cli.job import epilogue


def test_a_failing_epilogue_is_told_and_raises_nothing(tmp_path: Path, capfd) -> None:
    assert epilogue.run("echo out; echo err >&2; exit 7", tmp_path, "hang", 4) == "status 7"
    said = capfd.readouterr().err
    assert "out" in said and "err" in said


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(epilogue, "TIMEOUT_S", 2.0)
    os.mkfifo(tmp_path / "fifo")
    held = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    words = epilogue.run("sleep 60 > fifo & wait", tmp_path, "hang", None)
    assert words == "bash did not answer within 2 s"
    os.set_blocking(held, True)
    assert os.read(held, 1) == b""  # once nobody has it open: the child is gone
    os.close(held)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(proc.tempfile, "TemporaryFile", full)
    words = epilogue.run("true", tmp_path, "disk-full", 1)
    assert words == "it was not run: No space left on device"


def test_a_machine_without_bash_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert epilogue.run("true", tmp_path, "finished", 1).startswith("cannot start bash")


@pytest.mark.parametrize(("step", "word"), [(12, "12"), (None, "")])
def test_it_is_told_why_and_where_the_attempt_ended(tmp_path: Path, step, word) -> None:
    commands = 'printf "%s|%s|%s" "$EXA_CAUSE" "$EXA_STEP" "$PWD" > told'
    assert epilogue.run(commands, tmp_path, "walltime", step) == "status 0"
    assert (tmp_path / "told").read_text() == f"walltime|{word}|{os.path.realpath(tmp_path)}"
