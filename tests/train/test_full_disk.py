"""A disk that is full for a while: training goes on, and nothing is told that is not so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_runs import Run

from exa_cli.runs import journal, metrics
from exa_train.chronicle import Chronicle
from exa_train.plan import Life

FAULTY = Path(__file__).parent / "faulty"


@pytest.fixture
def chronicle(tmp_path: Path) -> Chronicle:
    life = Life(tmp_path, tmp_path, "001", 1, "exa-t-001", 1, (), ())
    told = Chronicle(life, 0, 0.0)
    told.open_metrics(0)
    return told


class Room:
    """What os.write still takes; None = all."""

    left: int | None = None


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    real, room = os.write, Room()

    def write(fd: int, data: Any) -> int:
        if room.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = real(fd, bytes(data)[: room.left])
        room.left = None if room.left is None else room.left - taken
        return taken

    monkeypatch.setattr(os, "write", write)
    return room


@pytest.mark.parametrize("left", [0, 1, 40])
def test_events_of_a_full_disk_are_written_later_in_order_and_metrics_are_lost_whole(
    tmp_path: Path, chronicle: Chronicle, room: Room, left: int
) -> None:
    chronicle.tell("training", step=0)
    chronicle.measure(1, {"loss": 1.0})
    room.left = left
    chronicle.tell("validated", step=1, loss=2.0)
    chronicle.tell("save-failed", step=1, cause="disk-full")
    room.left = min(left, 1)
    chronicle.measure(2, {"loss": 2.0})
    assert [e.kind for e in journal.read(tmp_path)] == ["training"]
    room.left = None
    chronicle.measure(3, {"loss": 3.0})
    chronicle.tell("committed", step=3)
    kinds = [e.kind for e in journal.read(tmp_path)]
    assert kinds == ["training", "validated", "save-failed", "committed"]
    lines = (tmp_path / "metrics/metrics.jsonl").read_text().count("\n")
    steps = [record["step"] for record in metrics.read(tmp_path / "metrics/metrics.jsonl")]
    assert (lines, steps) == (2, [1, 3])


def test_a_life_is_not_called_done_unless_that_is_on_the_disk(
    chronicle: Chronicle, room: Room
) -> None:
    room.left = 0
    with pytest.raises(OSError, match="No space left"):
        chronicle.conclude("done", step=1)


def test_trouble_that_is_not_a_full_disk_is_raised(
    chronicle: Chronicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int, data: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(OSError, match="Input/output"):
        chronicle.tell("validated", step=1, loss=1.0)
    with pytest.raises(OSError, match="Input/output"):
        chronicle.measure(1, {"loss": 1.0})


def test_a_run_whose_disk_is_full_for_one_save_ends_with_the_same_bits(
    make_run: Callable[..., Run],
) -> None:
    whole = make_run("whole-0000", every=3, mode="sync")
    full = make_run("full-0000", every=3, environ={"PYTHONPATH": str(FAULTY), "EXA_TEST_FULL": "6"})
    whole.finish()
    full.finish()
    (failed,) = full.events("save-failed")
    assert (failed["step"], failed["cause"], failed["again"]) == (6, "disk-full", True)
    assert sorted(full.committed()) == [3, 9, 10]
    assert full.digest(10) == whole.digest(10)
