"""Submitting to PBS: refused with its words, tried again when that is safe, never twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fake_pbs import FakePbs
from hypothesis import given
from hypothesis import strategies as st
from recorded_answers import recorded
from scheduler_kit import pbs_on

from exa_cli.base.errors import NotFound, Refused, Unreachable
from exa_cli.schedulers.pbs import backend, outcome
from exa_cli.schedulers.pbs.backend import Pbs
from exa_cli.schedulers.types import NotSubmitted, Request, Settings

NAME = "exa-demo-1a2b-001"
ANSWERS = recorded("commands.jsonl", "pbs")
QSUB = {name: answer for name, answer in ANSWERS.items() if answer.argv[0] == "qsub"}


def script(body: str = "", name: str = NAME) -> str:
    return f"#!/bin/bash\n#PBS -N {name}\n{body}exit 0\n"


def request(tmp_path: Path, body: str = "", name: str = NAME) -> Request:
    return Request(name=name, script=script(body, name), workdir=tmp_path)


def names(fake: FakePbs) -> list[str]:
    return [job["name"] for job in fake.all()]


@pytest.fixture
def held(fake_pbs: FakePbs) -> FakePbs:
    fake_pbs.hold()
    return fake_pbs


@pytest.mark.parametrize("name", QSUB)
def test_every_recorded_answer_of_qsub_is_understood(name: str) -> None:
    real = QSUB[name]
    found = outcome.submission(real.rc, real.stdout, real.stderr)
    if real.stdout:
        assert (found.kind, found.job_id) == ("accepted", real.stdout.strip())
    elif "cannot connect to server" in real.stderr or "pbs_iff" in real.stderr:
        assert found.kind == "not-sent"
    else:
        assert (found.kind, bool(found.words)) == ("refused", True)
        assert "\nusage:" not in found.words


@pytest.mark.parametrize("name", ANSWERS)
def test_only_a_server_that_did_not_answer_is_not_reached(name: str) -> None:
    real = ANSWERS[name]
    silent = any(s in real.stderr for s in ("onnect to", "Unknown Host", "pbs_iff"))
    assert outcome.unreached(real.rc, real.stderr) == (silent and real.rc != 0)


@pytest.mark.parametrize(
    ("code", "out", "err", "kind"),
    [
        (1, "", "qsub: Premature end of message", "open"),
        (255, "", "qsub: End of File", "open"),
        (0, "", "", "open"),
        (-9, "", "", "open"),
        (1, "", "", "open"),
        (0, "A site's own message\n12.pbs-1\n", "", "accepted"),
        (1, "12.pbs-1\n", "qsub: End of File", "accepted"),
        (0, "12\n", "", "open"),
    ],
)
def test_what_may_have_arrived_is_open(code: int, out: str, err: str, kind: str) -> None:
    assert outcome.submission(code, out, err).kind == kind


@given(st.integers(-64, 255), st.text(), st.text())
def test_only_a_printed_id_is_an_accepted_job(code: int, out: str, err: str) -> None:
    found = outcome.submission(code, out, err)
    assert (found.kind == "accepted") == bool(found.job_id)
    assert found.job_id in out


def test_an_accepted_script_is_one_job_and_no_helper_is_left(held, tmp_path) -> None:
    pbs = pbs_on(held)
    done = pbs.submit(request(tmp_path))
    assert (done.message, names(held)) == ("", [NAME])
    assert pbs.find(NAME) == [done.job_id] == ["1.pbs-head"]
    assert held.calls()[0] == ["qsub", "-f"]


def test_no_variable_of_the_user_changes_what_is_a_directive(held, tmp_path) -> None:
    odd = {"PBS_DPREFIX": "#XXX", "EXA_TAG": "another-run", "EXA_RUN_DIR": "/x",
           "PBS_SERVER": "pbs-2", "TZ": "Asia/Tokyo", "KEPT": "1"}  # fmt: skip
    pbs = Pbs(Settings(env={**held.env, **odd}))
    job = pbs.submit(request(tmp_path)).job_id
    pbs.query([job])
    (submitted,) = held.environments("qsub")
    assert not {"PBS_DPREFIX", "EXA_TAG", "EXA_RUN_DIR"} & set(submitted)
    assert (submitted["PBS_SERVER"], submitted["TZ"], submitted["KEPT"]) == (
        "pbs-2", "Asia/Tokyo", "1",
    )  # fmt: skip
    assert {env["TZ"] for env in held.environments("qstat")} == {"UTC"}
    assert pbs.shared_as() == "pbs-2"


@pytest.mark.parametrize("value", ["a,b", "a'b", 'a"b', "a\\b", "a\nb"])
def test_a_variable_that_pbs_would_mangle_is_refused(held, tmp_path, value: str) -> None:
    asked = Request(name=NAME, script=script(), workdir=tmp_path, environment=(("A", value),))
    with pytest.raises(Refused, match="would change the value of A"):
        pbs_on(held).submit(asked)
    assert held.calls() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("queue", "Unknown queue"),
        ("limits", "violates queue and/or server resource limits"),
        ("hook", "Please give a valid account"),
    ],
)
def test_a_refusal_is_shown_in_pbs_s_words_and_not_repeated(held, tmp_path, fault, words) -> None:
    held.fault("qsub", fault)
    with pytest.raises(Refused, match=words) as caught:
        pbs_on(held, retry_s=60).submit(request(tmp_path))
    assert (caught.value.code, held.count("qsub"), held.all()) == (4, 1, [])


def test_a_server_that_is_down_has_no_job(held, tmp_path) -> None:
    held.fault("qsub", "down")
    with pytest.raises(NotSubmitted, match="cannot connect to server"):
        pbs_on(held).submit(request(tmp_path))
    assert held.all() == []


def test_what_passes_is_tried_again(held, tmp_path, capsys) -> None:
    held.fault("qsub", "down", "none")
    job = pbs_on(held, retry_s=60).submit(request(tmp_path)).job_id
    assert (held.count("qsub"), names(held)) == (2, [NAME])
    assert pbs_on(held).find(NAME) == [job]
    assert "trying again" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["torn+job", "quiet+job", "torn+late"])
def test_a_job_that_was_made_without_an_answer_is_found_even_when_it_comes_late(
    held, tmp_path, fault
) -> None:
    """Recorded: 40 qsub killed after some milliseconds printed 8 ids and made 14 jobs."""
    held.fault("qsub", fault)
    done = pbs_on(held, retry_s=60).submit(request(tmp_path))
    assert "the job is there" in done.message
    assert (held.count("qsub"), [job["id"] for job in held.all()]) == (1, [done.job_id[:-9]])


def test_a_qsub_that_hangs_is_ended_and_its_job_found(held, tmp_path) -> None:
    held.fault("qsub", "hang+job")
    done = pbs_on(held, retry_s=60, timeout_s=1).submit(request(tmp_path))
    assert (held.count("qsub"), done.job_id) == (1, "1.pbs-head")


def test_while_nobody_can_look_nothing_is_submitted_again(held, tmp_path) -> None:
    held.fault("qsub", "torn", "none")
    held.fault("qselect", "down")
    with pytest.raises(Unreachable, match="Premature end") as caught:
        pbs_on(held, retry_s=1).submit(request(tmp_path))
    assert not isinstance(caught.value, NotSubmitted)
    assert held.count("qsub") == 1


def test_after_doubt_a_refusal_is_no_proof(held, tmp_path) -> None:
    held.fault("qsub", "torn", "queue")
    with pytest.raises(Unreachable) as caught:
        pbs_on(held, retry_s=4).submit(request(tmp_path))
    assert not isinstance(caught.value, NotSubmitted)


def test_a_machine_without_pbs_says_what_is_missing(tmp_path) -> None:
    pbs = Pbs(Settings(env={"PATH": str(tmp_path)}))
    assert pbs.usable() == "not on the PATH: qsub, qstat, qselect, qdel"
    with pytest.raises(NotSubmitted):
        pbs.submit(request(tmp_path))


@pytest.mark.parametrize("name", ["a/b", "a,b", "a b", "-a", "1a", "a" * 231, "", "a\nb", "$(id)"])
def test_a_name_that_pbs_does_not_take_is_refused(held, tmp_path, name: str) -> None:
    with pytest.raises(Refused):
        pbs_on(held).submit(Request(name=name, script=script(name=name), workdir=tmp_path))
    assert held.calls() == []


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/bash\ntrue\n",
        f"#!/bin/bash\n#PBS -N {NAME}x\n",
        f"#!/bin/bash\ntrue\n#PBS -N {NAME}\n",
        f"#!/bin/bash\n#PBS -N {NAME}\n#PBS -N last-one-wins\n",
    ],
)
def test_a_script_of_another_name_is_refused(held, tmp_path, text: str) -> None:
    with pytest.raises(Refused, match="names its job"):
        pbs_on(held).submit(Request(name=NAME, script=text, workdir=tmp_path))


def test_directives_that_pbs_ignores_are_pointed_out(held, tmp_path) -> None:
    done = pbs_on(held).submit(request(tmp_path, "true\n#PBS -l walltime=3\n"))
    assert "line 4" in done.message


def test_an_accepted_id_that_nobody_knows_later_is_unknown_and_not_ended(held, tmp_path) -> None:
    """Recorded: a routing queue without a fitting destination takes a job and forgets it."""
    job = held.plant("Q", known=False)
    state = pbs_on(held).query([job])[job]
    assert (state.state, state.answer) == ("unknown", "not-found")
    assert state.words == "PBS does not know the job"


def test_all_jobs_are_asked_about_at_once_and_each_gets_its_own_answer(held) -> None:
    jobs = {held.plant(state): state for state in "QRFH" for _ in range(250)}
    gone = held.plant("R", known=False)
    found = pbs_on(held).query([*jobs, gone, "nonsense"])
    assert held.count("qstat") == 1
    phases = {"Q": "queued", "H": "queued", "R": "running", "F": "ended"}
    assert {job: state.state for job, state in found.items() if job in jobs} == {
        job: phases[state] for job, state in jobs.items()
    }
    assert {found[gone].answer, found["nonsense"].answer} == {"not-found"}


def test_without_a_history_an_ended_job_is_unknown_and_a_live_one_is_not(held) -> None:
    held.no_history()
    live, ended = held.plant("R", NAME), held.plant("F", NAME, exit_status=0, obit=1.0)
    pbs = pbs_on(held)
    found = pbs.query([live, ended])
    assert found[live].state == "running"
    assert (found[ended].answer, "keeps no ended jobs" in found[ended].words) == ("not-found", True)
    assert pbs.find(NAME) == [live]


@pytest.mark.parametrize("fault", ["down", "hang"])
def test_a_server_that_does_not_answer_has_said_nothing(held, fault: str) -> None:
    job = held.plant("R")
    held.fault("qstat", fault)
    with pytest.raises(Unreachable):
        pbs_on(held, timeout_s=1).query([job])


def test_a_qstat_that_says_nothing_of_a_job_has_not_said_that_it_is_gone(held) -> None:
    job = held.plant("R")
    held.fault("qstat", "mute")
    assert pbs_on(held).query([job])[job].answer == "not-answered"


def test_a_name_is_looked_up_exactly(held) -> None:
    job, _ = held.plant("R", NAME), held.plant("R", NAME + "0")
    assert pbs_on(held).find(NAME) == [job]
    assert pbs_on(held).find("exa-other-001") == []


def test_somebody_else_s_job_cannot_be_cancelled(held) -> None:
    job = held.plant("R")
    held.fault("qdel", "denied")
    with pytest.raises(Refused, match="Unauthorized Request"):
        pbs_on(held).cancel(job)


def test_a_qdel_that_is_lost_is_sent_again(held, monkeypatch) -> None:
    """Recorded (openpbs/18): right after qsub, qdel exits 0 and the job runs on."""
    monkeypatch.setattr(backend, "_AGAIN_S", 0.0)
    job = held.plant("R", pid=None)
    held.fault("qdel", "lost", "none")
    pbs_on(held).cancel(job)
    assert held.count("qdel") == 2
    assert pbs_on(held).query([job])[job].reason == "cancelled"


def test_an_older_job_is_told_once_to_end(held) -> None:
    job = held.plant("R", created=0.0, pid=None)
    held.fault("qdel", "lost")
    pbs_on(held).cancel(job)
    assert held.count("qdel") == 1


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_that_would_end_the_job_is_not_sent(held, number) -> None:
    with pytest.raises(Refused):
        pbs_on(held).signal(held.plant("R"), number)
    assert held.count("qsig") == 0


def test_what_is_no_id_reaches_no_command(held) -> None:
    for job in ("", "-x", "1; id", "a", "1.-x"):
        with pytest.raises(NotFound):
            pbs_on(held).cancel(job)
    assert held.calls() == []
