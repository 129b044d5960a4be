"""The fold: unknown is never gone, older lives end nothing, a cancel is not a failure."""

from exa_cli.runs import state
from exa_cli.runs.journal import Event
from exa_cli.runs.state import Observed


class Story:
    """A journal in the making."""

    def __init__(self):
        self.events = []

    def say(self, writer, kind, **fields):
        self.events.append(Event(float(len(self.events)), writer, 0, kind, fields))
        return self

    def login(self, kind, attempt="001", **fields):
        return self.say("login-aaaa", kind, attempt=attempt, **fields)

    def accepted(self, attempt="001"):
        self.login("intent", attempt, tag=f"exa-r-{attempt}", nodes=2)
        return self.login("accepted", attempt, job_id=f"job-{attempt}")

    def job(self, kind, attempt="001", life=1, **fields):
        return self.say(f"job-{attempt}-{life}-bbbb", kind, **fields)

    def rank(self, kind, attempt="001", life=1, **fields):
        return self.say(f"rank-{attempt}-{life}-cccc", kind, **fields)

    def fold(self, progress=0, **observed):
        seen = {name.strip("_"): value for name, value in observed.items()}
        return state.fold("r-0000", 100, self.events, seen, progress)


def test_a_scheduler_that_was_not_asked_leaves_the_state_unknown():
    assert Story().accepted().fold().state == "unknown"


def test_a_scheduler_that_does_not_know_leaves_the_state_unknown():
    folded = Story().accepted().fold(_001=Observed("unknown", source="spool"))
    assert folded.state == "unknown" and folded.attempts[0].source == "spool"


def test_an_intent_without_an_answer_is_unknown_and_has_no_job():
    folded = Story().login("intent", tag="exa-r-001").fold()
    assert folded.state == "unknown" and folded.attempts[0].job_id is None


def test_a_refused_submission_has_failed_with_the_schedulers_words():
    folded = Story().login("intent", tag="t").login("refused", message="no such queue").fold()
    assert (folded.state, folded.cause) == ("failed", "submit-refused")
    assert folded.attempts[0].evidence == ("no such queue",)


def test_an_older_lifes_end_does_not_end_a_job_that_started_again():
    story = Story().accepted().job("life").job("ended", cause="preempted", evidence=["x"])
    story.job("life", life=2)
    assert story.fold(_001=Observed("running")).state == "running"


def test_a_late_twin_is_no_life_of_the_attempt():
    story = Story().accepted().job("life").job("ended", cause="rank-failure", evidence=["x"])
    story.job("twin", life=2, accepted="job-001")
    folded = story.fold(_001=Observed("running"))
    assert (folded.state, folded.attempts[0].lives) == ("failed", 1)


def test_the_supervisors_word_wins_over_a_scheduler_that_lags():
    story = Story().accepted().job("life").job("ended", cause="rank-failure", evidence=["x"])
    folded = story.fold(_001=Observed("running"))
    assert (folded.state, folded.cause) == ("failed", "rank-failure")


def test_a_job_that_ended_without_a_word_has_the_policys_reading():
    seen = Observed("ended", cause="walltime", evidence=("the scheduler says: walltime",))
    folded = Story().accepted().job("life").fold(_001=seen)
    assert (folded.state, folded.cause) == ("failed", "walltime")


def test_done_waits_until_the_job_has_ended():
    story = Story().accepted().job("life").rank("done", step=100)
    assert story.fold(_001=Observed("running")).state == "running"
    assert story.fold(_001=Observed("ended")).state == "done"


def test_a_cancel_is_not_a_failure_even_when_ranks_failed_by_it():
    story = Story().accepted().job("life").login("cancelled")
    story.job("ended", cause="rank-failure", evidence=["x"])
    assert story.fold().state == "cancelled"


def test_an_attempt_after_a_cancel_is_judged_by_itself():
    story = Story().accepted().login("cancelled").accepted("002")
    assert story.fold(_002=Observed("running")).state == "running"


def test_steps_are_the_furthest_that_anyone_reached():
    story = Story().accepted().job("life").rank("loaded", step=10).rank("committed", step=20)
    folded = story.fold(progress=23, _001=Observed("running"))
    assert (folded.step, folded.attempts[0].first_step, folded.attempts[0].last_step) == (
        23,
        11,
        20,
    )


def test_a_run_without_any_event_is_unknown():
    assert state.fold("r", 10, [], {}).state == "unknown"
