"""Runs for tests: a run directory with a plan, its lives, and ranks under a real mpiexec."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from exa_cli.checkpoint import manifest, select, verify
from exa_cli.runs import claims, journal
from exa_cli.spec.model import ModelConfig
from exa_train.checkpoint import load
from exa_train.checkpoint.tensors import DTYPES

MPIEXEC = Path(sys.executable).parent / "mpiexec"
REPOSITORY = Path(__file__).parents[2]
LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "PALS_", "SLURM_", "MPI_LOCAL", "HYD")

TINY = ModelConfig(
    vocab=300,
    layers=3,
    d_model=32,
    heads=2,
    kv_heads=1,
    head_dim=16,
    ffn=64,
    experts=4,
    expert_ffn=32,
    top_k=2,
    moe_period=3,
    max_seq=32,
    init_std=0.05,
)
TRAIN: dict[str, Any] = {
    "steps": 10,
    "seq_len": 32,
    "global_batch": 4,
    "microbatch": 1,
    "lr": 3e-3,
    "min_lr_ratio": 0.0,
    "warmup": 2,
    "schedule": "wsd",
    "decay_fraction": 0.3,
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
    "weight_decay": 0.1,
    "clip": 1.0,
    "precision": "fp32",
    "seed": 1,
    "validate_every": 5,
    "validate_windows": 5,
    "log_every": 1,
    "threads": 1,
    "compile": False,
}
POLICY: dict[str, Any] = {"bad_step": "skip", "skip_at_most": 3, "compare_every": 10**6}


@dataclass
class Run:
    """A run directory under ``path``; every `start` is a life of its own."""

    path: Path
    data: Path
    world: int = 2
    engine: str = "fsdp2"
    every: int = 5
    keep: int = 9
    mode: str = "async"
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    lives: int = 0

    def __post_init__(self) -> None:
        for part in ("journal", "checkpoints/epochs", "metrics"):
            (self.path / part).mkdir(parents=True, exist_ok=True)
        self.write_plan()

    def write_plan(self) -> None:
        made = json.loads((self.data / "manifest.json").read_text())
        config = dataclasses.replace(TINY, vocab=made["vocab"], **self.model)
        plan = {
            "schema": 1,
            "run": self.path.name,
            "model": config.to_dict(),
            "data": {"dir": str(self.data), "data_id": made["data_id"]},
            "train": {**TRAIN, **self.train},
            "parallel": {"engine": self.engine, "world": self.world},
            "checkpoint": {"every": self.every, "keep": self.keep, "mode": self.mode},
            "policy": {**POLICY, **self.policy},
        }
        (self.path / "plan.json").write_text(json.dumps(plan))

    @property
    def folder(self) -> Path:
        """The newest life's directory."""
        return self.path / "attempts/001/lives" / str(self.lives)

    def begin_life(self, listed: int | None = None) -> Path:
        """Claim the next epoch and write ``launch.json``, as the supervisor does."""
        self.lives += 1
        epoch = claims.claim_next(self.path, "001", self.lives, self.candidates)
        ranks = [
            {
                "rank": rank,
                "node": f"n{rank}",
                "local_rank": 0,
                "scratch": str(self.path / f"scratch/n{rank}"),
                "data_dir": str(self.data),
            }
            for rank in range(listed or self.world)
        ]
        record = {
            "schema": 1,
            "run_dir": str(self.path),
            "attempt": "001",
            "life": self.lives,
            "tag": f"exa-{self.path.name}-001",
            "epoch": epoch.epoch,
            "candidates": list(epoch.accepts),
            "ranks": ranks,
        }
        (self.folder / "ranks").mkdir(parents=True)
        (self.folder / "launch.json").write_text(json.dumps(record))
        return self.folder / "launch.json"

    def candidates(self) -> tuple[str, ...]:
        known = claims.read_claims(self.path)
        reports = verify.survey(self.path / "checkpoints")
        chosen = select.choose(reports, lambda name, epoch: claims.counts(known, name, epoch))
        return chosen.candidates

    def start(
        self,
        launch: Path | None = None,
        *,
        ranks: int | None = None,
        faults: list[dict[str, Any]] | None = None,
    ) -> Ranks:
        """Start the ranks of a new life, or of the one whose launch record is given; with
        ``faults`` (`faulty_rank`) they meet these."""
        launch = launch or self.begin_life()
        threads = str(self.train.get("threads", 1))
        words = rank_command(launch) if faults is None else faulty_command(launch, faults)
        command = [str(MPIEXEC), "-n", str(ranks or self.world), *words]
        return Ranks(command, self.folder, environment(OMP_NUM_THREADS=threads, **self.environ))

    def finish(self, faults: list[dict[str, Any]] | None = None) -> None:
        """Run a life to its end, which must be a good one."""
        ended = self.start(faults=faults).wait()
        assert ended == 0, (self.folder / "stdout.log").read_text()

    def steps_logged(self, life: int = 1) -> int:
        """The newest step a life has written to ``metrics.jsonl``, 0 before its first."""
        return max((r["step"] for r in self.metrics() if r["life"] == life), default=0)

    def metrics(self) -> list[dict[str, Any]]:
        path = self.path / "metrics/metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def losses(self) -> list[float]:
        """Training loss by step, the last record of each."""
        return list({record["step"]: record["loss"] for record in self.metrics()}.values())

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [e.fields for e in journal.read(self.path) if e.kind == kind]

    def error(self, rank: int = 0) -> dict[str, Any]:
        path = self.folder / "ranks" / f"{rank:06d}.error.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def committed(self) -> dict[int, Path]:
        """Committed checkpoints by step."""
        folders = (self.path / "checkpoints").glob("step-*")
        return {m.step: p for p in folders if (m := manifest.read(p)) is not None}

    def digest(self, step: int) -> str:
        """sha256 over names and bytes of every tensor of a checkpoint: weights and optimizer."""
        path = self.committed()[step]
        sealed = manifest.read(path)
        assert sealed is not None
        state = {
            name: torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype])
            for name, tensor in sealed.tensors.items()
        }
        load(state, root=path.parent, candidates=[path.name])
        total = hashlib.sha256()
        for name in sorted(state):
            total.update(name.encode() + state[name].numpy().tobytes())
        return total.hexdigest()


class Ranks:
    """A started launcher; output goes to the life's ``stdout.log``."""

    def __init__(self, command: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        with open(folder / "stdout.log", "ab") as out:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environ, stdout=out, stderr=out
            )

    def wait(self, seconds: float = 120) -> int:
        """The launcher's exit code; a launcher that hangs is killed and fails the test."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def until(self, true: Callable[[], bool], seconds: float = 120) -> None:
        """Return as soon as something is true; fail when the ranks end before it is."""
        end = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, (self.folder / "stdout.log").read_text()
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.002)

    def pids(self) -> list[int]:
        """Processes of the ranks themselves: those that hold this life's launch record."""
        wanted = rank_command(self.folder / "launch.json")[1:]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _arguments(entry)[1:] == wanted:
                found.append(int(entry.name))
        return sorted(found)

    def kill_rank(self, index: int) -> None:
        os.kill(self.pids()[index], signal.SIGKILL)


def _arguments(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def rank_command(launch: Path) -> list[str]:
    return [sys.executable, "-m", "exa_train", "--launch", str(launch)]


def faulty_command(launch: Path, faults: list[dict[str, Any]]) -> list[str]:
    program = Path(__file__).with_name("faulty_rank.py")
    return [sys.executable, str(program), "--launch", str(launch), json.dumps(faults)]


def environment(**extra: str) -> dict[str, str]:
    """This environment without any launcher's variables, one thread a rank.

    Threads do not spin while they wait: several ranks of several threads share few cores here.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}
    own = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
    return {**clean, **own, **extra}
