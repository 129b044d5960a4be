"""Decide everything a run file leaves open, once, before the first submit.

The result is plan.json: what every rank reads. Nothing in it depends on a clock or on which
nodes the scheduler will give. The microbatch and the global batch belong to the run; a later
layout with other rank counts changes how often gradients are accumulated, and nothing else.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from exa_cli.arith import families, interval
from exa_cli.base.errors import Invalid
from exa_cli.plan.continuing import frozen
from exa_cli.sites.batch import SitePolicy
from exa_cli.sites.binding import NOTHING_KNOWN, Hardware, choose, threads
from exa_cli.sites.machine import Binding
from exa_cli.spec import times
from exa_cli.spec.declare import AUTO, UNKNOWN, Unknown
from exa_cli.spec.model import ModelConfig
from exa_cli.spec.runfile import RunFile

NO_WORD = SitePolicy()
"""A site that says nothing of what follows an end."""

TOKENS_PER_MICROBATCH = 512
TOKENS_PER_STEP = 1024
"""A small model's sweet spot on CPU cores, by trial (docs/decisions.md); planners of larger
machines come with their own search."""


@dataclass(frozen=True)
class Machine:
    """What the plan needs of a site: its default layout.

    ``cores`` is the number of cores a node gives to its ranks, ``bf16`` whether its device has
    units for bf16; None when unknown. ``bindings`` are the site's, for its ``hardware``;
    ``policy`` is its word on what follows an end, ``hang_floor_s`` on what is no hang.
    """

    nodes: int
    ranks_per_node: int
    cores: int | None
    bf16: bool | None = None
    bindings: tuple[Binding, ...] = ()
    hardware: Hardware = NOTHING_KNOWN
    policy: SitePolicy = NO_WORD
    hang_floor_s: float | Unknown = UNKNOWN


@dataclass(frozen=True)
class DataFacts:
    """Prepared data: where it lies, what it is. ``data_id`` is None before it is prepared."""

    dir: str
    vocab: int
    data_id: str | None


@dataclass
class _Why:
    """Collects the reason for each planned value."""

    reasons: dict[str, str]

    def choose(self, key: str, given: Any, planned: Any, reason: str) -> Any:
        """The given value, or the planned one with its reason noted."""
        if given != AUTO:
            return given
        self.reasons[key] = reason
        return planned


def freeze_program(run: RunFile, machine: Machine, folder: str, run_id: str) -> dict[str, Any]:
    """plan.json for a run of the user's own program, which is started in ``folder``.

    It has no model, data, batch or checkpoints that exa knows of.
    """
    why = _Why({})
    parallel = _parallel(run, machine, why)
    per_rank = _threads(run, machine, parallel, why)
    return {
        "schema": 1,
        "run": run_id,
        "program": {"argv": list(run.train.command), "directory": folder},
        "train": {"steps": run.train.steps, "threads": per_rank},
        "parallel": {key: value for key, value in parallel.items() if key != "engine"},
        "policy": _program_policy(run, machine, why),
        "env": dict(run.env),
        "why": why.reasons,
    }


def freeze(run: RunFile, machine: Machine, data: DataFacts, run_id: str) -> dict[str, Any]:
    """plan.json for a run. Raises Invalid when what is asked cannot be laid out."""
    why = _Why({})
    parallel = _parallel(run, machine, why)
    train = _train(run, machine, parallel, why)
    _divides(train, parallel["world"])
    checkpoint = _checkpoint(run, parallel["nodes"], why)
    return {
        "schema": 1,
        "run": run_id,
        "model": model(run, data.vocab).to_dict(),
        "data": dataclasses.asdict(data),
        "train": train,
        "parallel": parallel,
        "checkpoint": checkpoint,
        "policy": _policy(run, machine, checkpoint["every"], why),
        "env": dict(run.env),
        "why": why.reasons,
    }


def _program_policy(run: RunFile, machine: Machine, why: _Why) -> dict[str, Any]:
    """The policy as far as it holds for a program of the user's own too."""
    going_on = frozen(run.policy, machine.policy, machine.hang_floor_s)
    return {"stop_before_s": stop_before(run, why), **going_on}


def model(run: RunFile, vocab: int) -> ModelConfig:
    """The model a run file asks for. Raises NotFound (no such preset) or Invalid."""
    asked = dataclasses.asdict(run.model)
    settings = {k: v for k, v in asked.items() if k not in ("preset", "vocab") and v is not None}
    wanted = vocab if run.model.vocab == AUTO else run.model.vocab
    if wanted < vocab:
        raise Invalid(
            f"model.vocab = {wanted} is less than the data's {vocab} tokens",
            where="model.vocab",
            hint="leave it out, or prepare the data with a smaller --vocab",
        )
    longest = max(families.preset(run.model.preset).max_seq, run.train.seq_len)
    settings |= {"vocab": wanted, "max_seq": longest}
    return dataclasses.replace(families.preset(run.model.preset), **settings)


def _parallel(run: RunFile, machine: Machine, why: _Why) -> dict[str, Any]:
    site = "the site's default"
    nodes = why.choose("parallel.nodes", run.resources.nodes, machine.nodes, site)
    asked = run.parallel.ranks_per_node
    ranks = why.choose("parallel.ranks_per_node", asked, machine.ranks_per_node, site)
    bound = choose(machine.bindings, ranks, run.parallel.binding)
    why.reasons["parallel.binding"] = bound.reason
    return {
        "engine": run.parallel.engine,
        "nodes": nodes,
        "ranks_per_node": ranks,
        "world": nodes * ranks,
        "binding": bound.name,
    }


def _train(run: RunFile, machine: Machine, parallel: dict[str, Any], why: _Why) -> dict[str, Any]:
    asked = run.train
    planned = dataclasses.asdict(asked)
    micro = _microbatch(run, parallel["world"], why)
    planned["microbatch"] = micro
    planned["global_batch"] = _global_batch(run, micro, parallel["world"], why)
    planned["warmup"] = why.choose(
        "train.warmup", asked.warmup, asked.steps // 20, "5 % of the steps"
    )
    planned["validate_every"] = why.choose(
        "train.validate_every",
        asked.validate_every,
        max(1, asked.steps // 10),
        "a tenth of the steps",
    )
    planned["precision"] = _precision(run, machine, why)
    planned["threads"] = _threads(run, machine, parallel, why)
    return planned


def _microbatch(run: RunFile, world: int, why: _Why) -> int:
    planned = max(1, TOKENS_PER_MICROBATCH // run.train.seq_len)
    reason = f"about {TOKENS_PER_MICROBATCH} tokens in a forward pass"
    whole = run.train.global_batch
    if isinstance(whole, int):
        fitting = [m for m in range(1, planned + 1) if whole % (m * world) == 0]
        planned = max(fitting, default=1)
        reason += f", and {world} ranks share {whole} sequences evenly"
    chosen: int = why.choose("train.microbatch", run.train.microbatch, planned, reason)
    return chosen


def _global_batch(run: RunFile, microbatch: int, world: int, why: _Why) -> int:
    share = microbatch * world
    sequences = -(-TOKENS_PER_STEP // run.train.seq_len)
    chosen: int = why.choose(
        "train.global_batch",
        run.train.global_batch,
        -(-sequences // share) * share,
        f"at least {TOKENS_PER_STEP} tokens a step, in whole microbatches for {world} ranks",
    )
    return chosen


def _threads(run: RunFile, machine: Machine, parallel: dict[str, Any], why: _Why) -> int:
    ranks, name = parallel["ranks_per_node"], parallel["binding"]
    known = machine.cores is not None
    planned = max(1, (machine.cores or 1) // ranks)
    reason = f"{machine.cores} cores for {ranks} ranks" if known else "the cores are unknown"
    if name and (seat := threads(choose(machine.bindings, ranks, name), machine.hardware)):
        planned, reason = seat, f"the cores of the smallest seat of the binding {name}"
    chosen: int = why.choose("train.threads", run.train.threads, planned, reason)
    return chosen


_PRECISIONS = {
    True: ("bf16", "the device has units for bf16"),
    False: ("fp32", "this CPU has no units for bf16, so that fp32 is faster"),
    None: ("fp32", "whether the CPUs have units for bf16 is unknown, and fp32 is fast on all"),
}


def _precision(run: RunFile, machine: Machine, why: _Why) -> str:
    planned, reason = _PRECISIONS[machine.bf16]
    chosen: str = why.choose("train.precision", run.train.precision, planned, reason)
    return chosen


def _divides(train: dict[str, Any], world: int) -> None:
    """Refuse a batch that the ranks cannot share in whole microbatches."""
    whole, micro = train["global_batch"], train["microbatch"]
    if whole % (micro * world) == 0:
        return
    share = micro * world
    below, above = whole // share * share, -(-whole // share) * share
    near = " or ".join(str(n) for n in (below, above) if n)
    raise Invalid(
        f"global_batch = {whole} does not divide into microbatches of {micro} for {world} ranks",
        where="train.global_batch, train.microbatch",
        hint=f"the nearest global_batch that does: {near}",
    )


def _checkpoint(run: RunFile, nodes: int, why: _Why) -> dict[str, Any]:
    asked = run.checkpoint
    every = why.choose(
        "checkpoint.every",
        asked.every,
        max(1, run.train.steps // 10),
        "a tenth of the steps at most; less as measured saves and interrupts ask for it",
    )
    return {
        "every": every,
        "keep": asked.keep,
        "mode": asked.mode,
        "parity_bytes": _PARITY_BYTES[asked.parity],
        "adaptive": asked.every == AUTO,
        "interrupt_s": round(interval.prior_s(nodes), 1),
        "interrupt_source": interval.PRIOR_SOURCE,
    }


_PARITY_BYTES = {"auto": 4 * 10**9, "always": 1 << 62, "never": 0}
"""Checkpoints up to this size get parity as they are saved."""


def _policy(run: RunFile, machine: Machine, saved_every: int, why: _Why) -> dict[str, Any]:
    asked = run.policy
    compare = why.choose(
        "policy.compare_every",
        asked.compare_every,
        saved_every,
        "as often as a checkpoint is made, and right before it",
    )
    return {
        **_program_policy(run, machine, why),
        "bad_step": asked.bad_step,
        "skip_at_most": asked.skip_at_most,
        "compare_every": compare,
    }


def stop_before(run: RunFile, why: _Why) -> int:
    """Seconds before the walltime's end at which the run saves and stops."""
    asked = run.policy.stop_before
    given = AUTO if asked == AUTO else times.seconds(asked)
    tenth = times.seconds(run.resources.walltime) // 10
    planned = min(300, max(10, tenth))
    reason = "a tenth of the walltime, between 10 s and 5 min"
    chosen: int = why.choose("policy.stop_before", given, planned, reason)
    return chosen
