"""What exa's machinery costs: tokens/s of the trainer against the same modules in a bare loop.

    python benchmarks/train_cpu.py [--ranks 1,2] [--precision bf16] [--rounds 9] [--check]
    python benchmarks/train_cpu.py --collectives

Both loops run in the same processes, in turn, round by round, on the same windows of the same
text, with the same sharding: what differs is reading, seeding, agreeing, checking, schedule,
metrics, heartbeat and journal. A round is a few steps of each loop; the result is the median
over rounds of (trainer ÷ bare), so a slow second of the machine hits both. CPU seconds of rank
0 are compared too: they count no waiting, and hardly see what else runs on the machine.
``--check`` exits 9 when the trainer takes over 5 % more of either.

``stock`` is a bare loop with torch's own choices, one `fully_shard` a block and gloo's
reduce-scatter: what the same model would get without thought.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

LIMIT = 1.05
STEPS = 4
WARM_UP = 1
RATE = 1e-4
"""Both learn at the same low rate from the same windows, so experts get the same load."""


def main() -> int:
    args = arguments()
    if args.worker:
        return worker(args)
    with tempfile.TemporaryDirectory(prefix="exa-train-cpu-") as folder:
        if args.collectives:
            results = [launched(args, Path(folder), 2)]
        else:
            prepare(Path(folder) / "data")
            results = [launched(args, Path(folder), ranks) for ranks in args.ranks]
    print(json.dumps(results, indent=2) if args.json else "\n".join(map(table, results)))
    too_slow = any(max(r.get("ratio", [0]), r.get("cpu_ratio", [0]))[0] > LIMIT for r in results)
    return 9 if args.check and too_slow else 0


def planned_precision() -> str:
    """What a run on this machine would get."""
    from exa_cli.sites.detect import has_bf16_units
    from exa_cli.sites.load import load_site

    return "bf16" if has_bf16_units(load_site("local").profile) else "fp32"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--ranks", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    add("--precision", choices=("bf16", "fp32"), default=planned_precision())
    add("--preset", default="alphaexa-ci")
    add("--rounds", type=int, default=40, help="rounds of four timed steps of each loop")
    add("--collectives", action="store_true", help="gloo's reduce-scatter against ours")
    add("--check", action="store_true", help=f"exit 9 when the ratio is over {LIMIT}")
    add("--json", action="store_true")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(out: Path) -> None:
    """Real text with a small vocabulary: a few seconds."""
    command = [sys.executable, "-m", "exa_train.data", "prepare", "builtin:python-stdlib"]
    done = subprocess.run([*command, "--out", out, "--vocab", "512"], stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.stderr.decode())


def launched(args: argparse.Namespace, folder: Path, ranks: int) -> dict[str, Any]:
    """Run the worker on that many ranks, a thread each; what rank 0 measured."""
    mpiexec = Path(sys.executable).parent / "mpiexec"
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, *sys.argv[1:]]
    with open(folder / "worker.log", "wb") as log:
        done = subprocess.run([*command, "--worker", folder], env=environ, stdout=log, stderr=log)
    if done.returncode:
        sys.exit((folder / "worker.log").read_text())
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def worker(args: argparse.Namespace) -> int:
    from exa_train import ending
    from exa_train.rise import Rise

    folder: Path = args.worker
    rise = Rise(folder / "life" / "launch.json")
    if args.collectives:
        from mpi4py import MPI

        rise.comm = MPI.COMM_WORLD
        result = collectives(rise.comm)
    else:
        result = compare(rise, args, folder)
    if rise.comm.rank == 0:
        (folder / "result.json").write_text(json.dumps(result))
    ending.leave_together(rise.comm)
    return 0


def compare(rise: Any, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The three loops, in turn."""
    from mpi4py import MPI

    rise.comm, rise.rank = MPI.COMM_WORLD, MPI.COMM_WORLD.rank
    world = rise.comm.size
    if rise.rank == 0:
        write_run(folder, args, world)
    rise.comm.Barrier()
    from exa_train import building, loop, plan

    plan_, life, _ = plan.read(rise.launch_file)
    trainer = building.trainer(rise, plan_, life)
    trainer.chronicle.open_metrics(0)
    steps = args.rounds * (WARM_UP + STEPS)
    loops: dict[str, Callable[[], None]] = {
        "bare": bare_loop(trainer, steps, stock=False),
        "exa": lambda: trainer.chronicle.measure(*with_step(trainer, loop.take_step(trainer)[1])),
    }
    if world > 1:
        loops["stock"] = bare_loop(trainer, steps, stock=True)
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for number in range(args.rounds):
        names = list(loops) if number % 2 else list(reversed(loops))
        for name in names:
            rounds[name].append(timed(loops[name], trainer))
    return summary(rounds, plan_, trainer)


def with_step(trainer: Any, record: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return trainer.step, record


def timed(step: Callable[[], None], trainer: Any) -> tuple[float, float]:
    """Wall and CPU seconds of a few steps, after one that warms the caches for this loop."""
    import torch.distributed as dist

    for _ in range(WARM_UP):
        step()
    if trainer.plan.parallel.world > 1:
        dist.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        step()
    return time.perf_counter() - wall, time.process_time() - cpu


def bare_loop(trainer: Any, count: int, *, stock: bool) -> Callable[[], None]:
    """The plainest correct loop over the same modules: what a user would write by hand."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.nn.utils import clip_grad_norm_

    from exa_train import models, parallel
    from exa_train.step import autocast

    plan, train = trainer.plan, trainer.plan.train
    with torch.device("meta"):
        model = models.build(plan.model)
    if stock:
        model = stock_sharding(model)
        params = list(model.parameters())
    else:
        mesh = init_device_mesh("cpu", (plan.parallel.world,))
        engine = parallel.spread(
            model, "fsdp2", mesh, rounds=plan.rounds, device=torch.device("cpu"), seed=1
        )
        params = list(engine.params.values())
    optimizer = torch.optim.AdamW(params, lr=RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batches = iter(same_batches(trainer, count))

    def step() -> None:
        batch = next(batches)
        with autocast(trainer.device, train.precision):
            output = model(batch.tokens, batch.targets)
        output.loss.backward()
        clip_grad_norm_(params, train.clip)
        optimizer.step()
        optimizer.zero_grad()
        output.loss.item()

    return step


def same_batches(trainer: Any, count: int) -> list[Any]:
    """What the trainer will read in its next steps, in memory."""
    from exa_train.feed import Feed

    feed = Feed(trainer.feed.split, trainer.plan, rank=trainer.rank, device=trainer.device.torch)
    return [feed.step(number)[0] for number in range(1, count + 1)]


def stock_sharding(model: Any) -> Any:
    import torch
    from torch.distributed.fsdp import fully_shard

    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    model.to_empty(device=torch.device("cpu"))
    model.init_weights(1)
    return model


def write_run(folder: Path, args: argparse.Namespace, world: int) -> None:
    """A run directory with a plan like the demo's: one microbatch a rank and step."""
    import dataclasses

    from exa_cli.arith import families

    data = folder / "data"
    made = json.loads((data / "manifest.json").read_text())
    config = dataclasses.replace(families.preset(args.preset), vocab=512, init_std=0.05)
    train = {
        "steps": 1 << 20, "seq_len": 256, "global_batch": 2 * world, "microbatch": 2, "lr": RATE,
        "min_lr_ratio": 0.0, "warmup": 0, "schedule": "constant", "decay_fraction": 0.3,
        "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0, "seed": 1,
        "threads": 1, "precision": args.precision, "validate_every": 1 << 20, "validate_windows": 8,
        "log_every": 1, "compile": False,
    }  # fmt: skip
    plan = {
        "schema": 1, "run": "bench-0000", "model": config.to_dict(), "train": train,
        "data": {"dir": str(data), "data_id": made["data_id"]},
        "parallel": {"engine": "fsdp2", "world": world},
        "checkpoint": {"every": 1 << 20, "keep": 1, "mode": "sync"},
        "policy": {"bad_step": "stop", "skip_at_most": 1, "compare_every": 1 << 20},
    }  # fmt: skip
    ranks = [
        {"rank": rank, "node": "n0", "local_rank": rank, "scratch": str(folder / "scratch"),
         "data_dir": str(data)}
        for rank in range(world)
    ]  # fmt: skip
    launch = {
        "schema": 1, "run_dir": str(folder), "attempt": "001", "life": 1, "tag": "exa-bench-001",
        "epoch": 1, "candidates": [], "ranks": ranks,
    }  # fmt: skip
    for part in ("life", "metrics", "checkpoints/epochs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "life" / "launch.json").write_text(json.dumps(launch))


def summary(
    rounds: dict[str, list[tuple[float, float]]], plan: Any, trainer: Any
) -> dict[str, Any]:
    """Medians over rounds, and ratios of rounds that ran next to each other."""
    import torch

    tokens = plan.train.tokens * STEPS
    speeds = {
        name: round(tokens / median(wall for wall, _ in times)) for name, times in rounds.items()
    }
    best = {name: round(tokens / min(wall for wall, _ in times)) for name, times in rounds.items()}
    flops = trainer.speed.flops_per_token * speeds["exa"]
    return {
        "ranks": plan.parallel.world,
        "precision": plan.train.precision,
        "tokens_per_s": speeds,
        "tokens_per_s_best": best,
        "ratio": ratio(rounds, 0),
        "cpu_ratio": ratio(rounds, 1),
        "mfu_measured": round(flops / trainer.speed.peaks["measured"], 3),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def ratio(rounds: dict[str, list[tuple[float, float]]], clock: int) -> list[float]:
    """Trainer ÷ bare by wall (0) or CPU (1): median and quartiles over rounds."""
    pairs = zip(rounds["exa"], rounds["bare"], strict=True)
    low, middle, high = quantiles((exa[clock] / bare[clock] for exa, bare in pairs), n=4)
    return [round(middle, 4), round(low, 4), round(high, 4)]


def collectives(comm: Any) -> dict[str, Any]:
    """Milliseconds of a 12.5 MB reduce-scatter, gloo's own and ours, in turn."""
    import torch
    import torch.distributed as dist

    from exa_train import device, rendezvous
    from exa_train.parallel.exchange import Exchange

    device.set_up(1)
    rendezvous.meet(comm, "gloo")
    whole = torch.randn(3_121_408 // comm.size * comm.size)
    part = torch.empty(whole.numel() // comm.size)
    exchange, group = Exchange(), dist.group.WORLD
    forms = {
        "gloo": lambda: dist.reduce_scatter_tensor(part, whole),
        "exchange": lambda: exchange(part, whole, group, dist.ReduceOp.SUM),
    }
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(30):
        for name, form in forms.items():
            dist.barrier()
            began = time.perf_counter()
            form()
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {"ranks": comm.size, "ms": {name: round(median(t), 2) for name, t in taken.items()}}


def table(result: dict[str, Any]) -> str:
    if "ms" in result:
        return f"{result['ranks']} ranks, 12.5 MB reduce-scatter, ms: {result['ms']}"
    wall, cpu = result["ratio"], result["cpu_ratio"]
    return (
        f"{result['ranks']} rank(s), {result['precision']}, load {result['load']}\n"
        f"  tokens/s, median round: {result['tokens_per_s']}; best: {result['tokens_per_s_best']}\n"
        f"  trainer / bare: wall {wall[0]} [{wall[1]}, {wall[2]}], "
        f"CPU {cpu[0]} [{cpu[1]}, {cpu[2]}] (median [quartiles])\n"
        f"  MFU {result['mfu_measured']} of the measured matmul peak"
    )


if __name__ == "__main__":
    sys.exit(main())
