"""Each row of the tables: what is a hang, who is blamed, and what a step may take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.policy.hang import (
    FIRST_S,
    HEARD_S,
    LEARNT,
    PART_S,
    Limit,
    Mark,
    judge,
    limit,
    limits,
)

ALLOWED = limits(Limit(60.0, "test"))
NOW = 1000.0


def mark(step=7, phase="step", still=0.0, silent=0.0):
    return Mark(step, phase, NOW - still, NOW - silent)


def test_ranks_that_nobody_hears_of_are_not_known_to_hang():
    assert judge({0: mark(still=9e9, silent=HEARD_S + 1)}, NOW, ALLOWED) is None
    assert judge({}, NOW, ALLOWED) is None


def test_one_rank_that_goes_forward_is_enough():
    assert judge({0: mark(still=500), 1: mark(still=59)}, NOW, ALLOWED) is None


def test_when_none_goes_forward_they_hang():
    found = judge({0: mark(still=61), 1: mark(still=62)}, NOW, ALLOWED)
    assert found.ranks == (0, 1)
    assert "no progress for 61 s in step after step 7 (limit 60 s: test)" in found.words


@pytest.mark.parametrize(
    ("marks", "blamed"),
    [
        ({0: mark(still=99), 1: mark(still=99, silent=99)}, (1,)),
        ({0: mark(still=99), 1: mark(6, still=99), 2: mark(still=99)}, (1,)),
        ({0: mark(still=99), 1: mark(phase="validate", still=99), 2: mark(still=99)}, (0, 2)),
        ({0: mark(still=999), 1: mark(phase="checkpoint", still=999), 2: mark(still=999)}, (1,)),
        ({0: mark(still=99), 1: mark(still=99)}, (0, 1)),
    ],
)
def test_each_row_of_the_table_of_blame(marks, blamed):
    assert judge(marks, NOW, ALLOWED).ranks == blamed


@pytest.mark.parametrize(("phase", "least"), [("start", FIRST_S), ("validate", PART_S),
                                              ("checkpoint", PART_S)])  # fmt: skip
def test_what_goes_forward_in_parts_or_comes_up_may_take_longer(phase, least):
    assert judge({0: mark(phase=phase, still=least - 1)}, NOW, ALLOWED) is None
    assert judge({0: mark(phase=phase, still=least + 1)}, NOW, ALLOWED)


@pytest.mark.parametrize(("ahead", "step"), [("validate", 7), ("validate", 4), ("checkpoint", 4)])
def test_who_waits_in_a_long_part_for_one_in_a_step_waits_no_longer_than_that(ahead, step):
    others = {0: mark(7, ahead, still=70), 2: mark(7, ahead, still=70)}
    found = judge({**others, 1: mark(step, still=80)}, NOW, ALLOWED)
    assert found.ranks == (1,) and f"in step after step {step} (limit 60 s" in found.words
    assert judge({**others, 1: mark(7, ahead, still=80)}, NOW, ALLOWED) is None
    assert judge({**others, 1: mark(step, still=59)}, NOW, ALLOWED) is None


def test_a_rank_that_waits_for_its_own_save_gives_all_the_time_of_a_save():
    saves = {0: mark(still=99), 1: mark(phase="checkpoint", still=99)}
    assert judge(saves, NOW, ALLOWED) is None


def test_a_steps_limit_is_the_users_or_learnt_and_never_below_the_floor():
    assert limit([1.0] * 999, 5.0, 60.0).seconds == 5.0
    assert limit([1.0] * (LEARNT - 1), None, 60.0).seconds == FIRST_S
    assert limit([1.0] * LEARNT, None, 60.0).seconds == 60.0
    assert limit([40.0] * LEARNT, None, 60.0).seconds == 120.0
    assert limit([40.0] * LEARNT + [4000.0], None, 60.0).seconds == 120.0


@given(st.lists(st.floats(0.001, 1e4), min_size=LEARNT, max_size=400), st.floats(1, 600))
def test_no_step_like_those_seen_is_taken_for_a_hang(steps, floor):
    allowed = limit(steps, None, floor).seconds
    assert allowed >= floor
    assert sum(step > allowed for step in steps) <= 0.01 * len(steps) + 1
