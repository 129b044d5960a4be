"""The clock: the only module that asks what time it is."""

from __future__ import annotations

import time
from datetime import datetime, timezone


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


def monotonic() -> float:
    """Seconds on a clock that never steps back; for durations."""
    return time.monotonic()


def iso(seconds: float | None = None) -> str:
    """UTC in ISO 8601 with Z and milliseconds, as every exa file and JSON answer prints it."""
    moment = datetime.fromtimestamp(now() if seconds is None else seconds, tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_iso(text: str) -> float:
    """The inverse of `iso`; accepts any ISO 8601 with Z."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
