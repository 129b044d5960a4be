"""What ranks tell each other in a step, and what they conclude from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exa_train.device import pick
from exa_train.faults import BadNumbers
from exa_train.step import Wishes, outcome, refuse, reseed, seed_of, tally


def of_rank(loss: float, square: float = 4.0, **wishes: bool) -> torch.Tensor:
    losses = torch.tensor([loss, loss - 0.1, 1.0, 2.0], dtype=torch.float64)
    load = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    return tally(losses, load, torch.tensor(square), 64, Wishes(**wishes))


def test_losses_are_means_over_microbatches_and_the_norm_is_global() -> None:
    total = (of_rank(3.0, 4.0) + of_rank(5.0, 5.0)).tolist()
    found = outcome(total, microbatches=2, experts=2)
    assert found.loss == 4.0
    assert found.ce == pytest.approx(3.9)
    assert (found.aux, found.z) == (1.0, 2.0)
    assert found.grad_norm == 3.0
    assert found.tokens == 128
    assert found.router_load == ((0.5, 0.5), (1.0, 0.0))
    assert not (found.stop or found.superseded)
    assert found.bad is None


def test_one_rank_is_enough_to_stop_all() -> None:
    assert outcome((of_rank(1.0) + of_rank(1.0, stop=True)).tolist(), 2, 2).stop
    assert outcome((of_rank(1.0) + of_rank(1.0, superseded=True)).tolist(), 2, 2).superseded


@pytest.mark.parametrize(
    ("loss", "square", "words"),
    [
        (math.nan, 4.0, "the loss (nan)"),
        (math.inf, 4.0, "the loss (inf)"),
        (3.0, math.nan, "the gradient norm (nan)"),
        (3.0, math.inf, "the gradient norm (inf)"),
    ],
)
def test_what_is_not_finite_on_one_rank_is_refused_on_all(
    loss: float, square: float, words: str
) -> None:
    well, ill = of_rank(3.0), of_rank(loss, square)
    found = outcome((well + ill).tolist(), 2, 2)
    with pytest.raises(BadNumbers) as here:
        refuse(found, ill, 7)
    assert f"{words} is not finite in step 7" in here.value.what
    assert "on this rank" in str(here.value.where)
    with pytest.raises(BadNumbers) as there:
        refuse(found, well, 7)
    assert there.value.what == here.value.what
    assert "on another rank" in str(there.value.where)


def test_a_dense_model_has_no_router_load() -> None:
    losses, nothing = torch.ones(4, dtype=torch.float64), torch.zeros(0, 8)
    total = tally(losses, nothing, torch.tensor(1.0), 8, Wishes()).tolist()
    assert outcome(total, 1, experts=8).router_load == ()


def test_seeds_differ_by_run_step_and_rank() -> None:
    seeds = {
        seed_of(seed, step, rank) for seed in (1, 2) for step in range(50) for rank in range(9)
    }
    assert len(seeds) == 2 * 50 * 9
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_reseeding_repeats_every_generators_draws() -> None:
    import random

    def draws() -> tuple[float, float, float]:
        reseed(1, 5, 0, pick())
        return float(torch.rand(())), random.random(), float(np.random.random())

    assert draws() == draws()
