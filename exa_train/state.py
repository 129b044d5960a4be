"""What a run's future depends on, as one flat dictionary of tensors and one of plain values.

Model and AdamW moments are tensors; everything else that matters is a function of the step
(learning rate, sample order, random draws) and needs no saving.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from exa_train.parallel import Engine
from exa_train.plan import Life, Plan
from exa_train.trouble import Skips

MOMENTS = ("exp_avg", "exp_avg_sq")


def tensors(engine: Engine, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """``model.NAME`` and ``optim.NAME.MOMENT`` → the tensors themselves, shards as `DTensor`.

    Loading writes into them; saving reads them.
    """
    found: dict[str, Tensor] = {f"model.{name}": p.detach() for name, p in engine.params.items()}
    for name, p in engine.params.items():
        found |= {f"optim.{name}.{moment}": optimizer.state[p][moment] for moment in MOMENTS}
    return found


def set_optimizer_step(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Tell AdamW how many updates its moments hold, for its bias correction."""
    for state in optimizer.state.values():
        state["step"].fill_(step)


def promise(plan: Plan) -> dict[str, Any]:
    """The layout within which resuming is bit-identical: each of these changes the last bits."""
    return {
        "world": plan.parallel.world,
        "engine": plan.parallel.engine,
        "microbatch": plan.train.microbatch,
        "threads": plan.train.threads,
        "precision": plan.train.precision,
        "compile": plan.train.compile,
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def broken_promises(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys in which a checkpoint's promise differs from now's, in the order of ``now``."""
    return [key for key, value in now.items() if saved.get(key) != value]


def skips(meta: Mapping[str, Any]) -> Skips:
    """The steps without an update that a manifest's ``meta`` tells of."""
    return Skips(meta.get("skipped_in_a_row", 0), meta["step"] - meta["optimizer_steps"])


def meta(plan: Plan, life: Life, step: int, skips: Skips) -> dict[str, Any]:
    """What the manifest says about the state at ``step`` besides its tensors."""
    return {
        "run": plan.run,
        "attempt": life.attempt,
        "life": life.life,
        "step": step,
        "optimizer_steps": step - skips.total,
        "skipped_in_a_row": skips.row,
        "data": {
            "data_id": plan.data_id,
            "seed": plan.train.seed,
            "next_sequence": step * plan.train.global_batch,
        },
        "model": plan.model.to_dict(),
        "promise": promise(plan),
    }
