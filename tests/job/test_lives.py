"""Whether a life begins: a user's wish always does, exa's own only while the policy goes on."""

from pathlib import Path

import pytest

from exa_cli.job import lives
from exa_cli.job.lives import Life, stopped
from exa_cli.job.watch import needed_s
from exa_cli.runs import claims
from exa_cli.runs.journal import Event, Journal
from exa_cli.runs.rundir import RunDir

RUN = RunDir(Path("/runs/demo-0000"))


def intent(attempt, by="user"):
    return Event(0.0, "login-aaaa", 0, "intent", {"attempt": attempt, "by": by})


def ended(attempt, life, action, **more):
    then = {"action": action, "reason": "2 failures in a row", **more}
    return Event(1.0, f"job-{attempt}-{life}-bb", 9, "ended", {"cause": "hang", "then": then})


DONE = Event(1.0, "rank-001-1-cc", 9, "done", {"step": 40})
STOP, ON = ended("001", 1, "stop"), ended("001", 1, "resubmit")

ROWS = [
    ([intent("001")], ("001", 1), False),
    ([intent("001"), STOP, intent("002")], ("002", 1), False),
    ([intent("001"), STOP, intent("002", "policy")], ("002", 1), True),
    ([intent("001"), ON, intent("002", "policy")], ("002", 1), False),
    ([intent("001"), DONE, intent("002", "policy")], ("002", 1), True),
    ([intent("001"), STOP], ("001", 2), True),
    ([intent("001"), ended("001", 1, "relaunch")], ("001", 2), False),
    ([intent("001")], ("001", 2), False),
    ([intent("001"), ON, ended("001", 2, "stop"), intent("002", "policy")], ("002", 1), True),
]


@pytest.mark.parametrize(("events", "life", "ends"), ROWS)
def test_a_life_that_no_user_asked_for_ends_where_the_policy_stopped_the_run(events, life, ends):
    assert bool(stopped(events, Life(RUN, *life))) is ends


def test_the_next_life_takes_the_next_free_number_and_prints_into_its_own_folder(tmp_path, capfd):
    run = RunDir(tmp_path)
    run.life("001", 1).mkdir(parents=True)
    run.life("001", 2).mkdir()
    with capfd.disabled():
        number, text = _begun(run)
    assert (number, text) == (3, "said in life 3\n")


def _begun(run):
    """In a process of its own: its output is redirected for good."""
    import os
    import sys

    pid = os.fork()
    if pid == 0:
        number = lives.begin(run, "001", 1)
        os.write(1, f"said in life {number}\n".encode())
        sys.stdout.flush()
        os._exit(number)
    number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return number, (run.life("001", number) / "stdout.log").read_text()


def test_a_late_twin_is_told_as_one(tmp_path):
    run = RunDir(tmp_path)
    (tmp_path / "journal").mkdir()
    with Journal(tmp_path, "login-aaaa") as journal:
        journal.append("accepted", attempt="001", job_id="7.hill", scheduler="pbs")
    found = lives.needless(Life(run, "001", 2), {"PBS_JOBID": "8.hill"})
    assert (found.kind, found.fields) == ("twin", {"accepted": "7.hill"})
    assert lives.needless(Life(run, "001", 2), {"PBS_JOBID": "7.hill"}) is None


def told(run, role, *events):
    with Journal(run.path, role) as journal:
        for kind, fields in events:
            end = {"cause": "rank-failure", "evidence": []} if kind == "ended" else {}
            journal.append(kind, **end, **fields)


@pytest.mark.parametrize(
    ("events", "known"),
    [
        ([("healthy", {}), ("training", {}), ("ended", {"then": {"action": "relaunch"}})], True),
        ([("healthy", {}), ("ended", {"then": {"action": "relaunch"}})], False),
        ([("healthy", {}), ("training", {}),
          ("ended", {"then": {"action": "relaunch"}, "lost": ["n2"]})], False),
        ([("healthy", {}), ("training", {}), ("ended", {"then": {"action": "resubmit"}})], False),
        ([], False),
    ],
)  # fmt: skip
def test_nodes_are_known_to_be_good_only_after_ranks_trained_on_all_of_them(
    tmp_path, events, known
):
    class Here:
        run, attempt, life = RunDir(tmp_path), "001", 2

    (tmp_path / "journal").mkdir()
    told(Here.run, "job-001-1-aaaa", *events)
    assert lives.proven(Here) is known


def test_a_copy_that_another_has_fenced_begins_no_other_life(tmp_path):
    run = RunDir(tmp_path)
    (tmp_path / "journal").mkdir()
    claims.claim_next(tmp_path, "001", 1, lambda: ())
    assert not lives.superseded(Life(run, "001", 1))
    claims.claim_next(tmp_path, "001", 2, lambda: ())
    assert lives.superseded(Life(run, "001", 1))
    then = lives.decide(Life(run, "001", 1), {"cause": "rank-failure"}, None, None)
    assert (then.action, lives.superseded(Life(run, "001", 2))) == ("nothing", False)


def test_time_to_stop_grows_with_what_saves_and_steps_have_taken():
    assert needed_s([], []) == 0.0
    assert needed_s([500.0, 1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 200 + [99.0]) == 14.0
