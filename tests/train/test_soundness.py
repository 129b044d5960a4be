"""AdamW's invariant: never violated by AdamW, reached by its worst case, broken by damage."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from exa_train.soundness import Adam, faults

M, V = "optim.w.exp_avg", "optim.w.exp_avg_sq"
BETAS = [(0.9, 0.95), (0.9, 0.999), (0.95, 0.9025), (0.95, 0.9), (0.99, 0.9), (0.0, 0.5)]


def moments(gradients: Iterator[Tensor], beta1: float, beta2: float) -> Iterator[dict[str, Tensor]]:
    """The moments that torch's own fused AdamW makes of these gradients, update by update."""
    weight: nn.Parameter | None = None
    for gradient in gradients:
        if weight is None:
            weight = nn.Parameter(torch.zeros_like(gradient))
            optimizer = torch.optim.AdamW([weight], betas=(beta1, beta2), fused=True)
        weight.grad = gradient
        optimizer.step()
        held = optimizer.state[weight]
        yield {M: held["exp_avg"], V: held["exp_avg_sq"]}


def hostile(beta1: float, beta2: float, updates: int) -> Iterator[Tensor]:
    """The gradients for which Cauchy-Schwarz is an equality: (β1/β2)^age, at several scales."""
    scales = torch.tensor([1.0, -1e-3, 1e6])
    ratio = beta1 / beta2
    for at in range(updates):
        yield scales * ratio ** (updates - 1 - at)


@pytest.mark.parametrize(("beta1", "beta2"), BETAS)
@pytest.mark.parametrize("updates", [1, 2, 30, 300])
def test_the_worst_gradients_reach_the_bound_and_do_not_break_it(
    beta1: float, beta2: float, updates: int
) -> None:
    for held in moments(hostile(beta1, beta2, updates), beta1, beta2):
        last = held
    adam = Adam(beta1, beta2, updates)
    assert faults(last, adam) == []
    if updates >= 300 or beta1**2 / beta2 > 1:
        ratio = last[M].double().square() / last[V].double()
        assert float(ratio.max()) > 0.99 * adam.bound(), "a smaller bound would be wrong"


@pytest.mark.parametrize(("beta1", "beta2"), BETAS)
def test_gradients_of_any_size_and_sparseness_never_break_it(beta1: float, beta2: float) -> None:
    draw = torch.Generator().manual_seed(3)

    def wild() -> Iterator[Tensor]:
        for _ in range(400):
            size = 10.0 ** (torch.rand(4000, generator=draw) * 60 - 42)
            sign = torch.randint(-1, 2, (4000,), generator=draw)
            yield size * sign

    for number, held in enumerate(moments(wild(), beta1, beta2), start=1):
        assert faults(held, Adam(beta1, beta2, number)) == []


def test_the_bound_of_the_usual_betas() -> None:
    assert Adam(0.9, 0.95, 10**6).bound() == pytest.approx(1.357, abs=1e-3)
    assert Adam(0.9, 0.999, 10**6).bound() == pytest.approx(52.8, rel=2e-3)
    assert Adam(0.9, 1.0, 5).bound() == math.inf
    assert Adam(0.99, 0.5, 10**6).bound() == math.inf, "it grows without end"


def sound() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    gradients = (torch.randn(5000, generator=draw) for _ in range(20))
    for held in moments(gradients, 0.9, 0.95):
        last = held
    return {"model.w": torch.ones(5000), **last}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model.w", math.nan, "model.w holds NaN or infinity"),
        (M, math.inf, f"{M} holds NaN or infinity"),
        (V, math.inf, f"{V} holds NaN or infinity"),
        (V, -1e-30, f"{V} is negative in 1 of 5000 elements"),
        (V, 0.0, f"{M}² is over 1.357·{V} in 1 of 5000 elements"),
        (M, 3e30, f"{M}² is over 1.357·{V} in 1 of 5000 elements"),
    ],
)
def test_damage_is_named_by_tensor(name: str, value: float, words: str) -> None:
    state = sound()
    assert faults(state, Adam(0.9, 0.95, 20)) == []
    state[name][4321] = value
    assert faults(state, Adam(0.9, 0.95, 20)) == [words]


def test_moments_of_another_moment_are_found_out() -> None:
    """A shard in another's place breaks the invariant in very many elements."""
    state = sound()
    state[V] = state[V].roll(1) * 1e-3
    (words,) = faults(state, Adam(0.9, 0.95, 20))
    assert words.startswith(f"{M}² is over")


def test_sums_that_overflow_are_not_taken_for_infinity() -> None:
    assert faults({"model.w": torch.full((10,), 3e38)}, Adam(0.9, 0.95, 1)) == []
