"""What a rank is told: the frozen plan of the run and the launch record of one life.

Both were resolved and checked by `exa_cli`; here they only get their types back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from exa_cli.arith import interval
from exa_cli.spec.model import ModelConfig
from exa_train.faults import LaunchFailed

T = TypeVar("T")


@dataclass(frozen=True)
class Train:
    """``plan.json`` → ``train``. Batches and windows count sequences of ``seq_len`` tokens."""

    steps: int
    seq_len: int
    global_batch: int
    microbatch: int
    lr: float
    min_lr_ratio: float
    warmup: int
    schedule: str
    decay_fraction: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    clip: float
    precision: str
    seed: int
    validate_every: int
    validate_windows: int
    log_every: int
    threads: int
    compile: bool

    @property
    def microbatches(self) -> int:
        """Microbatches of one step, over all ranks: a property of the run, not the layout."""
        return self.global_batch // self.microbatch

    @property
    def tokens(self) -> int:
        """Tokens of one step, over all ranks."""
        return self.global_batch * self.seq_len


@dataclass(frozen=True)
class Parallel:
    """``plan.json`` → ``parallel``."""

    engine: str
    world: int


@dataclass(frozen=True)
class Saving:
    """``plan.json`` → ``checkpoint``.

    Attributes:
        mode: async or sync.
        parity_bytes: checkpoints up to this size get parity.
        adaptive: ``every`` is where the life begins; what it measures says how it goes on.
        interrupt_s: seconds between interrupts until the run has seen one, by
            ``interrupt_source``.
    """

    every: int
    keep: int
    mode: str = "async"
    parity_bytes: int = 0
    adaptive: bool = False
    interrupt_s: float = interval.prior_s(nodes=1)
    interrupt_source: str = interval.PRIOR_SOURCE


@dataclass(frozen=True)
class Policy:
    """``plan.json`` → ``policy``: what `exa_train.trouble` and comparing replicas go by."""

    bad_step: str = "skip"
    skip_at_most: int = 3
    compare_every: int = 1 << 30


@dataclass(frozen=True)
class Plan:
    """The frozen plan. ``rounds`` microbatches a rank takes one after the other make a step."""

    run: str
    data_id: str
    model: ModelConfig
    train: Train
    parallel: Parallel
    checkpoint: Saving
    policy: Policy

    @property
    def rounds(self) -> int:
        return self.train.microbatches // self.parallel.world


@dataclass(frozen=True)
class Rank:
    """One rank's entry in ``launch.json``."""

    rank: int
    node: str
    local_rank: int
    scratch: Path
    data_dir: Path


@dataclass(frozen=True)
class Life:
    """``launch.json``: one start of the run. ``folder`` is the directory that holds it."""

    folder: Path
    run_dir: Path
    attempt: str
    life: int
    tag: str
    epoch: int
    candidates: tuple[str, ...]
    ranks: tuple[Rank, ...]

    @property
    def stop_file(self) -> Path:
        return self.folder / "stop.json"


def read(launch: Path) -> tuple[Plan, Life, str]:
    """The plan, the life, and a digest of both that every rank must share.

    Raises LaunchFailed for a file that is missing, torn or lacks a key.
    """
    launch_raw = _bytes(launch)
    life = _typed(launch, lambda: _life(launch, json.loads(launch_raw)))
    plan_path = life.run_dir / "plan.json"
    plan_raw = _bytes(plan_path)
    layout = json.loads(launch_raw).get("layout") or {}
    plan = _typed(plan_path, lambda: _plan(laid_out(json.loads(plan_raw), layout)))
    _check(plan, plan_path)
    return plan, life, hashlib.sha256(launch_raw + plan_raw).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LaunchFailed(f"cannot read it: {error.strerror}", where=str(path)) from error


def _typed(path: Path, make: Any) -> Any:
    try:
        return make()
    except KeyError as error:
        raise LaunchFailed(f"the key {error} is missing", where=str(path)) from error
    except (TypeError, ValueError) as error:
        raise LaunchFailed(f"not what a rank expects: {error}", where=str(path)) from error


def _fields(cls: type[T], raw: dict[str, Any], **extra: Any) -> T:
    """``cls`` from the keys it declares. Keys of a newer exa are left alone; those that an older
    one did not write have a default."""
    known = [f for f in dataclasses.fields(cls) if f.name not in extra]  # type: ignore[arg-type]
    names = [f.name for f in known if f.name in raw or f.default is dataclasses.MISSING]
    return cls(**{name: raw[name] for name in names}, **extra)


def laid_out(plan: dict[str, Any], layout: dict[str, int]) -> dict[str, Any]:
    """plan.json as this life's nodes have it: another number of ranks, a smaller microbatch."""
    train, parallel = plan["train"], plan["parallel"]
    return {
        **plan,
        "train": {**train, "microbatch": layout.get("microbatch", train["microbatch"])},
        "parallel": {**parallel, "world": layout.get("world", parallel["world"])},
    }


def _plan(raw: dict[str, Any]) -> Plan:
    return Plan(
        run=raw["run"],
        data_id=raw["data"]["data_id"],
        model=ModelConfig.from_dict(raw["model"], name="plan.json [model]"),
        train=_fields(Train, raw["train"]),
        parallel=_fields(Parallel, raw["parallel"]),
        checkpoint=_fields(Saving, raw["checkpoint"]),
        policy=_fields(Policy, raw.get("policy", {})),
    )


def _life(path: Path, raw: dict[str, Any]) -> Life:
    ranks = tuple(
        _fields(Rank, entry, scratch=Path(entry["scratch"]), data_dir=Path(entry["data_dir"]))
        for entry in raw["ranks"]
    )
    return _fields(
        Life,
        raw,
        folder=path.parent,
        run_dir=Path(raw["run_dir"]),
        candidates=tuple(raw["candidates"]),
        ranks=ranks,
    )


def _check(plan: Plan, path: Path) -> None:
    """The two divisions everything rests on; `exa plan` made sure, an edited file may not."""
    train, world = plan.train, plan.parallel.world
    if train.global_batch % train.microbatch:
        what = f"microbatch {train.microbatch} does not divide global_batch {train.global_batch}"
        raise LaunchFailed(what, where=str(path))
    if train.microbatches % world:
        what = f"{world} ranks do not divide the step's {train.microbatches} microbatches"
        raise LaunchFailed(what, where=str(path))
