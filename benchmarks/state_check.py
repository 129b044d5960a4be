"""What a look at the state costs, beside a training step on one rank.

    python benchmarks/state_check.py [PRESET]

Three things are timed in turns, so that a busy machine slows all of them alike: a step of the
default batch (1,024 tokens), `soundness.faults` and `replicas.digests` over weights and moments.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from exa_cli.arith import families
from exa_train import models, replicas, soundness, state
from exa_train.optim import adamw, embeddings
from exa_train.parallel import Engine, Whole
from exa_train.plan import Train

ROUNDS = 15
SEQ_LEN, MICROBATCH, ROUNDS_A_STEP = 256, 2, 2


def main(preset: str) -> None:
    torch.set_num_threads(1)
    engine, optimizer = built(preset)
    found = state.tensors(engine, optimizer)
    adam = soundness.Adam(0.9, 0.95, 1)
    took: dict[str, list[float]] = {"step": [], "soundness": [], "checksums": []}
    for _ in range(ROUNDS):
        took["step"].append(seconds(lambda: step(engine, optimizer)))
        took["soundness"].append(seconds(lambda: soundness.faults(found, adam)))
        took["checksums"].append(seconds(lambda: replicas.digests(found)))
    size = sum(t.numel() * t.element_size() for t in found.values())
    print(f"{preset}: {size / 1e6:.0f} MB of weights and moments, torch {torch.__version__}")
    whole = statistics.median(took["step"])
    for name, times in took.items():
        middle = statistics.median(times)
        print(
            f"{name:<10} {middle * 1e3:8.1f} ms (best {min(times) * 1e3:.1f})  {middle / whole:.1%}"
        )


def built(preset: str) -> tuple[Engine, torch.optim.Optimizer]:
    with torch.device("meta"):
        model = models.build(families.preset(preset))
    looked_up = embeddings(model)

    def fill() -> None:
        model.to_empty(device="cpu")
        model.init_weights(1)  # type: ignore[operator]

    engine = Whole(model, fill)
    settings: dict[str, Any] = {"weight_decay": 0.1, "lr": 1e-3, "beta1": 0.9, "beta2": 0.95}
    train = Train(**{**dict.fromkeys(Train.__dataclass_fields__, 0), **settings, "eps": 1e-8})
    return engine, adamw(engine.params, looked_up, train)


def step(engine: Engine, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(ROUNDS_A_STEP):
        tokens = torch.randint(0, 256, (MICROBATCH, SEQ_LEN + 1))
        engine.module(tokens[:, :-1], tokens[:, 1:]).loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "alphaexa-ci")
