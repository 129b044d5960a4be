"""Which parameters decay, the global norm, and the clip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from train_runs import TINY, TRAIN

from exa_train import models, optim, state
from exa_train.parallel import Engine, Whole
from exa_train.plan import Train


def train(**changes: Any) -> Train:
    return cast("Train", SimpleNamespace(**{**TRAIN, **changes}))


@pytest.fixture
def engine() -> Engine:
    with torch.device("meta"):
        model = models.build(TINY)

    def fill() -> None:
        model.to_empty(device="cpu")
        model.init_weights(0)  # type: ignore[operator]

    return Whole(model, fill)


def test_matrices_decay_and_nothing_else_does(engine: Engine) -> None:
    looked_up = optim.embeddings(engine.module)
    assert looked_up == {"embed.weight"}
    decaying = {n for n, p in engine.params.items() if optim.decays(n, p.ndim, looked_up)}
    spared = set(engine.params) - decaying
    assert {"head.weight", "blocks.0.attention.qkv.weight", "blocks.2.ffn.experts.up"} <= decaying
    assert "blocks.2.ffn.router.weight" in decaying
    assert spared == {"embed.weight"} | {n for n in engine.params if "norm" in n}


def test_a_stack_of_biases_is_no_matrix() -> None:
    assert not optim.decays("blocks.0.experts.up_bias", 2, frozenset())
    assert optim.decays("blocks.0.experts.up", 3, frozenset())


def test_decay_shrinks_matrices_by_lr_times_decay_where_there_is_no_gradient(
    engine: Engine,
) -> None:
    optimizer = optim.adamw(
        engine.params, optim.embeddings(engine.module), train(lr=0.1, weight_decay=0.5)
    )
    before = {n: p.detach().clone() for n, p in engine.params.items()}
    for p in engine.params.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in engine.params.items():
        shrink = 0.95 if optim.decays(name, p.ndim, frozenset({"embed.weight"})) else 1.0
        torch.testing.assert_close(p.detach(), before[name] * shrink)


def test_the_norm_is_that_of_all_gradients_as_one_vector(engine: Engine) -> None:
    generator = torch.Generator().manual_seed(1)
    for p in engine.params.values():
        p.grad = torch.randn(p.shape, generator=generator)
    whole = torch.cat([p.grad.flatten() for p in engine.params.values() if p.grad is not None])
    norm = float(optim.square_sum(engine, rank=0).sqrt())
    assert norm == pytest.approx(float(whole.norm()), rel=1e-6)
    assert float(optim.square_sum(engine, rank=1)) == 0, "copies count once"


def test_clipping_leaves_the_direction_and_bounds_the_length(engine: Engine) -> None:
    for p in engine.params.values():
        p.grad = torch.ones_like(p)
    norm = float(optim.square_sum(engine, rank=0).sqrt())
    optim.clip(engine, norm, 0.0)
    assert float(optim.square_sum(engine, rank=0).sqrt()) == norm, "0 = never"
    optim.clip(engine, norm, norm * 2)
    assert float(optim.square_sum(engine, rank=0).sqrt()) == norm, "short enough"
    optim.clip(engine, norm, 1.0)
    assert float(optim.square_sum(engine, rank=0).sqrt()) == pytest.approx(1.0, rel=1e-5)
    values = {float(p.grad.flatten()[0]) for p in engine.params.values() if p.grad is not None}
    assert len(values) == 1


def test_a_restored_step_continues_the_bias_correction() -> None:
    """Two updates in one go, or one, save, load, one: the same weights."""
    gradients = [torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])]

    def fresh() -> tuple[dict[str, nn.Parameter], torch.optim.AdamW]:
        params = {"w": nn.Parameter(torch.tensor([1.0, 1.0]))}
        return params, optim.adamw(params, frozenset(), train())

    def apply(params: dict[str, nn.Parameter], optimizer: torch.optim.AdamW, number: int) -> None:
        params["w"].grad = gradients[number].clone()
        optimizer.step()

    straight, first = fresh()
    apply(straight, first, 0)
    saved = {
        name: t.clone() for name, t in state.tensors(Engine(nn.Module(), straight), first).items()
    }
    apply(straight, first, 1)

    resumed, second = fresh()
    for name, tensor in state.tensors(Engine(nn.Module(), resumed), second).items():
        tensor.copy_(saved[name])
    state.set_optimizer_step(second, 1)
    apply(resumed, second, 1)
    assert torch.equal(resumed["w"], straight["w"])


def test_broken_promises_are_listed_in_order() -> None:
    now = {"world": 2, "threads": 1, "torch": "2.13"}
    assert state.broken_promises(now, now) == []
    assert state.broken_promises({"world": 2, "threads": 2}, now) == ["threads", "torch"]
