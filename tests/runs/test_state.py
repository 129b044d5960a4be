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


def link(story, attempt, job=None):
    """An attempt that exa queued ahead of another's end."""
    story.login("intent", attempt, tag=f"exa-r-{attempt}", nodes=2, by="policy")
    return story.login("accepted", attempt, job_id=job or f"job-{attempt}", ahead=True)


RESUBMIT = {"action": "resubmit", "reason": "walltime", "wait_s": 0.0, "back": False}


def test_an_end_that_exa_means_to_follow_up_is_no_failure():
    story = Story().accepted().job("life").job("ended", cause="walltime", then=RESUBMIT)
    assert story.fold().state == "resubmitting"
    stopped = Story().accepted().job("life").job("ended", cause="hang", then={"action": "stop"})
    assert stopped.fold().state == "failed"


def test_a_life_that_another_follows_in_the_same_allocation_does_not_end_its_attempt():
    story = Story().accepted().job("life")
    story.job("ended", cause="rank-failure", then={"action": "relaunch", "reason": "r"})
    assert story.fold(_001=Observed("running")).state == "running"
    ended = story.fold(_001=Observed("ended", cause="node-failure"))
    assert (ended.state, ended.cause) == ("failed", "node-failure")


def test_a_decision_made_on_the_login_node_counts_where_the_supervisor_left_none():
    story = Story().accepted().job("life").login("decided", then=RESUBMIT)
    folded = story.fold(_001=Observed("ended", cause="unknown"))
    assert folded.state == "resubmitting"


def test_the_next_is_due_at_one_time_though_nobody_knows_when_the_last_ended():
    """Else it would be due a little later whenever somebody looks, and never begin."""
    story = Story().accepted().job("life").login("decided", then=RESUBMIT)
    last = story.fold(_001=Observed("ended", cause="unknown")).current
    assert last.ended is None and last.due(5.0, now=100.0) == last.due(5.0, now=200.0) == 8.0
    known = story.fold(_001=Observed("ended", cause="unknown", ended=2.5)).current
    assert known.due(5.0, now=100.0) == 7.5
    undecided = Story().accepted().job("life").fold(_001=Observed("ended", cause="unknown"))
    assert undecided.current.due(5.0, now=100.0) == 105.0


def test_jobs_queued_ahead_do_not_hide_the_one_that_runs_or_how_it_ended():
    story = link(Story().accepted().job("life"), "002")
    assert story.fold(_001=Observed("running"), _002=Observed("queued")).state == "running"
    story.job("ended", cause="hang", then={"action": "stop", "reason": "r"})
    waiting = story.fold(_002=Observed("queued"))
    assert waiting.state == "queued" and waiting.current.attempt == "002"
    story.login("withdrawn", "002", reason="the run had ended before")
    folded = story.fold()
    assert (folded.state, folded.cause, folded.current.attempt) == ("failed", "hang", "001")
    assert folded.attempts[1].evidence == ("the run had ended before",)


def test_a_job_queued_ahead_that_found_nothing_to_do_is_no_attempt_that_counts():
    story = link(Story().accepted().job("life"), "002")
    story.job("ended", cause="finished", then={"action": "nothing"}).say("rank-001-1-c", "done")
    story.job("needless", "002", reason="the run is done")
    folded = story.fold(_002=Observed("ended", cause="unknown"))
    assert (folded.state, folded.attempts[1].lives) == ("done", 0)


def test_a_scheduler_that_exa_could_not_reach_for_the_next_attempt_is_tried_again():
    story = Story().accepted().job("life").job("ended", cause="walltime", then=RESUBMIT)
    story.login("intent", "002", tag="t", by="policy")
    story.login("refused", "002", message="no route", reached=False)
    assert story.fold().state == "resubmitting"
    story.login("intent", "003", tag="t", by="policy")
    story.login("refused", "003", message="no such queue", reached=True)
    assert (story.fold().state, story.fold().cause) == ("failed", "submit-refused")


def test_a_cancel_holds_for_the_attempt_that_exa_was_just_handing_in():
    story = Story().accepted().job("life").job("ended", cause="walltime", then=RESUBMIT)
    story.login("cancelled", "001").login("intent", "002", tag="t", by="policy")
    assert state.was_cancelled(story.events, "002")
    story.login("intent", "003", tag="t")
    assert not state.was_cancelled(story.events, "003")
    assert state.was_cancelled(story.events, "001")
