"""What the sources say together: the table in chain.py, every row of it."""

from __future__ import annotations

import pytest

from exa_cli.schedulers.slurm import chain, states
from exa_cli.schedulers.slurm.chain import NO_ACCOUNTING, NOTHING, Heard, Sources
from exa_cli.schedulers.slurm.read import Row
from exa_cli.schedulers.slurm.states import TABLE, Code

DOWN = Heard(fault="connection refused")
NO_DBD = Heard(absent=True)


def has(state: str, code: Code | None = None) -> Heard:
    return Heard({"1": Row("1", state, code, 10.0, 20.0)})


@pytest.mark.parametrize("state", TABLE)
@pytest.mark.parametrize("sacct", [NOTHING, DOWN, NO_DBD, has("RUNNING"), has("NODE_FAIL")])
def test_what_the_controller_lists_is_as_it_says(state: str, sacct: Heard) -> None:
    """Also where accounting kept NODE_FAIL while the restarted job was RUNNING (recorded)."""
    said = chain.answer("1", Sources(has(state), sacct))
    assert (said.state, said.answer, said.source) == (TABLE[state].phase, "known", "squeue")


@pytest.mark.parametrize("state", TABLE)
def test_a_job_the_controller_forgot_ended_as_accounting_says(state: str) -> None:
    said = chain.answer("1", Sources(NOTHING, has(state)))
    if TABLE[state].phase == "ended":
        assert (said.state, said.reason, said.source) == ("ended", TABLE[state].reason, "sacct")
    else:
        # REQUEUED stays in accounting for ever when the controller lost the job.
        assert (said.state, said.answer) == ("unknown", "not-found")
        assert state in str(said.words)


@pytest.mark.parametrize("state", TABLE)
def test_without_the_controller_only_a_final_end_is_an_end(state: str) -> None:
    said = chain.answer("1", Sources(DOWN, has(state)))
    if TABLE[state].phase == "ended" and TABLE[state].final:
        assert (said.state, said.source) == ("ended", "sacct")
    else:
        assert (said.state, said.answer) == ("unknown", "not-answered")


def test_unknown_to_everyone_is_not_found_and_not_ended() -> None:
    said = chain.answer("1", Sources(NOTHING, NOTHING))
    assert (said.state, said.answer, said.reason) == ("unknown", "not-found", None)


def test_without_accounting_a_forgotten_job_is_not_found_and_says_why() -> None:
    said = chain.answer("1", Sources(NOTHING, NO_DBD))
    assert (said.state, said.answer) == ("unknown", "not-found")
    assert NO_ACCOUNTING in str(said.words)


@pytest.mark.parametrize(
    "sources", [Sources(DOWN, NOTHING), Sources(DOWN, DOWN), Sources(DOWN, NO_DBD),
                Sources(NOTHING, DOWN), Sources(NOTHING, NOTHING, DOWN)]
)  # fmt: skip
def test_silence_is_not_an_absence(sources: Sources) -> None:
    said = chain.answer("1", sources)
    assert (said.state, said.answer) == ("unknown", "not-answered")
    assert DOWN.fault in str(said.words)


def test_the_exact_exit_status_is_taken_where_there_is_one() -> None:
    lost = has("FAILED", Code(9, 0, exact=False))
    by_accounting = chain.answer("1", Sources(has("FAILED"), lost))
    assert (by_accounting.exit_code, by_accounting.words) == (9, "FAILED, exit 9, or 137")
    by_controller = chain.answer("1", Sources(has("FAILED"), lost, has("FAILED", Code(137, 0))))
    assert (by_controller.exit_code, by_controller.source) == (137, "scontrol")


def test_accounting_that_lags_gives_no_exit_status() -> None:
    said = chain.answer("1", Sources(has("FAILED"), has("RUNNING", Code(0, 0, exact=False))))
    assert (said.state, said.exit_code) == ("ended", None)


def test_half_a_record_of_accounting_is_no_end() -> None:
    """Seen while slurmdbd came back: ``26|FAILED|0:0|2026-11-25T23:21:28|Unknown``."""
    half = Heard({"1": Row("1", "FAILED", Code(0, 0, exact=False), 10.0, None)})
    assert chain.answer("1", Sources(DOWN, half)).answer == "not-answered"
    assert chain.answer("1", Sources(NOTHING, half)).answer == "not-found"
    assert chain.answer("1", Sources(has("FAILED"), half)).exit_code is None
    assert chain.for_scontrol(["1"], Sources(has("FAILED"), half)) == ["1"]


def test_only_what_is_missing_is_asked_for() -> None:
    queue = Heard({str(n): Row(str(n), s) for n, s in enumerate(["RUNNING", "FAILED"])})
    jobs = ["0", "1", "2", "3"]
    assert chain.for_accounting(jobs, queue) == ["1", "2", "3"]
    code = Code(3, 0, exact=False)
    kept = Heard({job: Row(job, "FAILED", code, 10.0, 20.0) for job in ("1", "2")})
    # 1 may be 3 or 131, and the controller can still tell; of 2 it cannot.
    assert chain.for_scontrol(jobs, Sources(queue, kept)) == ["1", "3"]
    assert chain.for_scontrol(jobs, Sources(DOWN, kept)) == []


@pytest.mark.parametrize("job", ["14_2", "14_[3-5]", "14+1", "14.batch", "14"])
def test_a_part_of_a_job_is_asked_for_as_the_whole(job: str) -> None:
    assert chain.whole(job) == "14"


def test_a_cancel_is_final_even_without_the_controller() -> None:
    assert states.meaning("CANCELLED by 0").final
