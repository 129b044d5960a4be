"""--wait and --follow end when the run does, or when nobody can ever tell; never before."""

from pathlib import Path

import pytest

from exa_cli.base.errors import RunFailed, Unreachable
from exa_cli.commands import _common
from exa_cli.login import keep, observe
from exa_cli.login.keep import Kept
from exa_cli.login.observe import View
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import Attempt, RunState

RUN = RunDir(Path("/runs/demo-0000"))


@pytest.fixture
def told(monkeypatch):
    """Make exa see these states in turn, one a minute: (state, why it could not be asked)."""
    now = iter(range(0, 10**6, 60))
    monkeypatch.setattr(_common.clock, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(_common.time, "sleep", lambda _: None)

    def set_up(*states):
        left = iter(states)

        def look(_):
            state, trouble = next(left)
            attempt = Attempt("001", "tag", "ended", cause="hang", evidence=("why",))
            return [
                View(RUN, {}, [], RunState("demo-0000", state, "hang", 3, 9, (attempt,)), trouble)
            ]

        monkeypatch.setattr(observe, "look", look)

    monkeypatch.setattr(keep, "keep", lambda _: Kept("settled", "its policy says stop"))
    monkeypatch.setattr(_common, "poll_s", lambda _: 30.0)
    return set_up


def test_a_job_that_nobody_knows_any_more_is_not_waited_for_for_ever(told):
    told(("running", None), *[("unknown", None)] * 9)
    with pytest.raises(Unreachable, match="what became of the job"):
        _common.wait_for(RUN)


def test_a_scheduler_that_does_not_answer_is_waited_for(told):
    told(*[("unknown", "connect failure")] * 50, ("done", None))
    _common.wait_for(RUN)


def test_the_last_words_of_a_job_may_come_a_little_late(told):
    told(("running", None), ("unknown", None), ("failed", None))
    with pytest.raises(RunFailed, match="failed: hang"):
        _common.wait_for(RUN)


def test_every_look_is_told_with_its_state(told):
    seen = []
    told(("queued", None), ("running", None), ("done", None))
    _common.wait_for(RUN, seen.append)
    assert seen == ["queued", "running", "done"]


def test_a_run_whose_policy_goes_on_is_waited_for_and_kept_alive(told, monkeypatch):
    made = iter([Kept("waits", "due soon"), Kept("submitted", "job 7 after hang")])
    monkeypatch.setattr(keep, "keep", lambda _: next(made))
    told(("failed", None), ("resubmitting", None), ("running", None), ("done", None))
    _common.wait_for(RUN)
    assert next(made, None) is None


def test_a_run_that_somebody_else_is_submitting_for_is_looked_at_again(told, monkeypatch):
    def busy(_):
        raise Unreachable("process 7 on login01 is submitting for it")

    monkeypatch.setattr(keep, "keep", busy)
    told(("failed", None), ("queued", None), ("done", None))
    _common.wait_for(RUN)


def test_a_site_is_asked_no_oftener_than_it_wants_while_an_attempt_is_waited_for(told, monkeypatch):
    """The clock here goes a minute a look; a site that wants to be asked every ten gets that."""
    asked = []
    monkeypatch.setattr(keep, "keep", lambda run: asked.append(run) or Kept("waits", "due later"))
    monkeypatch.setattr(_common, "poll_s", lambda _: 600.0)
    told(*[("resubmitting", None)] * 12, ("done", None))
    _common.wait_for(RUN)
    assert 1 <= len(asked) <= 4
