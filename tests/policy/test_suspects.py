"""A lost node is avoided with its evidence, for a while; nothing else is blamed."""

from hypothesis import given
from hypothesis import strategies as st

from exa_cli.policy.suspects import HALF_LIFE_S, last, suspects
from exa_cli.runs.journal import Event

DAY = 86_400.0


def lost(*nodes, t=0.0, cause="node-failure"):
    return Event(t, "job-001-1-aaaa", 0, "ended", {"cause": cause, "lost": list(nodes)})


def test_a_lost_node_is_avoided_and_it_is_known_why():
    (found,) = suspects([lost("n2")], 60.0)
    assert (found.node, found.evidence) == ("n2", ("node-failure in job-001-1-aaaa",))


def test_suspicion_passes_within_days_and_later_if_a_node_failed_again():
    assert not suspects([lost("n2")], 2 * DAY)
    assert suspects([lost("n2"), lost("n2", t=DAY)], 1.9 * DAY)


def test_an_end_that_lost_no_node_blames_none():
    assert suspects([Event(0.0, "job-001-1-aaaa", 0, "ended", {"cause": "hang"})], 0.0) == ()


def test_the_worst_comes_first_and_a_clock_that_runs_ahead_makes_nothing_worse():
    found = suspects([lost("n1", "n2"), lost("n2", t=HALF_LIFE_S * 99)], 0.0)
    assert [(s.node, s.weight) for s in found] == [("n2", 2.0), ("n1", 1.0)]


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.sets(st.sampled_from("abcdef")))
def test_avoided_nodes_come_last_and_the_order_stays(nodes, avoided):
    ordered = last(nodes, avoided)
    assert sorted(ordered) == sorted(nodes)
    good = [n for n in nodes if n not in avoided]
    assert list(ordered[: len(good)]) == good
