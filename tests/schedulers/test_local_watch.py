"""When a job is terminated and killed: the rows of the table in ``watch``."""

from __future__ import annotations

import pytest

from exa_cli.schedulers.local.watch import KILL_AGAIN, Action, Limits, Seen, next_action

LIMITS = Limits(walltime=100.0, kill_delay=10.0)
ENDLESS = Limits(walltime=None, kill_delay=10.0)


@pytest.mark.parametrize(
    ("limits", "seen", "action"),
    [
        (LIMITS, Seen(40.0), Action("wait", 60.0)),
        (ENDLESS, Seen(4e9), Action("wait", None)),
        (LIMITS, Seen(100.0), Action("terminate", reason="walltime")),
        (LIMITS, Seen(40.0, cancelled=True), Action("terminate", reason="cancelled")),
        (LIMITS, Seen(40.0, stopped=True), Action("terminate", reason="stopped")),
        (ENDLESS, Seen(40.0, stopped=True), Action("terminate", reason="stopped")),
        (LIMITS, Seen(103.0, terminated=100.0), Action("wait", 7.0)),
        (LIMITS, Seen(43.0, cancelled=True, terminated=40.0), Action("wait", 7.0)),
        (LIMITS, Seen(110.0, terminated=100.0), Action("kill", KILL_AGAIN)),
        (LIMITS, Seen(999.0, cancelled=True, terminated=100.0), Action("kill", KILL_AGAIN)),
    ],
)
def test_each_row(limits: Limits, seen: Seen, action: Action) -> None:
    assert next_action(limits, seen) == action


def test_a_cancel_is_never_recorded_as_a_walltime_that_may_be_continued() -> None:
    seen = Seen(100.0, cancelled=True, stopped=True)
    assert next_action(LIMITS, seen).reason == "cancelled"


def test_no_kill_delay_means_killed_at_once() -> None:
    at_once = Limits(walltime=100.0, kill_delay=0.0)
    assert next_action(at_once, Seen(100.0, terminated=100.0)).do == "kill"
