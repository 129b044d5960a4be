"""How often to save: Daly's formula against its published use, and its bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.arith.interval import Measured, choose, daly, differs, lost, prior_s

HOURS = (29, 14, 8, 3.6, 1.7, 1.0)

# By cost of a save and of a recovery, for each of HOURS between interrupts: minutes between saves,
# and the share of time that saving, work done twice and recoveries cost.
TABLE = {
    (1, 20): ((7.6, 0.5), (5.3, 0.7), (4.0, 0.9), (2.7, 1.4), (1.8, 2.1), (1.4, 2.9)),
    (5.4, 30): ((17.6, 1.0), (12.2, 1.5), (9.2, 2.0), (6.2, 3.1), (4.2, 4.7), (3.2, 6.3)),
    (24, 60): ((37, 2.2), (26, 3.2), (19, 4.3), (13, 6.6), (8.8, 9.8), (6.7, 13.2)),
    (40, 300): ((48, 3.1), (33, 4.6), (25, 6.3), (17, 10.2), (11, 16.3), (8.5, 23.3)),
    (120, 600): ((82, 5.4), (57, 8.1), (43, 11.2), (28, 18.3), (19, 29.7), (14, 42.6)),
}


@pytest.mark.parametrize(("costs", "row"), TABLE.items(), ids=str)
def test_the_table_of_the_documentation_is_met(costs, row):
    cost, recovery = costs
    for hours, (minutes, percent) in zip(HOURS, row, strict=True):
        best = daly(cost, hours * 3600)
        shown = 0.5 if minutes >= 10 else 0.05
        assert best / 60 == pytest.approx(minutes, abs=shown + 0.1)
        assert 100 * lost(best, cost, hours * 3600, recovery) == pytest.approx(percent, abs=0.11)


def exact(every, cost, mean):
    """Daly's complete model: the expected time of a run over its time of pure work."""
    return mean / every * math.expm1((every + cost) / mean)


@given(cost=st.floats(1e-3, 1e4), ratio=st.floats(0.6, 1e6))
def test_no_other_interval_would_lose_noticeably_less(cost, ratio):
    """Against the complete model, whose minimum has no closed form."""
    mean = cost * ratio
    best = daly(cost, mean)
    least = min(exact(best * 1.02**n, cost, mean) for n in range(-120, 121))
    assert exact(best, cost, mean) <= 1.005 * least


@given(cost=st.floats(1e-6, 1e6), mean=st.floats(1e-3, 1e9))
def test_the_interval_is_always_a_positive_time(cost, mean):
    assert 0 < daly(cost, mean) < math.inf


def seen(cost=1.0, save=10.0, step=1.0, mean=8 * 3600.0):
    return Measured(cost, save, step, mean, "by a test")


def test_it_never_saves_more_seldom_than_was_planned():
    found = choose(seen(), most=100)
    assert found.every == 100
    assert "best is every 239 s, 239 steps of 1 s; at most 100, as planned" in found.reason


def test_it_never_saves_while_the_save_before_still_runs():
    found = choose(seen(save=300.0), most=1000)
    assert found.every == 300
    assert found.reason.endswith("; at least 300, since a save takes 300 s")


def test_what_was_planned_holds_even_if_a_save_takes_longer():
    assert choose(seen(save=300.0), most=100).every == 100


def test_between_the_bounds_it_is_dalys():
    found = choose(seen(), most=1000)
    assert found.every == 239 == round(daly(1.0, 8 * 3600.0))
    assert "an interrupt comes every 8 h (by a test)" in found.reason


@given(
    st.floats(1e-4, 1e3), st.floats(1e-4, 1e4), st.floats(1e-4, 1e3), st.floats(1, 1e8),
    st.integers(1, 10**6),
)  # fmt: skip
def test_the_bounds_always_hold(cost, save, step, mean, most):
    assert 1 <= choose(Measured(cost, save, step, mean, ""), most).every <= most


def test_before_any_interrupt_larger_jobs_expect_one_sooner():
    assert prior_s(128) == pytest.approx(7.9 * 3600)
    assert prior_s(1024) == pytest.approx(prior_s(128) / 8)


def test_a_slightly_other_interval_is_not_worth_a_change():
    assert not differs(115, 100) and not differs(85, 100)
    assert differs(125, 100) and differs(75, 100)
