"""Seals: a record of JSON carries a hash of itself, so that any change to it is seen.

They find accidents, not attackers: whoever can change a record can seal it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "seal"


def canonical(body: Mapping[str, Any]) -> str:
    """The one spelling of a JSON object: keys sorted, no spaces, ASCII only, no line break.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seal(body: Mapping[str, Any]) -> str:
    """SHA-256 of a record's canonical JSON without its seal: 64 hex digits."""
    rest = {key: value for key, value in body.items() if key != KEY}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def check(record: Mapping[str, Any]) -> bool:
    """Whether a record is as it was sealed; without a seal it is not."""
    try:
        return record.get(KEY) == seal(record)
    except ValueError:  # Python reads NaN, but nothing that was sealed holds it
        return False
