"""The newest step is read from the end of a file that anybody's program may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.runs import metrics

LONG = "x" * 200


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("", None),
        ("not json\n[1]\n{}\n", None),
        ('{"step": "3"}\n', None),
        ('{"step": 1, "loss": 2.0}\n{"step": 2, "lo', 1),
        ('{"step": 1, "loss": 2.0}\n{"step": 2}\n', 2),
    ],
)
def test_a_step_is_all_that_a_record_needs(tmp_path: Path, text: str, step: int | None) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    newest = metrics.last(path)
    assert (newest and newest["step"]) == step


def test_without_a_file_there_is_no_step(tmp_path: Path) -> None:
    assert metrics.last(tmp_path / "metrics.jsonl") is None


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {n}, "of": "{LONG}"}}\n' for n in range(1, 501)))
    newest = metrics.last(path)
    assert newest is not None and newest["step"] == 500
