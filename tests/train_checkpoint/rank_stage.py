"""Plays scenarios on real gloo ranks: torch is imported once, ranks are forked from that.

`Stage` runs this file as a program of its own, which reads one list of acts a line and answers
with the results. So no test forks a process that has threads, and none waits for imports.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

RANK_DEADLINE_S = 240
SCENARIOS = ("ckpt_scenarios", "saves_scenarios")


@dataclass(frozen=True)
class Act:
    """One scenario on ``world`` ranks, by its name in one of ``SCENARIOS``.

    ``timeout_s`` is the process group's: how long a rank waits for another.
    """

    scenario: str
    world: int = 2
    options: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 60


Result = dict[str, Any]
"""What a rank returned; ``{"killed": 9}`` when a signal ended it."""


class Stage:
    """A running stage."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def play(self, folder: Path, *acts: Act) -> list[list[Result]]:
        """Each act's results by rank. Fails with the rank's own trace when a scenario raises.

        The ranks keep their checkpoints in FOLDER/checkpoints.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"folder": str(folder), "acts": [asdict(act) for act in acts]}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        results: list[list[Result]] = json.loads(self._process.stdout.readline())
        for act, of_act in zip(acts, results, strict=True):
            for rank, result in enumerate(of_act):
                assert "trace" not in result, f"{act.scenario}, rank {rank}:\n{result['trace']}"
        return results


@contextlib.contextmanager
def open_stage() -> Iterator[Stage]:
    process = subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Stage(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    # Imported before the forks, which then have them for nothing; collectives pull in dynamo.
    for module in (*SCENARIOS, "torch._dynamo", "torch.distributed.fsdp"):
        importlib.import_module(module)
    importlib.import_module("torch").set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        results = [_perform(Path(order["folder"]), Act(**raw)) for raw in order["acts"]]
        print(json.dumps(results), flush=True)


def _perform(folder: Path, act: Act) -> list[Result]:
    """Fork the ranks of an act and wait for all of them."""
    wings = folder / f"act-{secrets.token_hex(4)}"
    wings.mkdir(parents=True)
    pids = []
    for rank in range(act.world):
        pid = os.fork()
        if pid == 0:
            _rank(folder, wings, act, rank)
        pids.append(pid)
    ends = [_wait(pid) for pid in pids]
    return [_result(wings, rank, end) for rank, end in enumerate(ends)]


def _rank(folder: Path, wings: Path, act: Act, rank: int) -> None:
    os.dup2(2, 1)  # stdout belongs to the answers
    try:
        result = _play_rank(folder, wings, act, rank)
    except BaseException:  # noqa: BLE001
        result = {"trace": traceback.format_exc()}
    (wings / f"{rank}.json").write_text(json.dumps(result))
    os._exit(0)


def _play_rank(folder: Path, wings: Path, act: Act, rank: int) -> Result:
    import ckpt_scenarios
    import torch.distributed as dist

    store = dist.FileStore(str(wings / "store"), act.world)
    timeout = timedelta(seconds=act.timeout_s)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=act.world, timeout=timeout)
    group = dist.new_group(backend="gloo", timeout=timeout)
    place = ckpt_scenarios.Place(folder, rank, act.world, group)
    (play,) = (
        getattr(sys.modules[module], act.scenario)
        for module in SCENARIOS
        if act.scenario in _defined(module)
    )
    result: Result = play(place, **act.options)
    return result


def _defined(module: str) -> set[str]:
    """Names of the functions a module defines itself."""
    found = vars(sys.modules[module]).items()
    return {name for name, value in found if getattr(value, "__module__", None) == module}


def _wait(pid: int) -> int:
    """The signal that ended the process, 0 if none did."""
    limit = time.monotonic() + RANK_DEADLINE_S
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


def _result(wings: Path, rank: int, end: int) -> Result:
    if end < 0:
        return {"trace": f"did not end within {RANK_DEADLINE_S} s"}
    if end:
        return {"killed": end}
    result: Result = json.loads((wings / f"{rank}.json").read_text())
    return result


if __name__ == "__main__":
    _serve()
