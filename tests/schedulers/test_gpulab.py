"""GPULab: one request, one job; the job that continues a halted one is that job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gpulab import FakeGpuLab
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import NotFound, Refused, Unreachable
from exa_cli.schedulers.gpulab import answers
from exa_cli.schedulers.gpulab.backend import GpuLab
from exa_cli.schedulers.types import NotSubmitted, Request, Settings

NAME = "exa-demo-1a2b-001"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeGpuLab]:
    yield FakeGpuLab(tmp_path / "service").install()


def on(service: FakeGpuLab, retry_s: float = 0.0, timeout_s: float = 20.0) -> GpuLab:
    return GpuLab(Settings({"retry_s": retry_s, "timeout_s": timeout_s}, service.env))


def request(tmp_path: Path, name: str = NAME) -> Request:
    return Request(name=NAME, script=json.dumps({"name": name}), workdir=tmp_path)


def test_an_accepted_request_is_one_job_and_is_found_by_its_name(service, tmp_path) -> None:
    lab = on(service)
    done = lab.submit(request(tmp_path))
    assert service.uuids() == [done.job_id] == lab.find(NAME)
    assert lab.find(NAME + "0") == []
    assert service.asked()[0] == "submit"


@pytest.mark.parametrize(
    ("fault", "words"), [("project", "No permission"), ("parse", "Could not parse")]
)
def test_a_refusal_is_shown_in_the_client_s_words(service, tmp_path, fault, words) -> None:
    service.fault("submit", fault)
    with pytest.raises(Refused, match=words):
        on(service, retry_s=60).submit(request(tmp_path))
    assert (service.uuids(), service.asked()) == ([], ["submit"])


def test_a_service_that_cannot_be_reached_has_no_job(service, tmp_path) -> None:
    service.fault("submit", "down")
    with pytest.raises(NotSubmitted, match="NewConnectionError"):
        on(service).submit(request(tmp_path))


@pytest.mark.parametrize("fault", ["timeout+job", "html+job"])
def test_a_job_that_was_made_without_an_answer_is_found(service, tmp_path, fault) -> None:
    service.fault("submit", fault)
    done = on(service, retry_s=60).submit(request(tmp_path))
    assert (service.uuids(), service.asked().count("submit")) == ([done.job_id], 1)


def test_while_nobody_can_look_nothing_is_submitted_again(service, tmp_path) -> None:
    service.fault("submit", "timeout", "none")
    service.fault("jobs", "timeout")
    with pytest.raises(Unreachable) as caught:
        on(service, retry_s=1).submit(request(tmp_path))
    assert not isinstance(caught.value, NotSubmitted)
    assert service.asked().count("submit") == 1


def test_a_request_of_another_name_or_form_reaches_no_service(service, tmp_path) -> None:
    for bad in (request(tmp_path, "other"), Request(name=NAME, script="x", workdir=tmp_path)):
        with pytest.raises(Refused):
            on(service).submit(bad)
    assert service.calls() == []


@pytest.mark.parametrize(
    ("status", "phase", "reason", "exit_code"),
    [
        ("ONHOLD", "queued", None, None),
        ("QUEUED", "queued", None, None),
        ("ASSIGNED", "queued", None, None),
        ("STARTING", "running", None, None),
        ("RUNNING", "running", None, None),
        ("MUSTHALT", "running", None, None),
        ("HALTING", "running", None, None),
        ("CANCELLING", "running", None, None),
        ("HALTED", "queued", None, None),
        ("FINISHED", "ended", "exited", 0),
        ("FAILED", "ended", "exited", None),
        ("CANCELLED", "ended", "cancelled", None),
        ("DELETED", "ended", "cancelled", None),
        ("SOMETHING", "unknown", None, None),
    ],
)
def test_each_status_of_the_service_is_a_state(service, status, phase, reason, exit_code) -> None:
    job = service.plant(status)
    found = on(service).query([job])[job]
    assert (found.state, found.reason, found.exit_code) == (phase, reason, exit_code)
    assert (found.ended is None) == (phase != "ended")


def test_a_halted_job_is_the_one_that_goes_on_with_it(service) -> None:
    first = service.plant("HALTED", NAME)
    lab = on(service)
    assert lab.query([first])[first].state == "queued"
    second = service.plant("HALTED", NAME, first=first, restarts=1)
    third = service.plant("RUNNING", NAME, first=first, restarts=2)
    found = lab.query([first])[first]
    assert (found.state, found.words) == ("running", "restarted 2 times")
    assert lab.find(NAME) == [first]
    lab.cancel(first)
    states = {job["uuid"]: job["status"] for job in service.all()}
    assert states == {first: "HALTED", second: "HALTED", third: "CANCELLED"}


def test_many_jobs_are_one_question_and_older_ones_are_asked_for_singly(service) -> None:
    jobs = [service.plant("RUNNING") for _ in range(100)]
    old = service.plant("FINISHED", listed=False)
    gone = service.plant("RUNNING", known=False)
    found = on(service).query([*jobs, old, gone, "nonsense"])
    assert service.asked() == ["jobs"] * 3
    assert {found[job].state for job in jobs} == {"running"}
    assert found[old].state == "ended"
    assert {found[gone].answer, found["nonsense"].answer} == {"not-found"}


@pytest.mark.parametrize("fault", ["down", "timeout", "html", "hang"])
def test_a_service_that_does_not_answer_has_said_nothing(service, fault) -> None:
    job = service.plant("RUNNING")
    service.fault("jobs", fault)
    with pytest.raises(Unreachable):
        on(service, timeout_s=1).query([job])


def test_what_nobody_knows_cannot_be_cancelled_and_nothing_can_be_signalled(service) -> None:
    for job in ("nonsense", "0" * 8 + "-0000-0000-0000-" + "0" * 12):
        with pytest.raises(NotFound):
            on(service).cancel(job)
    with pytest.raises(Refused, match="no signals"):
        on(service).signal(service.plant("RUNNING"), 15)


def test_what_is_missing_to_use_it_is_said(service, tmp_path) -> None:
    assert on(service).usable() is None
    bare = {k: v for k, v in service.env.items() if k != "GPULAB_CERT"}
    assert "GPULAB_CERT" in GpuLab(Settings({}, bare)).usable()
    assert "gpulab-cli" in GpuLab(Settings({}, {"PATH": str(tmp_path)})).usable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["uuid", "name", "state", "status", "restartInfo", "eventTimes", "created"]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_no_answer_breaks_the_reader_or_invents_a_job(raw: object) -> None:  # fmt: skip
    assert all(job.uuid in json.dumps(raw).lower() for job in answers.jobs(json.dumps(raw)) or [])
    assert answers.jobs(str(raw) + "{") is None
