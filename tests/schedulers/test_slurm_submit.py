"""Submitting to Slurm: refused with its words, tried again when that is safe, never twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from hypothesis import given
from hypothesis import strategies as st
from recorded_answers import recorded
from scheduler_kit import slurm_on

from exa_cli.base.errors import Refused, Unreachable
from exa_cli.schedulers.retry import Patience, pause
from exa_cli.schedulers.slurm import environment, head, outcome
from exa_cli.schedulers.slurm.backend import Slurm
from exa_cli.schedulers.types import NotSubmitted, Request, Settings

NAME = "exa-demo-1a2b-001"
SBATCH = recorded("sbatch.jsonl")
HELD = "#SBATCH --hold\n"


def script(body: str = HELD, name: str = NAME) -> str:
    return f"#!/bin/bash\n#SBATCH --job-name={name}\n{body}exit 0\n"


def request(tmp_path: Path, body: str = HELD, name: str = NAME) -> Request:
    return Request(name=name, script=script(body, name), workdir=tmp_path)


def names(fake: FakeSlurm) -> list[str]:
    return [job["name"] for job in fake.all()]


@pytest.mark.parametrize("name", SBATCH)
def test_every_recorded_answer_of_sbatch_is_understood(name: str) -> None:
    real = SBATCH[name]
    found = outcome.submission(real.rc, real.stdout, real.stderr)
    if "controller down" in name or "wrong SLURM_CONF" in name:
        assert found.kind == "not-sent"
    elif "--test-only" in name or name in ("01 quiet", "01 sbatch"):
        # No id was printed: nothing is concluded from that.
        assert found.kind == ("refused" if real.rc else "open")
    elif real.rc in (1, 255) and not real.stdout:
        assert (found.kind, bool(found.words)) == ("refused", True)
    else:
        assert (found.kind, found.job_id) == ("accepted", real.stdout.split(";")[0].strip())


@pytest.mark.parametrize(
    ("code", "err", "kind"),
    [
        (1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
         "open"),
        (1, "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(receive failure)", "open"),
        (1, "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
         "open"),
        (1, "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying.",
         "busy"),
        (1, "", "open"),
        (0, "", "open"),
        (-9, "", "open"),
        (127, "sbatch: not found", "open"),
    ],
)  # fmt: skip
def test_what_may_have_arrived_is_open(code: int, err: str, kind: str) -> None:
    assert outcome.submission(code, "", err).kind == kind


@given(st.integers(-64, 255), st.text(), st.text())
def test_only_a_printed_id_is_an_accepted_job(code: int, out: str, err: str) -> None:
    found = outcome.submission(code, out, err)
    assert (found.kind == "accepted") == bool(found.job_id)
    assert found.job_id in out


def test_an_accepted_script_is_one_job(fake: FakeSlurm, slurm: Slurm, tmp_path: Path) -> None:
    done = slurm.submit(request(tmp_path))
    assert (done.message, names(fake)) == ("", [NAME])
    assert slurm.find(NAME) == [done.job_id]
    assert fake.calls()[0] == ["sbatch", "--parsable"]


def test_no_variable_of_the_user_changes_a_submission(fake: FakeSlurm, tmp_path: Path) -> None:
    odd = {
        "SBATCH_PARTITION": "x", "SBATCH_TIMELIMIT": "1", "SLURM_JOB_NAME": "x",
        "SLURM_NTASKS": "3", "SLURM_CLUSTERS": "other", "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "CA", "SACCT_FORMAT": "jobid", "SCANCEL_STATE": "PENDING",
        "SLURM_TIME_FORMAT": "relative", "EXA_TAG": "another-run", "EXA_RUN_DIR": "/x",
        "SLURM_CONF": "/etc/here.conf", "TZ": "Asia/Tokyo", "KEPT": "1",
    }  # fmt: skip
    slurm = Slurm(Settings(env={**fake.env, **odd}))
    asked = Request(name=NAME, script=script(), workdir=tmp_path, environment=(("ASKED", "a b"),))
    job = slurm.submit(asked).job_id
    slurm.query([job])
    slurm.cancel(job)
    for command in ("sbatch", "squeue", "scontrol", "scancel"):
        for env in fake.environments(command):
            taken = set(odd) - {"SLURM_CONF", "TZ", "KEPT"}
            assert not taken & set(env)
            assert env["SLURM_CONF"] == "/etc/here.conf"
    (submitted,) = fake.environments("sbatch")
    assert (submitted["TZ"], submitted["KEPT"], submitted["ASKED"]) == ("Asia/Tokyo", "1", "a b")
    assert {env["TZ"] for env in fake.environments("squeue")} == {"UTC"}


VARIABLES = st.builds(
    "{}_{}".format, st.sampled_from(["SBATCH", "SLURM", "SQUEUE", "X"]), st.sampled_from("ABCD")
)


@given(st.dictionaries(VARIABLES, st.text()))
def test_of_slurms_variables_only_the_way_to_the_cluster_is_kept(env: dict[str, str]) -> None:
    kept = environment.of_submission(env, {})
    assert all(name.startswith("X_") or name in environment.KEPT for name in kept)
    assert {n for n in env if n.startswith("X_")} <= set(kept)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("partition", "invalid partition specified: nosuch"),
        ("option", "unrecognized option '--nosuch=1'"),
    ],
)
def test_a_refusal_is_shown_in_slurms_words_and_not_repeated(
    fake: FakeSlurm, tmp_path: Path, fault: str, words: str
) -> None:
    fake.fault("sbatch", fault)
    with pytest.raises(Refused, match=words) as caught:
        slurm_on(fake, retry_s=60).submit(request(tmp_path))
    assert (caught.value.code, fake.count("sbatch"), fake.all()) == (4, 1, [])


def test_a_controller_that_is_down_has_no_job(
    fake: FakeSlurm, slurm: Slurm, tmp_path: Path
) -> None:
    fake.fault("sbatch", "down")
    with pytest.raises(NotSubmitted, match="Unable to contact slurm controller"):
        slurm.submit(request(tmp_path))
    assert fake.all() == []


@pytest.mark.parametrize("fault", ["down", "busy"])
def test_what_passes_is_tried_again(
    fake: FakeSlurm, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.fault("sbatch", fault, "none")
    job = slurm_on(fake, retry_s=60).submit(request(tmp_path)).job_id
    assert (fake.count("sbatch"), names(fake)) == (2, [NAME])
    assert slurm_on(fake).find(NAME) == [job]
    assert "trying again" in capsys.readouterr().err


def test_a_busy_controller_refuses_in_the_end(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.fault("sbatch", "busy")
    with pytest.raises(Refused, match="Resource temporarily unavailable"):
        slurm_on(fake, retry_s=0.5).submit(request(tmp_path))
    assert (fake.count("sbatch"), fake.all()) == (2, [])


@pytest.mark.parametrize("fault", ["timeout+job", "quiet+job"])
def test_a_job_that_was_made_without_an_answer_is_found(
    fake: FakeSlurm, tmp_path: Path, fault: str
) -> None:
    fake.fault("sbatch", fault)
    done = slurm_on(fake, retry_s=60).submit(request(tmp_path))
    assert "the job is there" in done.message
    assert (fake.count("sbatch"), [job["id"] for job in fake.all()]) == (1, [done.job_id])


def test_a_job_that_comes_late_is_waited_for(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.fault("sbatch", "timeout+late")
    done = slurm_on(fake, retry_s=60).submit(request(tmp_path))
    assert (fake.count("sbatch"), [job["id"] for job in fake.all()]) == (1, [done.job_id])


def test_an_sbatch_that_hangs_is_ended_and_its_job_found(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.fault("sbatch", "hang+job")
    done = slurm_on(fake, retry_s=60, timeout_s=1).submit(request(tmp_path))
    assert (fake.count("sbatch"), [job["id"] for job in fake.all()]) == (1, [done.job_id])


def test_after_an_open_answer_the_name_is_looked_up_before_another_try(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    fake.fault("sbatch", "timeout", "none")
    slurm_on(fake, retry_s=4).submit(request(tmp_path))
    order = [argv[0] for argv in fake.calls()]
    assert order[0] == "sbatch"
    assert order[-1] == "sbatch"
    assert set(order[1:-1]) == {"squeue"}
    assert names(fake) == [NAME]


def test_while_nobody_can_look_nothing_is_submitted_again(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.fault("sbatch", "timeout", "none")
    fake.fault("squeue", "down")
    with pytest.raises(Unreachable, match="Socket timed out") as caught:
        slurm_on(fake, retry_s=1).submit(request(tmp_path))
    assert not isinstance(caught.value, NotSubmitted)
    assert fake.count("sbatch") == 1


def test_after_doubt_a_refusal_is_no_proof(fake: FakeSlurm, tmp_path: Path) -> None:
    """The first try may still make its job: it must not be recorded that there is none."""
    fake.fault("sbatch", "timeout", "partition")
    with pytest.raises(Unreachable) as caught:
        slurm_on(fake, retry_s=4).submit(request(tmp_path))
    assert not isinstance(caught.value, NotSubmitted)


def test_a_machine_without_slurm_says_what_is_missing(tmp_path: Path) -> None:
    slurm = Slurm(Settings(env={"PATH": str(tmp_path)}))
    assert slurm.usable() == "not on the PATH: sbatch, squeue, scontrol, scancel"
    with pytest.raises(NotSubmitted):
        slurm.submit(request(tmp_path))


def test_a_working_directory_that_is_gone_is_noticed_before(
    fake: FakeSlurm, slurm: Slurm, tmp_path: Path
) -> None:
    """Slurm itself would run the job in /tmp, and call it COMPLETED."""
    with pytest.raises(NotSubmitted):
        slurm.submit(request(tmp_path / "gone"))
    assert fake.calls() == []


@pytest.mark.parametrize("name", ["a/b", "a,b", "a b", "-a", "a" * 1025, "", "a\nb", "$(id)"])
def test_a_name_that_could_not_be_found_again_is_refused(
    fake: FakeSlurm, slurm: Slurm, tmp_path: Path, name: str
) -> None:
    with pytest.raises(Refused):
        slurm.submit(Request(name=name, script=script(name=name), workdir=tmp_path))
    assert fake.calls() == []


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/bash\ntrue\n",
        f"#!/bin/bash\n#SBATCH --job-name={NAME}x\n",
        f"#!/bin/bash\ntrue\n#SBATCH --job-name={NAME}\n",
        f"#!/bin/bash\n#SBATCH --job-name={NAME} -J other\n",
    ],
)
def test_a_script_of_another_name_is_refused(slurm: Slurm, tmp_path: Path, text: str) -> None:
    with pytest.raises(Refused, match="names its job"):
        slurm.submit(Request(name=NAME, script=text, workdir=tmp_path))


@pytest.mark.parametrize("option", ["-M other", "-Mother", "--clusters=other", "--clusters other"])
def test_a_script_for_another_cluster_is_refused(slurm: Slurm, tmp_path: Path, option: str) -> None:
    with pytest.raises(Refused, match="line 3 of the script"):
        slurm.submit(request(tmp_path, f"#SBATCH {option}\n"))


@pytest.mark.parametrize(
    "option", [f"-J {NAME}", f"-J{NAME}", f"--job-name {NAME}", f"--job-name='{NAME}' # mine"]
)
def test_a_name_may_be_given_in_any_way_slurm_knows(option: str) -> None:
    assert head.read(f"#!/bin/bash\n\n# a comment\n#SBATCH {option}\ntrue\n").name == NAME


def test_directives_that_slurm_ignores_are_pointed_out(slurm: Slurm, tmp_path: Path) -> None:
    done = slurm.submit(request(tmp_path, f"{HELD}true\n#SBATCH --time=3\n"))
    assert "line 5" in done.message


@given(st.integers(1, 60), st.floats(0, 1000), st.floats(0, 1))
def test_pauses_grow_are_shared_out_and_end(tries: int, elapsed: float, dice: float) -> None:
    patience = Patience(bound=120.0)
    wait = pause(patience, tries, elapsed, dice)
    if elapsed >= patience.bound:
        assert wait is None
    else:
        assert wait is not None
        assert 0 < wait <= min(patience.longest, patience.bound - elapsed)
        assert wait <= pause(patience, tries, 0.0, 1.0)  # type: ignore[operator]


def test_the_first_pauses() -> None:
    waits = [pause(Patience(bound=120.0), tries, 0.0, 1.0) for tries in range(1, 8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert pause(Patience(bound=120.0), 1, 0.0, 0.0) == 0.5
