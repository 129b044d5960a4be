"""Times of length as schedulers write them: HH:MM:SS."""

from __future__ import annotations

import re

PATTERN = r"\d{1,4}:[0-5]\d:[0-5]\d"
FORM = 'HH:MM:SS, for example "01:30:00"'


def seconds(text: str) -> int:
    """``"01:30:00"`` → 5400. The text has matched `PATTERN`."""
    hours, minutes, rest = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + rest


_PRINTED = re.compile(r"(?:(\d{1,6})-)?(\d{1,9}(?::\d\d){1,2})", re.ASCII)


def read(text: str) -> int | None:
    """What Slurm prints of a length: ``[D-]HH:MM:SS`` or ``MM:SS``; None for UNLIMITED, INVALID,
    NOT_SET and whatever is no length."""
    found = _PRINTED.fullmatch(text.strip())
    if found is None:
        return None
    seconds = 0
    for part in found[2].split(":"):
        seconds = seconds * 60 + int(part)
    return int(found[1] or 0) * 86_400 + seconds


def text(seconds: int) -> str:
    """5400 → ``"01:30:00"``."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def words(seconds: int) -> str:
    """5400 → ``"1 h 30 min"``."""
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"
