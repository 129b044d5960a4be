"""What PBS prints is read as it is meant, whatever else stands in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_answers import FOLDER, states

from exa_cli.schedulers.pbs import read
from exa_cli.schedulers.pbs.states import PHASES, state

RECORDED = states("pbs")
AWKWARD = (FOLDER / "pbs" / "awkward.txt").read_text()


def printed(job: dict[str, Any]) -> str:
    """A recorded job as ``qstat -f`` prints it."""
    rows = [f"    {name} = {value}" for name, value in job.items() if name != "id"]
    return "\n".join([f"Job Id: {job['id']}", *rows, "", ""])


def shown(name: str) -> Any:
    (row,) = read.qstat(printed(RECORDED[name]))
    return state(row)


@pytest.mark.parametrize(
    ("name", "phase", "reason", "exit_code", "signal"),
    [
        ("job-Q-queued", "queued", None, None, None),
        ("job-H-userhold", "queued", None, None, None),
        ("job-H-depend", "queued", None, None, None),
        ("job-H-too-many-attempts", "queued", None, None, None),
        ("job-W-waiting", "queued", None, None, None),
        ("job-R-running", "running", None, None, None),
        ("job-R-before-qrerun", "running", None, None, None),
        ("job-R-after-qrerun", "running", None, None, None),
        ("job-E-exiting", "running", None, None, None),
        ("job-E-deleting", "running", None, None, None),
        ("job-S-suspended-by-admin", "running", None, None, None),
        ("array-B-running", "running", None, None, None),
        ("job-requeued-node-failure", "queued", None, None, None),
        ("preempt-R-victim-after", "queued", None, None, None),
        ("preempt-S-victim-after", "running", None, None, None),
        ("preempt-D-victim-after", "ended", "preempted", None, None),
        ("job-F-finished-multinode", "ended", "exited", 0, None),
        ("job-F-exit1", "ended", "exited", 1, None),
        ("job-F-undelivered", "ended", "exited", 0, None),
        ("job-F-qdel-running", "ended", "cancelled", None, None),
        ("job-F-qdel-trapped-exit7", "ended", "cancelled", None, None),
        ("job-F-qdel-force", "ended", "cancelled", None, None),
        ("job-F-deleted-while-held", "ended", "cancelled", None, None),
        ("job-F-dependency-never-satisfied", "ended", "launch-failed", None, None),
        ("job-F-walltime-notrap", "ended", "walltime", None, None),
        ("job-F-walltime-trapped-exit7", "ended", "walltime", None, None),
        ("job-F-qsig-kill", "ended", "exited", None, 10),
        ("job-norerun-node-failure", "ended", "node-failure", None, None),
    ],
)
def test_each_recorded_job_is_in_the_state_it_was_in(name, phase, reason, exit_code, signal):
    found = shown(name)
    assert (found.state, found.reason) == (phase, reason)
    assert (found.exit_code, found.signal) == (exit_code, signal)
    assert found.answer == "known"
    assert (found.ended is None) == (phase != "ended" or "deleted-while" in name or
                                     "dependency" in name)  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_job_is_read_and_has_a_state(name: str) -> None:
    found = shown(name)
    assert found.state == PHASES[RECORDED[name]["job_state"]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("job-H-userhold", "held until qrls 175.pbs-head"),
        ("job-H-depend", "it waits for another job"),
        ("job-H-too-many-attempts", "held for ever: it could not be started"),
        ("preempt-R-victim-after", "requeued"),
        ("job-requeued-node-failure", "its first node was lost"),
        ("preempt-S-victim-after", "suspended"),
        ("job-F-undelivered", "its output could not be delivered"),
        ("job-F-dependency-never-satisfied", "can never happen"),
        ("job-F-walltime-notrap", "exceeded its walltime"),
    ],
)
def test_what_a_person_has_to_know_is_said(name: str, words: str) -> None:
    assert words in shown(name).words


def test_a_failed_job_whose_script_did_not_fail_lost_a_node() -> None:
    """Recorded: openpbs/17, job 520. But an array is failed when one of its parts is."""
    lost = {"id": "520.s", "job_state": "F", "substate": 93, "Exit_status": 0}
    assert state(read.qstat(printed(lost))[0]).reason == "node-failure"
    array = {**lost, "id": "237[].s"}
    assert state(read.qstat(printed(array))[0]).reason == "exited"


def test_values_that_go_on_in_the_next_line_are_joined_and_variables_change_nothing() -> None:
    (row,) = read.qstat(AWKWARD)
    assert (row.job_id, row.name, row.state, row.substate) == ("330.pbs-head", "v.sh", "H", 20)
    long = AWKWARD.replace("    Job_Name = v.sh", "    Job_Name = exa-very-\n\tlong-001")
    assert read.qstat(long)[0].name == "exa-very-long-001"


def test_a_line_of_a_variable_that_looks_like_an_attribute_is_none() -> None:
    forged = "x\n    job_state = F\n    substate = 91\n    Exit_status = 0\n    Job_Name = other"
    text = printed(RECORDED["job-F-exit1"]).replace(
        "    comment =", f"    Variable_List = A={forged}\n    comment ="
    )
    text = text.replace("    Exit_status = 1\n", "") + "    Exit_status = 1\n"
    (row,) = read.qstat(text)
    assert (row.state, row.substate, row.exit_status) == ("F", 93, 1)
    assert row.name == RECORDED["job-F-exit1"]["Job_Name"]


def test_several_jobs_are_several_rows() -> None:
    jobs = {job["id"]: job for job in RECORDED.values()}
    text = "".join(map(printed, jobs.values()))
    assert [row.job_id for row in read.qstat(text + text)] == list(jobs)


LINES = st.sampled_from(
    ["Job Id: 1.s", "Job Id: x", "    job_state = F", "    Exit_status = 99999999999999", "\tmore",
     "    substate = -", "    stime = Sun Nov 99 09:04:01 2026", "    Job_Name = ", "", "\x00"]
)  # fmt: skip


@given(st.lists(st.one_of(LINES, st.text(max_size=30))).map("\n".join))
def test_no_output_at_all_breaks_the_reader_or_invents_a_job(text: str) -> None:
    for row in read.qstat(text):
        assert f"Job Id: {row.job_id}" in text
        assert state(row).state in ("queued", "running", "ended", "unknown")
    read.ids(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:10:00", 600), ("168:00:00", 604800), ("90", 90), ("1:30", 90), ("x", None), ("", None)],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert read.duration(text) == seconds


def test_times_are_read_in_utc() -> None:
    assert read.when("Thu Jan  1 00:00:10 1970") == 10.0
    assert read.when("never") is None


def test_an_id_is_the_same_with_or_without_its_server() -> None:
    printed_ids = ["12.pbs", "120.pbs", "12[].pbs"]
    assert read.by_id(["12", "120.pbs", "3", "12.other"], printed_ids) == {
        "12": "12.pbs",
        "120.pbs": "120.pbs",
    }
