"""What counts as an interrupt: only what took work along that nobody could save."""

import pytest

from exa_cli.runs.interrupts import NO_INTERRUPTS, History, history
from exa_cli.runs.journal import Event
from exa_cli.spec.ends import CAUSES

NOW = ("009", 1)


class Story:
    """A journal in which every event comes 10 s after the one before."""

    def __init__(self):
        self.events = []

    def say(self, writer, kind, **fields):
        self.events.append(Event(10.0 * len(self.events), writer, 0, kind, fields))
        return self

    def rank(self, kind, attempt="001", life=1, of="cccc", **fields):
        return self.say(f"rank-{attempt}-{life}-{of}", kind, **fields)

    def ended(self, cause, attempt="001", life=1):
        return self.say(f"job-{attempt}-{life}-bbbb", "ended", cause=cause, evidence=[])

    def history(self, present=NOW):
        return history(self.events, *present)


def test_a_run_without_a_past_has_none():
    assert Story().history() == History(0, 0.0)


@pytest.mark.parametrize("cause", CAUSES)
def test_only_an_end_that_came_by_itself_is_an_interrupt(cause):
    found = Story().rank("training", step=0).rank("committed", step=5).ended(cause).history()
    came = cause in (
        "preempted", "node-failure", "rank-failure", "out-of-memory", "hang", "unknown"
    )  # fmt: skip
    assert found == History(int(came), 20.0)


def test_every_cause_that_is_none_exists():
    assert set(CAUSES) > NO_INTERRUPTS


def test_whoever_saved_and_stopped_was_not_interrupted():
    found = Story().rank("training", step=0).rank("stopped", step=5).ended("preempted").history()
    assert found.interrupts == 0


def test_an_end_that_nobody_recorded_is_an_interrupt_unless_it_was_cancelled():
    story = Story().rank("training", step=0).rank("committed", step=1)
    assert story.history() == History(1, 10.0)
    assert story.say("login-aaaa", "cancelled", attempt="001").history().interrupts == 0


def test_a_life_that_never_trained_counts_for_nothing():
    assert Story().rank("loaded", step=0).ended("node-failure").history() == History(0, 0.0)


def test_ranks_that_were_started_again_in_a_life_were_interrupted_before():
    story = Story().rank("training", step=0).rank("committed", step=1)
    story.rank("training", of="dddd", step=1).rank("committed", of="dddd", step=9)
    assert story.ended("finished").history() == History(1, 30.0)
    assert story.history(present=("001", 1)) == History(1, 10.0), "the second is the present one"


def test_interrupts_add_up_over_attempts_and_lives_but_for_the_present_one():
    story = Story()
    for attempt, life in (("001", 1), ("001", 2), ("002", 1)):
        story.rank("training", attempt, life, step=0).ended("node-failure", attempt, life)
    story.rank("training", "003", 1, step=0)
    assert story.history(("003", 1)) == History(3, 30.0)
