"""A run's history from its journal: what counts as progress, and since when failures count."""

from exa_cli.policy import history
from exa_cli.runs.journal import Event


class Story:
    """A journal in the making; one second passes between two events."""

    def __init__(self):
        self.events = []

    def say(self, writer, kind, **fields):
        self.events.append(Event(float(len(self.events)), writer, 0, kind, fields))
        return self

    def handed_in(self, attempt, by="user"):
        return self.say("login-aaaa", "intent", attempt=attempt, nodes=2, by=by)

    def life(self, attempt, number, *kept, cause=None, **ended):
        role = f"{attempt}-{number}"
        self.say(f"job-{role}-bb", "life").say(f"rank-{role}-cc", "training", step=0)
        for step in kept:
            self.say(f"rank-{role}-cc", "committed", step=step)
        if cause:
            self.say(f"job-{role}-bb", "ended", cause=cause, **ended)
        return self

    def tries(self, **causes):
        return history.read(self.events, {k.strip("_"): v for k, v in causes.items()}).tries


def test_progress_is_a_step_beyond_all_that_were_kept_before():
    story = Story().handed_in("001").life("001", 1, 5, 10, cause="hang")
    story.life("001", 2, 5, 10, cause="hang").life("001", 3, 15, cause="hang")
    assert [t.progress for t in story.tries()] == [True, False, True]


def test_a_life_without_a_last_word_ended_as_the_scheduler_says_or_nobody_knows():
    story = Story().handed_in("001").life("001", 1, 5)
    assert story.tries()[0].cause == "unknown"
    assert story.tries(_001="node-failure")[0].cause == "node-failure"


def test_an_attempt_that_never_began_a_life_counts_as_one():
    (found,) = Story().handed_in("001").tries(_001="launch-failed")
    assert (found.cause, found.progress, found.life) == ("launch-failed", False, 0)


def test_nothing_counts_that_was_before_the_user_last_handed_the_run_in():
    story = Story().handed_in("001").life("001", 1, cause="hang")
    story.handed_in("002", "policy").life("002", 1, cause="hang")
    assert [t.attempt for t in story.tries()] == ["001", "002"]
    story.handed_in("003").life("003", 1, cause="hang")
    assert [t.attempt for t in story.tries()] == ["003"]


def test_node_hours_count_from_the_beginning_by_what_each_life_took():
    story = Story().handed_in("001").life("001", 1, 5, cause="hang").handed_in("002")
    story.life("002", 1, cause="hang")
    assert history.read(story.events).node_hours == (3 + 2) * 2 / 3600


def test_a_life_that_ended_itself_at_once_is_none():
    story = Story().handed_in("001").life("001", 1, 5, cause="hang")
    story.say("job-001-2-dd", "twin", accepted="8").say("job-001-3-dd", "needless", reason="done")
    assert len(story.tries()) == 1


def test_a_life_after_a_decision_to_go_back_is_known_as_one():
    story = Story().handed_in("001").life("001", 1, 5, cause="hang", then={"back": True})
    story.life("001", 2, cause="hang")
    assert [t.back for t in story.tries()] == [False, True]


def test_a_program_of_the_users_own_tells_its_progress_by_its_metrics_or_not_at_all():
    story = Story().handed_in("001").life("001", 1, cause="walltime", step=40, own_program=True)
    story.life("001", 2, cause="walltime", step=40, own_program=True)
    story.life("001", 3, cause="walltime", step=None, own_program=True)
    assert [t.progress for t in story.tries()] == [True, False, None]
