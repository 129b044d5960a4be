"""Each row of the table of what follows an end, and that a run cannot loop for ever."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.policy.history import History, Try
from exa_cli.policy.next import LONGEST_BACKOFF_S, TAKEN, affordable, decide
from exa_cli.spec.ends import AFTER, CAUSES

POLICY = {
    "on": AFTER,
    "retries": 3,
    "no_progress": 2,
    "backoff_s": 30,
    "node_hours": None,
    "stop_before_s": 10,
}
INSIDE = {"by": "inside", "why": "the site says so"}
NEVER = {"by": "never", "why": "asked for"}


def one(cause, step=7, progress=True, attempt="001", **more):
    return Try(attempt, 1, cause, step, progress, **more)


def then(*tries, left_s=None, hands=INSIDE, spent=0.0, **policy):
    return decide(History(tries, spent), {**POLICY, **policy}, hands, left_s)


FAIL = one("rank-failure")
STUCK = one("rank-failure", step=None, progress=False)

ROWS = [
    (then(one("finished")), "nothing"),
    (then(one("cancelled")), "nothing"),
    (then(one("cancelled"), left_s=1e6), "nothing"),
    (then(one("disk-full")), "stop"),
    (then(one("walltime"), on={**AFTER, "walltime": "stop"}), "stop"),
    (then(one("disk-full"), on={**AFTER, "disk-full": "resume"}), "resubmit"),
    (then(one("hang"), one("hang", back=True)), "stop"),
    (then(one("walltime"), node_hours=2.0, spent=2.0), "stop"),
    (then(one("walltime"), node_hours=2.0, spent=1.9), "resubmit"),
    (then(one("preempted", progress=False), one("preempted", progress=False, attempt="002")),
     "stop"),
    (then(one("preempted", progress=False), one("preempted", attempt="002")), "resubmit"),
    (then(FAIL, STUCK, STUCK, STUCK, left_s=1e6), "stop"),
    (then(FAIL, STUCK, STUCK, left_s=1e6), "relaunch"),
    (then(FAIL, retries=0), "stop"),
    (then(FAIL, left_s=1e6), "relaunch"),
    (then(FAIL, left_s=5.0), "resubmit"),
    (then(FAIL, left_s=1e6, hands=NEVER), "relaunch"),
    (then(FAIL, hands=NEVER), "stop"),
    (then(one("walltime"), left_s=1e6), "resubmit"),
    (then(one("walltime"), hands=NEVER), "stop"),
    (then(one("unknown")), "resubmit"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "action"), ROWS)
def test_each_row_of_the_truth_table(found, action):
    assert found.action == action and found.reason


def test_time_that_was_taken_is_made_up_at_once_and_a_failure_waits():
    assert then(one("walltime")).wait_s == then(one("preempted")).wait_s == 0
    waits = [then(*[STUCK] * n, no_progress=99, retries=99).wait_s for n in (1, 2, 3, 50)]
    assert waits == [30, 60, 120, LONGEST_BACKOFF_S]


def test_a_kept_step_forgives_the_failures_before_it():
    assert then(STUCK, STUCK, STUCK, FAIL, left_s=1e6).action == "relaunch"
    assert then(STUCK, STUCK, STUCK, FAIL).wait_s == 30


def test_the_same_failure_at_the_same_step_goes_one_checkpoint_back_once():
    again = one("hang", progress=False)
    first = then(one("hang"), again, left_s=1e6)
    assert (first.action, first.back) == ("relaunch", True)
    assert then(one("hang"), again, one("hang", progress=False, back=True)).action == "stop"
    assert not then(one("hang"), one("hang", step=8, progress=False), left_s=1e6).back
    assert not then(one("hang"), one("rank-failure", progress=False), left_s=1e6).back
    assert not then(one("walltime"), one("walltime")).back


def test_a_program_that_does_not_tell_its_steps_may_use_its_walltime_again_and_again():
    silent = [one("walltime", None, None, attempt=f"{n:03d}") for n in range(1, 9)]
    assert then(*silent).action == "resubmit"
    failing = [one("rank-failure", None, None, attempt=f"{n:03d}") for n in (1, 2)]
    assert then(*failing).action == "stop"


def test_another_life_must_have_time_to_come_up_as_slowly_as_the_slowest_did():
    slow = one("hang", rise_s=300.0)
    assert then(slow, left_s=305.0).action == "resubmit"
    assert then(slow, left_s=315.0).action == "relaunch"


def test_what_an_attempt_may_use_is_what_the_node_hours_leave():
    policy = {**POLICY, "node_hours": 3.0}
    assert affordable(History((FAIL,), 1.0), policy, 4, 3600) == 1800
    assert affordable(History((FAIL,), 2.0), policy, 4, 600) == 600
    assert affordable(History((FAIL,), 2.99), policy, 4, 3600) is None
    assert affordable(History((FAIL,), 99.0), POLICY, 4, 3600) == 3600


ENDS = st.sampled_from([c for c in CAUSES if c not in ("finished", "cancelled")])


@given(
    st.lists(st.tuples(ENDS, st.integers(1, 9)), min_size=60, max_size=60),
    st.booleans(),
    st.integers(0, 5),
    st.integers(1, 5),
)
def test_a_run_that_keeps_no_step_is_stopped_whatever_it_ends_of(ends, room, retries, no_progress):
    policy = {**POLICY, "on": dict.fromkeys(AFTER, "resume"), "retries": retries,
              "no_progress": no_progress}  # fmt: skip
    attempts, tries = itertools.count(1), []
    attempt, back = next(attempts), False
    for cause, step in ends:
        tries.append(Try(f"{attempt:03d}", len(tries), cause, step, False, back))
        found = decide(History(tuple(tries), 0.0), policy, INSIDE, 1e6 if room else None)
        if found.action == "stop":
            break
        assert found.action == ("relaunch" if room and cause not in TAKEN else "resubmit")
        back = found.back
        if found.action == "resubmit":
            attempt = next(attempts)
    assert found.action == "stop"
    assert len(tries) <= no_progress * (retries + 2)
