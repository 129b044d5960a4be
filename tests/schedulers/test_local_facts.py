"""A job's state from what was seen: the rows of the table in ``facts``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exa_cli.schedulers.local.facts import Ended, Facts, state

ENDED = Ended(at=200.0, reason="exited", exit_code=3, words="said")
UNATTENDED = Facts(claimed=True, started=100.0)


def test_not_seeing_a_job_of_another_machine_is_unknown_never_ended() -> None:
    found = state(replace(UNATTENDED, here=False, host="login02"))
    assert found.state == "unknown"
    assert found.words is not None
    assert "login02" in found.words


def test_a_job_without_a_runner_is_queued_never_lost() -> None:
    assert state(Facts(claimed=False)).state == "queued"


def test_processes_without_a_runner_still_run() -> None:
    found = state(replace(UNATTENDED, processes=2))
    assert (found.state, found.source, found.started) == ("running", "processes", 100.0)


@pytest.mark.parametrize("same_boot", [True, False])
def test_what_nobody_saw_end_has_no_exit_code(same_boot: bool) -> None:
    found = state(replace(UNATTENDED, same_boot=same_boot))
    assert (found.state, found.reason) == ("ended", "lost")
    assert (found.exit_code, found.signal, found.ended) == (None, None, None)


def test_a_pid_of_an_earlier_boot_does_not_make_a_job_run() -> None:
    found = state(replace(UNATTENDED, same_boot=False, processes=1))
    assert found.state == "ended"
    assert found.words == "the machine was restarted"


@pytest.mark.parametrize("same_boot", [True, False])
def test_a_lost_job_that_was_cancelled_is_cancelled(same_boot: bool) -> None:
    found = state(replace(UNATTENDED, cancelled=True, same_boot=same_boot))
    assert found.reason == "cancelled"


def test_a_runner_that_has_not_started_the_script_is_queued() -> None:
    found = state(Facts(claimed=True, runner_alive=True))
    assert (found.state, found.source) == ("queued", "runner")


def test_a_runner_with_a_started_script_is_running() -> None:
    found = state(Facts(claimed=True, runner_alive=True, started=100.0))
    assert (found.state, found.started) == ("running", 100.0)


def test_the_record_of_the_end_counts_whatever_else_is_seen() -> None:
    found = state(Facts(ended=ENDED, here=False, same_boot=False, started=100.0))
    assert (found.state, found.reason, found.exit_code) == ("ended", "exited", 3)
    assert (found.started, found.ended, found.words) == (100.0, 200.0, "said")
