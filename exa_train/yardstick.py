"""What the model must beat: unigram and bigram losses on the windows it is validated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exa_cli.base.files import read_json, write_json
from exa_train.data import baselines as statistics
from exa_train.data.reader import TokenSplit
from exa_train.plan import Life, Plan

FILE = "baselines.json"


def baselines(plan: Plan, life: Life, data_dir: Path, held_out: TokenSplit) -> dict[str, Any]:
    """Nats per token of both baselines, fitted on the whole training split.

    Computed once a run and kept in ``metrics/baselines.json``. Raises Damaged for bad shards.
    """
    count = min(plan.train.validate_windows, len(held_out))
    asked = {"data_id": plan.data_id, "seq_len": plan.train.seq_len, "windows": count}
    path = life.run_dir / "metrics" / FILE
    known = _known(path, asked)
    if known is None:
        nats = statistics.fit(data_dir).nats(held_out.windows(range(count)))
        known = {name: round(value, 6) for name, value in nats.items()}
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"schema": 1, **asked, "nats": known})
    return known


def _known(path: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The kept answer to the same question; None when there is none or it cannot be read."""
    try:
        kept = read_json(path)
    except (OSError, json.JSONDecodeError):
        return None
    nats: dict[str, Any] | None = kept.get("nats")
    return nats if all(kept.get(key) == value for key, value in asked.items()) else None
