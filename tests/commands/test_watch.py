"""exa watch, unasked, raises no run that is over; what it cannot do now it does later."""

from pathlib import Path

import pytest

from exa_cli.base import clock
from exa_cli.base.errors import Unreachable
from exa_cli.commands import watch
from exa_cli.login.keep import Kept
from exa_cli.login.observe import View
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import Attempt, RunState

RUN = RunDir(Path("/runs/demo-0000"))
HOUR = 3600.0
STOP = {"action": "stop", "reason": "2 failures in a row"}


def view(state, ended_ago=None, then=None):
    ended = None if ended_ago is None else clock.now() - ended_ago
    attempt = Attempt("001", "tag", "ended" if ended else "running", ended=ended, then=then)
    return View(RUN, {}, [], RunState(RUN.run_id, state, None, 3, 9, (attempt,)), None)


@pytest.mark.parametrize(
    ("seen", "fresh"),
    [
        (view("running"), True),
        (view("resubmitting", HOUR), True),
        (view("failed", HOUR), True),
        (view("failed", 48 * HOUR), False),
        (view("failed", HOUR, STOP), False),
        (view("done", HOUR), False),
        (view("cancelled", HOUR), False),
    ],
)
def test_only_runs_that_are_live_or_just_ended_are_watched_unasked(seen, fresh):
    assert watch._is_fresh(seen) is fresh


def test_a_scheduler_that_is_silent_is_asked_again_later(monkeypatch):
    def silent(run, now):
        raise Unreachable("connect failure")

    monkeypatch.setattr(watch, "keep", silent)
    kept = watch._keep(RUN, False)
    assert (kept.action, kept.words, kept.at > clock.now()) == ("waits", "connect failure", True)


def test_runs_that_live_cost_no_question_of_their_own(monkeypatch):
    """One look at all of them; only those for which there is something to do are kept."""
    monkeypatch.setattr(watch, "lacks_links", lambda view, last: False)
    looks = [([view("running"), view("failed", HOUR)], [])]
    monkeypatch.setattr(watch.observe, "survey", lambda runs: looks.pop())
    live, failed = watch._seen([RUN, RUN])
    assert (live[1].action, failed[1], looks) == ("live", None, [])


def test_the_next_look_is_when_something_is_due_and_no_oftener_than_the_site_wants(monkeypatch):
    monkeypatch.setattr(watch, "poll_s", lambda run: 20.0)
    soon = {RUN.run_id: Kept("waits", "due", clock.now() + 3)}
    later = {RUN.run_id: Kept("waits", "due", clock.now() + 45)}
    assert watch._pause([RUN], soon) == 20.0
    assert 40 < watch._pause([RUN], later) <= 45
    assert watch._pause([RUN], {RUN.run_id: Kept("live", "running")}) == 20.0
