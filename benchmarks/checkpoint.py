"""Save and load: exa's checkpoints beside torch DCP's own storage, in one run.

Ranks hold shards of one state (weights and two moments in fp32). Each round saves and loads it
with both, in turn, so that a noisy machine is noisy for both. exa hashes what it writes, syncs
it, commits a sealed manifest, and checks every chunk it loads; DCP's FileSystemWriter syncs
and its reader checks nothing. Rates are state bytes per second of the slowest rank. Beside the
ratio of times stands the ratio of CPU time, all ranks together: another job on the machine
changes that much less.

Then what a save costs training, in the same run: how long a step boundary stands still for it, by
exa beside the training and in its place, and by DCP's save and async_save. Training is a stand-in
of products and a small all-reduce. "in all" is the time that steps and saves took beyond as many
steps without a save, until the save was over: it holds what the work in the background takes from
the steps on cores that are all busy. exa's saves end read back, with what is superfluous removed.
"CPU" is the CPU time that the training's own thread spends in the stall, beside all that DCP's save
spends.

    python benchmarks/checkpoint.py --mb 512 --ranks 2 --rounds 7 --dir /dev/shm
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint import state_dict_loader as dcp_loader
from torch.distributed.checkpoint import state_dict_saver as dcp_saver
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from exa_cli.checkpoint.verify import verify
from exa_train.checkpoint import Background, Keeper, Saved, Target, load, save

CASES = ("exa save", "dcp save", "exa load", "dcp load", "exa read-back", "exa verify, no torch")
STALLS = ("exa async", "exa sync", "dcp save", "dcp async_save")
STEP_S = 0.05
"""About how long a stand-in for a step takes."""


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.dir, prefix="exa-bench-") as folder:
        mp.spawn(_rank, args=(args.ranks, args.mb, args.rounds, folder), nprocs=args.ranks)
        seconds = json.loads((Path(folder) / "seconds.json").read_text())
        stalls = json.loads((Path(folder) / "stalls.json").read_text())
    found, stalled = summary(seconds, args.mb * 1e6), stall_summary(stalls)
    if args.json:
        told = {"mb": args.mb, "ranks": args.ranks, "results": found, "stalls": stalled}
        print(json.dumps({"schema": 1, **told}))
    else:
        _table(found, args)
        _stall_table(stalled)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=512, help="state size in MB (1e6 bytes)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dir", default="/dev/shm", help="where to write")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def state_of(rank: int, world: int, megabytes: int) -> dict[str, torch.Tensor]:
    """Weights and moments of a stack of layers, sharded by rows; many small tensors between."""
    mesh = init_device_mesh("cpu", (world,))
    width = 1024
    layers = max(1, round(megabytes * 1e6 / (3 * 4 * width * (4 * width + 2))))
    generator = torch.Generator().manual_seed(rank)
    state: dict[str, torch.Tensor] = {}
    for layer in range(layers):
        for kind in ("model.{}", "optim.{}.exp_avg", "optim.{}.exp_avg_sq"):
            for name, shape in (
                ("weight", (4 * width // world, width)),
                ("norm", (2 * width // world,)),
            ):
                shard = torch.randn(shape, generator=generator) * 0.02
                fqn = kind.format(f"layers.{layer}.{name}")
                state[fqn] = DTensor.from_local(shard, mesh, [Shard(0)], run_check=False)
    return state


def _rank(rank: int, world: int, megabytes: int, rounds: int, folder: str) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=300))
    bench = _Bench(Path(folder), state_of(rank, world, megabytes), group)
    for number in range(rounds + 1):  # the first round warms up and is not counted
        bench.round(number)
    stalls = _Stalls(Path(folder), bench.state, group)
    for number in range(rounds + 1):
        stalls.round(number)
    if rank == 0:
        (Path(folder) / "seconds.json").write_text(json.dumps(bench.seconds))
        (Path(folder) / "stalls.json").write_text(json.dumps(stalls.seconds))
    dist.destroy_process_group()


class _Bench:
    def __init__(self, folder: Path, state: dict[str, Any], group: dist.ProcessGroup) -> None:
        self.folder = folder
        self.state = state
        self.target = {fqn: torch.zeros_like(value) for fqn, value in state.items()}
        self.group = group
        self.seconds: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}

    def round(self, number: int) -> None:
        """Save and load with both, each first in every other round."""
        exa, dcp = self.folder / f"exa-{number}", self.folder / f"dcp-{number}"
        turn = 1 if number % 2 else -1
        made: dict[str, Any] = {}

        def exa_save() -> None:
            made["exa"] = save(self.state, root=exa, step=1, epoch=1, meta={}, group=self.group)

        def dcp_save() -> None:
            dcp_saver.save(
                self.state, storage_writer=FileSystemWriter(dcp), process_group=self.group
            )

        def exa_load() -> None:
            load(self.target, root=exa, candidates=[made["exa"].name], group=self.group)

        def dcp_load() -> None:
            dcp_loader.load(
                self.target, storage_reader=FileSystemReader(dcp), process_group=self.group
            )

        for case, action in [("exa save", exa_save), ("dcp save", dcp_save)][::turn]:
            self._time(case, action)
        for case, action in [("exa load", exa_load), ("dcp load", dcp_load)][::turn]:
            self._load(case, action)
        self._time("exa read-back", lambda: self._read_back(exa, made["exa"]))
        self._time("exa verify, no torch", lambda: self._verify(exa / made["exa"].name))
        if number == 0:
            self.seconds = {case: [] for case in CASES}
        self._clear(exa, dcp)

    def _read_back(self, root: Path, saved: Saved) -> None:
        keeper = Keeper(root, keep=1, accepts=lambda name, epoch: True, group=self.group)
        assert not keeper.after_save(saved).faults

    def _verify(self, directory: Path) -> None:
        if dist.get_rank() == 0:
            assert verify(directory).verdict == "good"

    def _load(self, case: str, action: Callable[[], object]) -> None:
        for value in self.target.values():
            value.to_local().zero_()
        self._time(case, action)
        for fqn, value in self.target.items():
            assert torch.equal(value.to_local(), self.state[fqn].to_local()), (case, fqn)

    def _time(self, case: str, action: Callable[[], object]) -> None:
        """Run ``action``; note the slowest rank's seconds and the CPU seconds of all."""
        dist.barrier()
        began, cpu = time.perf_counter(), time.process_time()
        action()
        took = torch.tensor(time.perf_counter() - began)
        used = torch.tensor(time.process_time() - cpu)
        dist.all_reduce(took, op=dist.ReduceOp.MAX)
        dist.all_reduce(used, op=dist.ReduceOp.SUM)
        self.seconds[case].append((float(took), float(used)))

    def _clear(self, *folders: Path) -> None:
        dist.barrier()
        if dist.get_rank() == 0:
            for folder in folders:
                shutil.rmtree(folder)
        dist.barrier()


class _Stalls:
    """What a save costs the steps around it."""

    def __init__(self, folder: Path, state: dict[str, Any], group: dist.ProcessGroup) -> None:
        self.folder, self.state, self.group = folder, state, group
        keeper = Keeper(folder / "stall", keep=1, accepts=lambda name, epoch: True, group=group)
        self.background = Background(Target(keeper, 1, group), dist.new_group(backend="gloo"))
        self.matrix = torch.randn(512, 512)
        self.products = 1
        self.products = max(1, round(STEP_S / statistics.median(self.steps(5))))
        self.seconds: dict[str, list[tuple[float, float, float]]] = {}

    def steps(self, count: int) -> list[float]:
        return [self.step() for _ in range(count)]

    def step(self) -> float:
        """Products that touch no state, and the slowest rank's seconds."""
        began = time.perf_counter()
        for _ in range(self.products):
            torch.mm(self.matrix, self.matrix)
        dist.all_reduce(torch.zeros(64))
        return time.perf_counter() - began

    def round(self, number: int) -> None:
        """Each case once, in another order in every other round."""
        if number == 1:
            self.seconds = {}
        cases = (self.exa_async, self.exa_sync, self.dcp, self.dcp_async)
        ways = dict(zip(STALLS, cases, strict=True))
        for case in STALLS[:: 1 if number % 2 else -1]:
            path = self.folder / f"stall-{case.replace(' ', '-')}-{number}"
            pace = statistics.median(self.steps(9))
            dist.barrier()
            self.stall = self.cpu = 0.0
            began = time.perf_counter()
            steps = ways[case](path, number)
            over = time.perf_counter() - began - steps * pace
            slowest = torch.tensor([self.stall, over, self.cpu])
            dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
            self.seconds.setdefault(case, []).append(tuple(slowest.tolist()))
            if dist.get_rank() == 0:
                shutil.rmtree(path, ignore_errors=True)
            dist.barrier()

    @contextlib.contextmanager
    def standing_still(self, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        began, cpu = time.perf_counter(), clock()
        yield
        self.stall += time.perf_counter() - began
        self.cpu += clock() - cpu

    def exa_async(self, path: Path, number: int) -> int:
        steps = 0
        with self.standing_still():
            self.background.begin(self.state, number, {})
        while not self.background.over():
            self.step()
            steps += 1
        with self.standing_still():
            assert self.background.wait().failure is None
        return steps

    def exa_sync(self, path: Path, number: int) -> int:
        with self.standing_still():
            assert self.background.now(self.state, number, {}).failure is None
        return 0

    def dcp(self, path: Path, number: int) -> int:
        writer = FileSystemWriter(path)
        with self.standing_still(time.process_time):
            dcp_saver.save(self.state, storage_writer=writer, process_group=self.group)
        return 0

    def dcp_async(self, path: Path, number: int) -> int:
        steps, writer = 0, FileSystemWriter(path)
        with self.standing_still():
            future = dcp_saver.async_save(
                self.state, storage_writer=writer, process_group=self.group
            )
        while not self._on_all(future.done()):
            self.step()
            steps += 1
        future.result()
        return steps

    def _on_all(self, done: bool) -> bool:
        vote = torch.tensor(int(done))
        dist.all_reduce(vote, op=dist.ReduceOp.MIN)
        return bool(vote)


def stall_summary(seconds: dict[str, list[list[float]]]) -> list[dict[str, Any]]:
    """Medians over rounds of each case's seconds, and of their ratios to DCP's plain save."""
    plain = seconds["dcp save"]
    found = []
    for case, rounds in seconds.items():
        pairs = list(zip(rounds, plain, strict=True))
        found.append(
            {
                "case": case,
                "stall_s": statistics.median(one[0] for one in rounds),
                "in_all_s": statistics.median(one[1] for one in rounds),
                "stall_to_dcp": statistics.median(ours[0] / dcp[0] for ours, dcp in pairs),
                "in_all_to_dcp": statistics.median(ours[1] / dcp[1] for ours, dcp in pairs),
                "cpu_to_dcp": statistics.median(ours[2] / dcp[2] for ours, dcp in pairs),
            }
        )
    return sorted(found, key=lambda row: STALLS.index(row["case"]))


def summary(seconds: dict[str, list[list[float]]], size: float) -> list[dict[str, Any]]:
    """GB/s by case (median, least, most), and medians over rounds of the ratios to DCP."""
    found = []
    for case, rounds in seconds.items():
        rates = sorted(size / took / 1e9 for took, _ in rounds)
        row: dict[str, Any] = {
            "case": case,
            "gb_per_s": statistics.median(rates),
            "least": rates[0],
            "most": rates[-1],
            "speed_to_dcp": None,
            "cpu_to_dcp": None,
        }
        other = seconds.get(case.replace("exa ", "dcp "))
        if other is not None and case.startswith("exa"):
            pairs = list(zip(rounds, other, strict=True))
            row["speed_to_dcp"] = statistics.median(theirs[0] / ours[0] for ours, theirs in pairs)
            row["cpu_to_dcp"] = statistics.median(ours[1] / theirs[1] for ours, theirs in pairs)
        found.append(row)
    return found


def _table(found: list[dict[str, Any]], args: argparse.Namespace) -> None:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(
        f"{args.mb} MB of state, {args.ranks} ranks, {args.rounds} rounds in {args.dir}; torch "
        f"{torch.__version__}, {os.cpu_count()} CPUs, load {load}",
        file=sys.stderr,
    )
    print(f"{'case':<22}{'GB/s':>8}{'least':>8}{'most':>8}{'speed/DCP':>11}{'CPU/DCP':>9}")
    for row in found:
        line = f"{row['case']:<22}{row['gb_per_s']:>8.2f}{row['least']:>8.2f}{row['most']:>8.2f}"
        if row["speed_to_dcp"]:
            line += f"{row['speed_to_dcp']:>11.2f}{row['cpu_to_dcp']:>9.2f}"
        print(line)


def _stall_table(found: list[dict[str, Any]]) -> None:
    print(
        f"\n{'case':<22}{'stall':>9}{'in all':>9}{'stall/DCP':>11}{'CPU/DCP':>9}{'in all/DCP':>12}"
    )
    for row in found:
        print(
            f"{row['case']:<22}{row['stall_s']:>7.3f} s{row['in_all_s']:>7.3f} s"
            f"{row['stall_to_dcp']:>11.3f}{row['cpu_to_dcp']:>9.3f}{row['in_all_to_dcp']:>12.3f}"
        )


if __name__ == "__main__":
    main()
