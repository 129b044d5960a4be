"""Who reads what: each sequence once a step, in the same microbatches for every world."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exa_train.feed import held_out_shares, shares, stacked


@given(
    microbatch=st.integers(1, 4),
    rounds=st.integers(1, 4),
    world=st.integers(1, 5),
    other=st.integers(1, 5),
)
def test_other_worlds_deal_the_same_microbatches_differently(
    microbatch: int, rounds: int, world: int, other: int
) -> None:
    sequences = list(range(100, 100 + microbatch * rounds * world * other))

    def dealt(size: int) -> list[list[int]]:
        return [
            batch for rank in range(size) for batch in shares(sequences, microbatch, rank, size)
        ]

    assert sorted(dealt(world)) == sorted(dealt(other))
    assert sorted(s for batch in dealt(world) for s in batch) == sequences


def test_microbatches_go_round_the_ranks() -> None:
    assert shares(list(range(8)), 2, rank=1, world=2) == [[2, 3], [6, 7]]


@given(st.integers(1, 50), st.integers(1, 7), st.integers(1, 6))
def test_each_held_out_window_counts_once_and_ranks_stay_in_step(
    count: int, microbatch: int, world: int
) -> None:
    of_ranks = [held_out_shares(count, microbatch, rank, world) for rank in range(world)]
    assert len({len(mine) for mine in of_ranks}) == 1
    counted = [w for mine in of_ranks for share in mine if share.weight for w in share.windows]
    assert sorted(counted) == list(range(count))
    assert sum(share.weight for mine in of_ranks for share in mine) == count


class Numbers:
    """Window i holds 10·i, 10·i + 1, …: four tokens and the one that follows."""

    def __len__(self) -> int:
        return 3

    def window(self, index: int, /) -> npt.NDArray[np.int64]:
        return np.arange(10 * index, 10 * index + 5)


def test_targets_are_the_tokens_that_follow() -> None:
    batch = stacked(Numbers(), [2, 0], torch.device("cpu"))
    assert batch.tokens.tolist() == [[20, 21, 22, 23], [0, 1, 2, 3]]
    assert batch.targets.tolist() == [[21, 22, 23, 24], [1, 2, 3, 4]]
    assert batch.tokens.dtype == torch.int64


@pytest.mark.parametrize("world", [1, 2])
def test_the_feed_reads_ahead_and_still_answers_any_step(world: int) -> None:
    from types import SimpleNamespace

    from exa_train.feed import Feed

    train = SimpleNamespace(steps=9, seed=3, global_batch=2, microbatch=1)
    plan = SimpleNamespace(train=train, parallel=SimpleNamespace(world=world))

    def feed() -> Feed:
        return Feed(Numbers(), plan, rank=0, device=torch.device("cpu"))  # type: ignore[arg-type]

    in_order = feed()
    expected = [[b.tokens.tolist() for b in in_order.step(step)] for step in range(1, 10)]
    resumed = feed()
    assert [[b.tokens.tolist() for b in resumed.step(step)] for step in (4, 5, 9, 2)] == [
        expected[step - 1] for step in (4, 5, 9, 2)
    ]
