"""metrics.jsonl and TensorBoard's events: readable after any death, and by TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from exa_train.metrics import Metrics, imbalance, rates, scalars


def written(folder: Path, life: int, steps: range, **values: Any) -> None:
    metrics = Metrics(folder, attempt="001", life=life, resumed_at=steps.start - 1)
    for step in steps:
        metrics.write(step, {"loss": float(step), **values})
    metrics.close()


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_last_record_of_a_step_is_the_newest_lifes(tmp_path: Path) -> None:
    written(tmp_path, 1, range(1, 6))
    written(tmp_path, 2, range(4, 7))
    last = {record["step"]: record["life"] for record in records(tmp_path)}
    assert last == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}


def test_a_line_torn_by_a_kill_swallows_no_other(tmp_path: Path) -> None:
    written(tmp_path, 1, range(1, 3))
    with open(tmp_path / "metrics.jsonl", "a") as torn:
        torn.write('{"step": 3, "lo')
    written(tmp_path, 2, range(3, 4))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[2] == '{"step": 3, "lo'
    assert [json.loads(line)["step"] for line in (*lines[:2], *lines[3:])] == [1, 2, 3]


def test_a_value_that_is_not_json_is_refused(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, attempt="001", life=1, resumed_at=0)
    with pytest.raises(ValueError, match="JSON compliant"):
        metrics.write(1, {"loss": math.nan})


def test_tensorboard_reads_the_events_and_forgets_steps_that_were_repeated(
    tmp_path: Path,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written(tmp_path, 1, range(1, 6), router_load=[1.5, 2.5], mfu_core=None)
    written(tmp_path, 2, range(4, 7))
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in read.Scalars("router_load/1")] == [2.5] * 3
    assert "mfu_core" not in read.Tags()["scalars"]


def test_scalars_leave_out_what_is_unknown() -> None:
    assert scalars({"a": 1, "b": None, "c": [2, 3]}) == {"a": 1.0, "c/0": 2.0, "c/1": 3.0}


def test_imbalance_is_the_busiest_expert_over_the_mean() -> None:
    assert imbalance([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.3, 0.1, 0.1]]) == [1.0, 4.0, 2.0]


def test_utilisation_is_stated_against_each_peak_and_unknown_stays_unknown() -> None:
    found = rates(1000, 0.5, 10**6, {"measured": 8e9, "core": None})
    assert found == {
        "tokens_per_s": 2000.0,
        "step_s": 0.5,
        "mfu_measured": 0.25,
        "mfu_core": None,
    }
