"""Save and load: exa's checkpoints beside torch DCP's own storage, in one run.

Ranks hold shards of one state (weights and two moments in fp32). Each round saves and loads it
with both, in turn, so that a noisy machine is noisy for both. exa hashes what it writes, syncs
it, commits a sealed manifest, and checks every chunk it loads; DCP's FileSystemWriter syncs
and its reader checks nothing. Rates are state bytes per second of the slowest rank. Beside the
ratio of times stands the ratio of CPU time, all ranks together: another job on the machine
changes that much less.

    python benchmarks/checkpoint.py --mb 512 --ranks 2 --rounds 7 --dir /dev/shm
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
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
from exa_train.checkpoint import Keeper, Saved, load, save

CASES = ("exa save", "dcp save", "exa load", "dcp load", "exa read-back", "exa verify, no torch")


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.dir, prefix="exa-bench-") as folder:
        mp.spawn(_rank, args=(args.ranks, args.mb, args.rounds, folder), nprocs=args.ranks)
        seconds = json.loads((Path(folder) / "seconds.json").read_text())
    found = summary(seconds, args.mb * 1e6)
    if args.json:
        print(json.dumps({"schema": 1, "mb": args.mb, "ranks": args.ranks, "results": found}))
    else:
        _table(found, args)


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
    if rank == 0:
        (Path(folder) / "seconds.json").write_text(json.dumps(bench.seconds))
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


if __name__ == "__main__":
    main()
