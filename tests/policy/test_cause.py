"""Each row of the classifier's truth table, and that earlier rows win."""

import pytest

from exa_cli.policy.cause import Health, RankError, Seen, classify, exit_words
from exa_cli.policy.next import after
from exa_cli.spec.ends import CAUSES

ROWS = [
    (Seen(done=True), "finished"),
    (Seen(cancelled=True), "cancelled"),
    (Seen(health=Health("space", "12 MB free", "disk-full")), "disk-full"),
    (Seen(health=Health("torch", "cannot import")), "launch-failed"),
    (Seen(launcher_exit=143, lost_nodes=("n2",)), "node-failure"),
    (Seen(hang="no step for 60 s", lost_nodes=("n2",)), "node-failure"),
    (Seen(stopped_for="walltime", launcher_exit=143, lost_nodes=("n2",)), "walltime"),
    (
        Seen(
            launcher_exit=1,
            lost_nodes=("n2",),
            rank_errors=(RankError(1, "rank-failure", "peer closed", 7, echo=True),),
        ),
        "node-failure",
    ),
    (
        Seen(
            launcher_exit=1,
            lost_nodes=("n2",),
            rank_errors=(RankError(1, "disk-full", "no space", 7),),
        ),
        "disk-full",
    ),
    (Seen(hang="no step for 60 s"), "hang"),
    (Seen(rank_errors=(RankError(1, "bad-numbers", "loss is nan", 7),)), "bad-numbers"),
    (Seen(memory_kill=True), "out-of-memory"),
    (Seen(stopped_for="walltime"), "walltime"),
    (Seen(stopped_for="SIGTERM"), "preempted"),
    (Seen(scheduler_reason="walltime"), "walltime"),
    (Seen(scheduler_reason="cancelled"), "cancelled"),
    (Seen(scheduler_reason="preempted"), "preempted"),
    (Seen(scheduler_reason="node-failure"), "node-failure"),
    (Seen(scheduler_reason="out-of-memory"), "out-of-memory"),
    (Seen(scheduler_reason="launch-failed"), "launch-failed"),
    (Seen(launcher_exit=9, signal=9), "rank-failure"),
    (Seen(launcher_exit=-9), "rank-failure"),
    (Seen(launcher_exit=1), "launch-failed"),
    (Seen(launcher_exit=-9, trained=True), "rank-failure"),
    (Seen(launcher_exit=0), "unknown"),
    (Seen(), "unknown"),
]


@pytest.mark.parametrize(("seen", "cause"), ROWS)
def test_each_row_of_the_truth_table(seen, cause):
    ended = classify(seen)
    assert ended.cause == cause
    assert ended.evidence and all(ended.evidence)
    assert cause in CAUSES


def test_a_cancel_beats_the_failure_it_provokes():
    seen = Seen(cancelled=True, launcher_exit=-15, trained=True, scheduler_reason="walltime")
    assert classify(seen).cause == "cancelled"


def test_a_committed_last_step_is_finished_whatever_the_launcher_says_after():
    assert classify(Seen(done=True, launcher_exit=-9, trained=True)).cause == "finished"


def test_the_full_disk_of_one_rank_explains_the_failures_of_the_others():
    errors = (RankError(0, "rank-failure", "peer left"), RankError(1, "disk-full", "No space left"))
    ended = classify(Seen(rank_errors=errors, launcher_exit=1, trained=True))
    assert ended.cause == "disk-full"
    assert "rank 0: peer left" in ended.evidence


@pytest.mark.parametrize(("status", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (143, "SIGTERM")])
def test_signals_are_named_whichever_way_the_status_folds_them(status, name):
    assert name in exit_words(status)


def test_an_ordinary_status_names_no_signal():
    assert exit_words(1) == "status 1"


def test_after_a_cancel_only_force_goes_on():
    said = after("cancelled", "cancelled", 40)
    assert said is not None and "--force" in said.reason


@pytest.mark.parametrize("state", ["done", "running", "queued"])
def test_nothing_comes_next_while_all_is_well(state):
    assert after(None, state, 0) is None


def test_a_rank_that_only_noticed_anothers_end_explains_nothing():
    errors = (
        RankError(0, "rank-failure", "connection closed by peer", 7, echo=True),
        RankError(1, "unknown", "TypeError", 7),
    )
    assert classify(Seen(rank_errors=errors, launcher_exit=1)).evidence[0] == "rank 1: TypeError"


def test_ranks_that_say_the_same_are_told_in_one_line():
    errors = tuple(RankError(rank, "stopped", "nothing to load") for rank in range(3))
    ended = classify(Seen(rank_errors=errors, launcher_exit=1))
    assert ended.evidence == ("ranks 0, 1, 2: nothing to load",)
