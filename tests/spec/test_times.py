"""Lengths that Slurm prints: of partitions, and of what is left to a job."""

from __future__ import annotations

import pytest

from exa_cli.spec import times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5:00\n", 300),
        ("0:07", 7),
        ("00:05:00", 300),
        ("1:02:03", 3723),
        ("1-00:00:00", 86_400),
        ("1-00:00:30", 86_430),
        ("59", None),
        ("1-2", None),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("", None),
        ("٣:00", None),
        ("slurm_load_jobs error: Invalid job id specified", None),
    ],
)
def test_a_length_is_seconds_or_unknown(text: str, seconds: int | None) -> None:
    assert times.read(text) == seconds
