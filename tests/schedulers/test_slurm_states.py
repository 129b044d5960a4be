"""Slurm's words for states, and its exit codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_answers import states as recorded_states

from exa_cli.schedulers.slurm import states
from exa_cli.schedulers.slurm.states import Code

EXPECTED = {
    "PENDING": ("queued", None),
    "CONFIGURING": ("queued", None),
    "REQUEUED": ("queued", None),
    "REQUEUE_HOLD": ("queued", None),
    "SPECIAL_EXIT": ("queued", None),
    "RUNNING": ("running", None),
    "COMPLETING": ("running", None),
    "RESIZING": ("running", None),
    "SUSPENDED": ("running", None),
    "COMPLETED": ("ended", "exited"),
    "FAILED": ("ended", "exited"),
    "CANCELLED": ("ended", "cancelled"),
    "CANCELLED by 15001": ("ended", "cancelled"),
    "TIMEOUT": ("ended", "walltime"),
    "DEADLINE": ("ended", "walltime"),
    "PREEMPTED": ("ended", "preempted"),
    "NODE_FAIL": ("ended", "node-failure"),
    "BOOT_FAIL": ("ended", "node-failure"),
    "OUT_OF_MEMORY": ("ended", "out-of-memory"),
    "REVOKED": ("unknown", None),
    "A_WORD_OF_TOMORROW": ("unknown", None),
}


@pytest.mark.parametrize("word", EXPECTED)
def test_each_word_means(word: str) -> None:
    meaning = states.meaning(word)
    assert (meaning.phase, meaning.reason) == EXPECTED[word]


def test_every_state_that_was_recorded_is_in_the_table() -> None:
    lines = [
        line.split("|")[1]
        for seen in recorded_states().values()
        for source in ("squeue", "sacct")
        for line in seen[source][1:]
    ]
    assert {states.word(state) for state in lines} <= set(states.TABLE)
    assert "COMPLETING" in lines


def test_an_end_after_which_slurm_may_go_on_is_not_final() -> None:
    open_ends = {word for word, m in states.TABLE.items() if not m.final}
    assert open_ends == {
        "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "RECONFIG_FAIL", "LAUNCH_FAILED",
    }  # fmt: skip
    assert all(states.TABLE[word].phase == "ended" for word in open_ends)


@given(st.text())
def test_no_other_word_is_ever_an_end(text: str) -> None:
    known = states.word(text) in states.TABLE
    assert known or states.meaning(text).phase == "unknown"


def test_accounting_cannot_tell_137_from_9() -> None:
    exact, lost = states.code("137:0", exact=True), states.code("9:0", exact=False)
    assert exact == Code(137, 0)
    assert lost is not None
    assert (lost.certain, lost.text) == (False, "exit 9, or 137")
    assert states.code("0:9", exact=False) == Code(0, 9, exact=False)
    assert states.end_signal(states.code("0:9", exact=False)) == 9


@pytest.mark.parametrize("code", ["0:125", "0:53", "0:0", "3:0"])
def test_these_are_no_signals(code: str) -> None:
    assert states.end_signal(states.code(code, exact=True)) is None


def test_only_a_missing_output_file_is_a_failed_launch() -> None:
    """Slurm's own Reason is JobLaunchFailure for every script that a signal ended."""
    assert states.reason("FAILED", Code(0, states.NO_OUTPUT)) == "launch-failed"
    assert states.reason("FAILED", Code(0, 9)) == "exited"
    assert states.reason("FAILED", None) == "exited"


@given(st.text() | st.from_regex(r"\d*:\d*", fullmatch=True))
def test_what_is_no_exit_code_is_none(text: str) -> None:
    found = states.code(text, exact=True)
    assert found is None or text == f"{text.partition(':')[0]}:{text.partition(':')[2]}"
    assert found is None or (0 <= found.exit < 1000 and 0 <= found.signal < 1000)
