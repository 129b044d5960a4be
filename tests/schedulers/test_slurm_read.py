"""Readers of Slurm's text: what was recorded, and whatever else a command may print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_answers import recorded, states

from exa_cli.base.errors import Unreachable
from exa_cli.schedulers.slurm import chain, read
from exa_cli.schedulers.slurm.chain import Heard, Sources
from exa_cli.schedulers.slurm.read import Unreadable
from exa_cli.schedulers.types import JobState

STATES = states()
QUESTIONS = recorded("questions.jsonl")
SQUEUE_HEADER = "JOBID|STATE|START_TIME|END_TIME|REASON\n"
SACCT_HEADER = "JobID|State|ExitCode|Start|End\n"


def table(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def only(rows: list[read.Row]) -> read.Row:
    (row,) = read.by_job(rows).values()
    return row


@pytest.mark.parametrize("name", STATES)
def test_all_three_commands_of_a_recorded_state_are_read(name: str) -> None:
    seen = STATES[name]
    queue = only(read.squeue(table(seen["squeue"])))
    control = only(read.scontrol(table(seen["scontrol"])))
    kept = read.by_job(read.sacct(table(seen["sacct"])))
    # Accounting may not have heard of a job that waits.
    assert set(kept) <= {queue.job_id}
    assert kept or queue.state == "PENDING"
    assert queue.job_id == control.job_id
    assert (queue.state, queue.started) == (control.state, control.started)
    assert queue.ended == control.ended


def answer(name: str) -> JobState:
    seen = STATES[name]
    queue = read.by_job(read.squeue(table(seen["squeue"])))
    kept = read.by_job(read.sacct(table(seen["sacct"])))
    (job,) = queue
    return chain.answer(job, Sources(Heard(queue), Heard(kept)))


ANSWERS = {
    "RUNNING": ("running", None, None, None),
    "RUNNING-restarted": ("running", None, None, None),
    "SUSPENDED": ("running", None, None, None),
    "HET-running": ("running", None, None, None),
    "PENDING-JobArrayTaskLimit": ("running", None, None, None),  # one task of the array runs
    "COMPLETING-cancelled": ("running", None, None, None),
    "COMPLETING-requeue": ("running", None, None, None),
    "PENDING-requeued-BeginTime": ("queued", None, None, None),
    "PENDING-Priority": ("queued", None, None, None),
    "REQUEUE_HOLD": ("queued", None, None, None),
    "SPECIAL_EXIT": ("queued", None, None, None),
    "COMPLETED": ("ended", "exited", 0, None),
    "HET-completed": ("ended", "exited", 0, None),
    "COMPLETED-step-failed": ("ended", "exited", 0, None),
    "FAILED-exit3": ("ended", "exited", 3, None),
    "FAILED-kill9": ("ended", "exited", None, 9),
    "FAILED-segv": ("ended", "exited", None, 11),
    "FAILED-no-output-dir": ("ended", "launch-failed", None, None),
    "OUT_OF_MEMORY-survived": ("ended", "out-of-memory", None, None),
    "OUT_OF_MEMORY-step": ("ended", "exited", 0, None),
    "TIMEOUT-script-traps-TERM": ("ended", "walltime", None, None),
    "DEADLINE": ("ended", "walltime", None, None),
    "CANCELLED-pending": ("ended", "cancelled", None, None),
    "CANCELLED-by-root": ("ended", "cancelled", None, None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_recorded_job_is(name: str) -> None:
    state = answer(name)
    assert (state.state, state.reason, state.exit_code, state.signal) == ANSWERS[name]
    assert state.answer == "known"


@pytest.mark.parametrize("name", STATES)
def test_nothing_that_slurm_may_go_on_with_is_an_end(name: str) -> None:
    live = name.startswith(("RUNNING", "PENDING", "COMPLETING", "SUSPENDED", "REQUEUE", "SPECIAL"))
    assert (answer(name).state == "ended") == (not live and name != "HET-running")


def test_times_are_seconds_since_the_epoch() -> None:
    state = answer("COMPLETED")
    assert (state.started, state.ended) == (1795340457.0, 1795340458.0)


def test_a_job_cancelled_in_the_queue_never_started() -> None:
    assert answer("CANCELLED-pending").started is None
    assert answer("CANCELLED-pending").ended is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PENDING-PartitionTimeLimit", "PENDING, PartitionTimeLimit: as it stands it will never"),
        ("PENDING-DependencyNeverSatisfied", "will never start"),
        ("REQUEUE_HOLD", "held until scontrol release 59"),
        ("SPECIAL_EXIT", "held until scontrol release 59"),
        ("PENDING-ReqNodeNotAvail", "PENDING, ReqNodeNotAvail, UnavailableNodes:node04"),
        ("FAILED-exit3", "FAILED, exit 3, or 131"),
        ("FAILED-no-output-dir", "FAILED, its output file could not be opened"),
        ("TIMEOUT", "TIMEOUT, TimeLimit"),
    ],
)
def test_people_are_told_what_slurm_says(name: str, words: str) -> None:
    assert words in str(answer(name).words)


def test_a_part_of_a_job_has_the_id_of_the_whole() -> None:
    lines = ["14_[2-5%2]|PENDING|N/A|N/A|None", "14_1|RUNNING|N/A|N/A|None"]
    assert set(read.by_job(read.squeue(SQUEUE_HEADER + table(lines)))) == {"14"}
    for name in ("08 sacct",):
        rows = QUESTIONS[name].stdout.splitlines()
        picked = ["|".join([*line.split("|")[:1], *line.split("|")[2:]]) for line in rows]
        assert set(read.by_job(read.sacct(table(picked)))) == {"14"}
    shown = read.scontrol(QUESTIONS["08 scontrol show job of the ended array"].stdout)
    assert {row.job_id for row in shown} == {"14"}


def test_one_living_part_keeps_a_job_alive() -> None:
    lines = ["7+0|COMPLETED|N/A|N/A|None", "7+1|RUNNING|N/A|N/A|None", "7+2|FAILED|N/A|N/A|None"]
    assert read.by_job(read.squeue(SQUEUE_HEADER + table(lines)))["7"].state == "RUNNING"
    assert read.by_job(read.squeue(SQUEUE_HEADER + table(lines[::2])))["7"].state == "FAILED"


@pytest.mark.parametrize("text", ["", "\n", "1|RUNNING|N/A|N/A|None\n", "{}", SQUEUE_HEADER[:-1]])
def test_without_its_header_a_table_is_no_answer(text: str) -> None:
    with pytest.raises(Unreadable):
        read.squeue(text)
    with pytest.raises(Unreadable):
        read.sacct(text)


def test_the_json_of_a_controller_that_is_down_is_no_answer() -> None:
    """Recorded: it says ``"jobs": []`` and exits 0."""
    said = QUESTIONS["02b controller down: squeue --json"]
    assert (said.rc, '"jobs": [' in said.stdout) == (0, True)
    for reader in (read.squeue, read.sacct, read.scontrol):
        with pytest.raises(Unreadable):
            reader(said.stdout)


def test_a_header_alone_is_an_answer() -> None:
    assert read.squeue(SQUEUE_HEADER) == []
    assert read.scontrol("No jobs in the system\n") == []


def test_what_a_sites_wrapper_prints_before_the_table_is_passed_over() -> None:
    text = f"Maintenance on Monday!\n{SQUEUE_HEADER}1|RUNNING|N/A|N/A|None\n"
    assert [row.job_id for row in read.squeue(text)] == ["1"]


@pytest.mark.parametrize(
    "line", ["1|RUNNING", "x|RUNNING|N/A|N/A|None", "1|running|N/A|N/A|None", "1|A B|N/A|N/A|x"]
)
def test_a_line_that_is_no_row_spoils_the_answer(line: str) -> None:
    """Leaving it out would make a job absent."""
    with pytest.raises(Unreadable):
        read.squeue(f"{SQUEUE_HEADER}2|RUNNING|N/A|N/A|None\n{line}\n")


def test_a_reason_may_hold_the_separator() -> None:
    row = only(read.squeue(f"{SQUEUE_HEADER}1|PENDING|N/A|N/A|a|b (c)\n"))
    assert row.why == "a|b (c)"


def test_a_name_is_found_whole_only() -> None:
    at = "RUNNING|2026-11-22T09:32:17"
    names = ["1|exa-a-001", "2|exa-a-0012", "3_4|exa-a-001", "3_5|exa-a-001", "5|a|exa-a-001"]
    lines = [name.replace("|", f"|{at}|", 1) for name in names]
    text = table(["JOBID|STATE|SUBMIT_TIME|NAME", *lines])
    assert read.named(text, "exa-a-001", 0.0, "squeue") == ["1", "3"]


def test_an_ended_job_of_an_earlier_run_of_the_name_is_not_ours() -> None:
    at = 1795339937.0  # 09:32:17
    lines = [f"{n}|{s}|2026-11-22T09:32:17|x" for n, s in enumerate(["FAILED", "RUNNING"], 1)]
    text = table(["JOBID|STATE|SUBMIT_TIME|NAME", *lines])
    assert read.named(text, "x", at, "squeue") == ["1", "2"]
    assert read.named(text, "x", at + 1, "squeue") == ["2"]


def test_a_comment_cannot_pass_for_a_state() -> None:
    line = (
        "JobId=1 JobName=x UserId=a(1) JobState=RUNNING Reason=None Dependency=(null) ExitCode=0:0 "
        "StartTime=Unknown EndTime=Unknown Comment=JobState=COMPLETED ExitCode=9:9"
    )
    row = only(read.scontrol(line + "\n"))
    assert (row.state, row.code and row.code.exit) == ("RUNNING", 0)


CELLS = st.sampled_from(
    ["1", "14_[2-5%2]", "7+1", "RUNNING", "COMPLETED", "CANCELLED by 0", "N/A", "Unknown", "0:9",
     "2026-11-22T09:32:17", "9999-99-99T99:99:99", "None", "", "|", "\n", "JobId=1", "JobState=",
     "JOBID|", SQUEUE_HEADER, SACCT_HEADER, " ", "ExitCode=1:0", "Reason=", "Dependency="]
)  # fmt: skip


@given(st.lists(CELLS | st.text(max_size=5)).map("|".join) | st.text())
def test_readers_raise_nothing_but_no_answer_and_invent_no_job(text: str) -> None:
    for head, reader in (
        ("", read.squeue),
        (SQUEUE_HEADER, read.squeue),
        (SACCT_HEADER, read.sacct),
        ("", read.scontrol),
    ):
        try:
            rows = reader(head + text)
        except Unreachable:
            continue
        for row in rows:
            assert row.job_id in text
            assert row.state in text


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.sampled_from(["RUNNING", "FAILED"]), st.text()))
)
def test_what_squeue_prints_is_what_is_read(jobs: list[tuple[int, str, str]]) -> None:
    plain = [(n, state, why.replace("\n", " ")) for n, state, why in jobs]
    text = SQUEUE_HEADER + "".join(f"{n}|{s}|N/A|N/A|{why}\n" for n, s, why in plain)
    rows = read.squeue(text)
    assert [(row.job_id, row.state) for row in rows] == [(str(n), s) for n, s, _ in plain]
