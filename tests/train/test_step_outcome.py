"""What ranks tell each other in a step, and what they conclude from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exa_train.device import pick
from exa_train.step import Wishes, outcome, reduced, reseed, seed_of, tally


def of_rank(loss: float, square: float = 4.0, **wishes: bool) -> torch.Tensor:
    losses = torch.tensor([loss, loss - 0.1, 1.0, 2.0], dtype=torch.float64)
    load = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    own = torch.tensor(square, dtype=torch.float64)
    return tally(losses, load, own, 64, Wishes(**wishes))


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
    assert found.bad(clip=1.0) is None


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
def test_what_is_not_finite_on_one_rank_is_bad_for_all(
    loss: float, square: float, words: str
) -> None:
    found = outcome((of_rank(3.0) + of_rank(loss, square)).tolist(), 2, 2)
    assert found.bad(clip=1.0) == words


def test_a_gradient_whose_square_overflows_is_bad_unless_it_is_clipped() -> None:
    """AdamW would keep v = infinity, and never move that weight again."""
    found = outcome(of_rank(1.0, 1e40).tolist(), 1, 2)
    assert math.isfinite(found.grad_norm)
    assert found.bad(clip=0.0) == "the square of the gradient norm (1e+20)"
    assert found.bad(clip=1e30) is not None
    assert found.bad(clip=1.0) is None


def test_a_ranks_own_tally_survives_the_sum() -> None:
    """So that a rank can tell its own bad numbers from another's."""
    mine = of_rank(3.0)
    assert reduced(mine, world=1) == mine.tolist()
    assert torch.equal(mine, of_rank(3.0))


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
