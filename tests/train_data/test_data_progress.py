from __future__ import annotations

import pytest

from exa_cli.base import clock
from exa_train.data.progress import Progress, megabytes


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def test_away_from_a_terminal_lines_are_sparse_and_whole(
    time: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(total=40_000_000)
    for _ in range(40):
        time[0] += 0.5
        progress.add(1_000_000, 600_000)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "tokenise: 20.0 of 40.0 MB, 12,000,000 tokens, 1.20 M tokens/s",
        "tokenise: 40.0 of 40.0 MB, 24,000,000 tokens, 1.20 M tokens/s",
    ]


def test_on_a_terminal_one_line_moves_and_is_wiped(
    time: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress = Progress(total=10)
    for _ in range(3):
        time[0] += 1
        progress.add(1, 1)
    progress.close()
    progress.close()
    text = capsys.readouterr().err
    assert text.count("\r\033[Ktokenise:") == 3
    assert text.endswith("\r\033[K") and "\n" not in text


def test_no_time_passed_is_no_division_by_zero(time: list[float]) -> None:
    assert "0 tokens, 0.00 M tokens/s" in Progress(total=0).line()


def test_megabytes_are_decimal() -> None:
    assert megabytes(31_512_085) == "31.5"
