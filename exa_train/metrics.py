"""What rank 0 writes down about training: ``metrics.jsonl`` and TensorBoard events.

``metrics.jsonl`` is append-only over all lives, one line a step. A life that died may have left
lines of steps that a later one repeats, so readers take the last line of each step; every line
carries its attempt and life. ``held_out`` is there for validated steps only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.files import is_full, to_json
from exa_train.step import Outcome


def imbalance(load: Sequence[Sequence[float]]) -> list[float]:
    """Busiest expert over the mean, by sparse layer; 1 = perfectly even, experts = collapsed."""
    return [round(max(layer) * len(layer) / (sum(layer) or 1.0), 4) for layer in load]


def rates(
    tokens: int, seconds: float, flops_per_token: int, peaks: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Speed of a step, and the share of each named peak that the model's FLOPs are.

    ``peaks`` holds FLOP/s of all ranks together; None = unknown, and so is its share.
    """
    speed = tokens / seconds
    shares = {
        f"mfu_{name}": None if peak is None else round(speed * flops_per_token / peak, 4)
        for name, peak in peaks.items()
    }
    return {"tokens_per_s": round(speed, 1), "step_s": round(seconds, 5), **shares}


def losses(result: Outcome, rate: float) -> dict[str, Any]:
    """A step's own numbers, as both writers take them."""
    return {
        "loss": result.loss,
        "ce": result.ce,
        "aux": result.aux,
        "z": result.z,
        "grad_norm": result.grad_norm,
        "lr": rate,
        "tokens": result.tokens,
        "router_load": imbalance(result.router_load),
    }


def resident_bytes() -> int:
    """Memory this process holds now (Linux: second field of /proc/self/statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """The one writer of ``RUN/metrics`` in a life: rank 0 of the life with the newest epoch."""

    def __init__(self, folder: Path, *, attempt: str, life: int, resumed_at: int) -> None:
        folder.mkdir(exist_ok=True)
        self._stamp = {"attempt": attempt, "life": life}
        self._lines = os.open(
            folder / "metrics.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        self._end_torn_line()
        self._events = Events(folder, first_step=resumed_at + 1)

    def _end_torn_line(self) -> None:
        """A life killed while writing leaves half a line; the next line must not join it."""
        size = os.fstat(self._lines).st_size
        if size and os.pread(self._lines, 1, size - 1) != b"\n":
            os.write(self._lines, b"\n")

    def write(self, step: int, values: Mapping[str, Any]) -> bool:
        """One line, whole, handed to the kernel before this returns; and its scalars as events.

        False on a full disk; then there is no line, and no half of one.
        """
        record = {"step": step, **values, "t": clock.iso(), **self._stamp}
        whole = os.fstat(self._lines).st_size
        try:
            self._write(to_json(record, indent=None).encode())
            self._events.add(step, scalars(values))
        except OSError as error:
            if not is_full(error):
                raise
            os.ftruncate(self._lines, whole)
            return False
        return True

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._lines, view) :]

    def close(self) -> None:
        os.close(self._lines)
        self._events.close()


def scalars(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among a record's values, lists spelled out: ``router_load/0`` …"""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, list):
            flat |= {f"{name}/{index}": float(item) for index, item in enumerate(value)}
        elif isinstance(value, (int, float)):
            flat[name] = float(value)
    return flat


class Events:
    """TensorBoard's event file, by TensorBoard's own record writer.

    All scalars of a step share one event, and there is no writer thread to wake between two
    steps; `torch.utils.tensorboard` would spend an event each, and a thread.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import (  # type: ignore[import-untyped]
            Event,
            SessionLog,
        )
        from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
            RecordWriter,
        )

        self._event = Event
        name = f"events.out.tfevents.{clock.now():017.6f}.{os.uname().nodename}.{os.getpid()}"
        self._file = open(folder / name, "xb")  # noqa: SIM115 - open for the life
        self._records = RecordWriter(self._file)
        self._put(Event(wall_time=clock.now(), file_version="brain.Event:2"))
        # START at a step tells TensorBoard to forget later steps of lives before this one.
        start = SessionLog(status=SessionLog.START)
        self._put(Event(wall_time=clock.now(), step=first_step, session_log=start))
        self._file.flush()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        event = self._event(wall_time=clock.now(), step=step)
        for tag, value in values.items():
            event.summary.value.add(tag=tag, simple_value=value)
        self._put(event)
        self._file.flush()

    def _put(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def close(self) -> None:
        self._file.close()
