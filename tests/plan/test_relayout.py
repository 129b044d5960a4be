"""Another number of nodes: the batch and its order stay, and every rank gets an equal share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid
from exa_cli.plan.relayout import relaid, shrunk


def plan(nodes=4, each=1, batch=8, micro=2, **more):
    return {
        "parallel": {"nodes": nodes, "ranks_per_node": each, "world": nodes * each, "binding": "b"},
        "train": {"global_batch": batch, "microbatch": micro, "seq_len": 64},
        **more,
    }


def test_a_batch_that_no_microbatch_shares_out_is_refused_with_the_counts_that_do():
    with pytest.raises(Invalid) as caught:
        relaid(plan(), 3)
    assert caught.value.hint == "nodes that can: 1, 2, 4, 8"


def test_the_same_number_of_nodes_changes_nothing():
    assert relaid(plan(), 4) == plan()


def test_a_microbatch_gets_smaller_only_where_it_must():
    assert relaid(plan(), 2)["train"]["microbatch"] == 2
    assert relaid(plan(), 8)["train"]["microbatch"] == 1


def test_a_program_of_the_users_own_runs_on_any_number_of_nodes():
    own = plan(program={"argv": ["x"]})
    assert relaid(own, 3)["parallel"] == {**own["parallel"], "nodes": 3, "world": 3}


def test_shrinking_takes_as_many_nodes_as_can_share_the_batch():
    assert shrunk(plan(), 3)["parallel"]["nodes"] == 2
    assert shrunk(plan(nodes=2, each=3, batch=12, micro=1), 1)["parallel"]["world"] == 3
    assert shrunk(plan(nodes=2, each=3, batch=4), 1) is None


@given(
    st.integers(1, 64), st.integers(1, 8), st.integers(1, 8), st.integers(1, 16), st.integers(1, 64)
)
def test_the_batch_stays_and_ranks_share_it_evenly(nodes, each, micro, rounds, wanted):
    whole = nodes * each * micro * rounds
    made = shrunk(plan(nodes, each, whole, micro), wanted)
    if made is None:
        assert all(whole % (n * each) for n in range(1, min(nodes, wanted) + 1))
        return
    train, world = made["train"], made["parallel"]["world"]
    assert train["global_batch"] == whole
    assert whole % (train["microbatch"] * world) == 0
    assert 1 <= train["microbatch"] <= micro and world == made["parallel"]["nodes"] * each
