"""Who hands in the next attempt: each row of the table, and what a site cannot do is refused."""

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.plan.continuing import HANG_FLOOR_S, asked_for, frozen, hang, way
from exa_cli.sites.batch import Preemption, Queue, SitePolicy
from exa_cli.spec.ends import AFTER
from exa_cli.spec.runfile import Policy

OPEN, ONE = Queue(name="batch"), Queue(name="debug", max_jobs_per_user=1)


def site(chaining="unknown", inside="unknown"):
    return Preemption(chaining=chaining, submit_from_job=inside)


ROWS = [
    ("never", "pbs", site(), OPEN, "never"),
    ("watch", "pbs", site(inside=True), OPEN, "watch"),
    ("inside", "pbs", site(inside=False), OPEN, "inside"),
    ("chain", "pbs", site(True), OPEN, "chain"),
    ("chain", "pbs", site(True), ONE, None),
    ("chain", "pbs", site(False), OPEN, None),
    ("chain", "pbs", site(), OPEN, None),
    ("requeue", "slurm", site(), OPEN, "requeue"),
    ("requeue", "pbs", site(), OPEN, None),
    ("auto", "pbs", site(True, True), OPEN, "inside"),
    ("auto", "pbs", site(True, False), OPEN, "chain"),
    ("auto", "pbs", site(True), OPEN, "chain"),
    ("auto", "pbs", site(True), None, "chain"),
    ("auto", "pbs", site(True), ONE, "inside"),
    ("auto", "pbs", site(), OPEN, "inside"),
    ("auto", "pbs", site(False, False), OPEN, "watch"),
    ("auto", "pbs", site(True, False), ONE, "watch"),
]


@pytest.mark.parametrize(("asked", "kind", "says", "queue", "means"), ROWS)
def test_each_row_of_the_table(asked, kind, says, queue, means):
    if means is None:
        with pytest.raises(Invalid) as caught:
            way(asked, kind, says, queue)
        assert caught.value.hint
        return
    found = way(asked, kind, says, queue)
    assert found.means == means and found.reason


def test_the_run_files_word_comes_before_the_sites_and_that_before_exas():
    profile = SitePolicy(resubmit="watch", on={"hang": "stop", "unknown": "stop"})
    made = frozen(Policy(on={"hang": "resume"}), profile, 60.0)
    assert made["on"] == {**AFTER, "unknown": "stop"}
    assert asked_for(Policy(), profile) == "watch"
    assert asked_for(Policy(resubmit="never"), profile) == "never"


def test_a_frozen_policy_has_numbers():
    made = frozen(Policy(backoff="00:01:00", node_hours=2.5), SitePolicy(), 60.0)
    assert (made["backoff_s"], made["node_hours"]) == (60, 2.5)
    assert frozen(Policy(), SitePolicy(), 60.0)["node_hours"] is None


def test_a_limit_of_the_user_is_fixed_and_the_sites_floor_is_the_least_that_is_learnt():
    assert hang(Policy(hang="00:02:00"), 90.0) == {"watch": True, "fixed_s": 120, "floor_s": 90}
    assert hang(Policy(), "unknown") == {"watch": True, "fixed_s": None, "floor_s": HANG_FLOOR_S}
    assert not hang(Policy(hang="never"), "unknown")["watch"]
