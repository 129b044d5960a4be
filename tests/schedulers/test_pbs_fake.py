"""The fake PBS fails in the words and with the exit statuses that real PBS was seen to."""

from __future__ import annotations

import subprocess

import pytest
from fake_pbs import FAULTS, FakePbs
from recorded_answers import Recorded, recorded

ANSWERS = recorded("commands.jsonl", "pbs")


def real(command: str, words: str) -> Recorded:
    """A recorded answer of a command with these words."""
    return next(a for a in ANSWERS.values() if a.argv[0] == command and words in a.stderr)


FAULT_RECORDED = {
    ("qsub", "down"): real("qsub", "Connection refused"),
    ("qsub", "queue"): real("qsub", "Unknown queue"),
    ("qsub", "limits"): real("qsub", "violates queue"),
    ("qstat", "down"): real("qstat", "Connection refused"),
    ("qselect", "down"): real("qselect", "Connection refused"),
    ("qdel", "down"): real("qdel", "Connection refused"),
    ("qdel", "denied"): real("qdel", "Unauthorized"),
    ("qsig", "denied"): real("qsig", "Unauthorized"),
}

NOT_RECORDED = {
    ("qsub", "hook"): "a site's own words; recorded hooks say other ones, with the same status",
    ("qsub", "torn"): "PBSE_PROTOCOL's words, when a connection breaks in the middle",
    ("qsub", "quiet"): "recorded with its output closed: status 0, nothing printed, and a job",
    ("qstat", "mute"): "recorded for JSON without history: status 0 and no job",
    ("qdel", "lost"): "recorded right after qsub: status 0, and the job runs on",
}


def run(fake: FakePbs, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**fake.env, "TZ": "UTC"}
    return subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True)


def test_every_fault_is_recorded_or_says_where_it_is_from() -> None:
    known = {(command, kind) for command, kinds in FAULTS.items() for kind in kinds}
    assert known == set(FAULT_RECORDED) | set(NOT_RECORDED)


@pytest.mark.parametrize("fault", FAULT_RECORDED, ids="-".join)
def test_a_fault_is_as_recorded(fake_pbs: FakePbs, fault: tuple[str, str]) -> None:
    answer = FAULT_RECORDED[fault]
    fake_pbs.fault(*fault)
    done = run(fake_pbs, fault[0], answer.argv[-1])
    assert (done.returncode, done.stdout, done.stderr) == (answer.rc, "", answer.stderr)


@pytest.mark.parametrize(
    ("command", "words", "job"),
    [
        ("qstat", "Unknown Job Id 999999", "999999"),
        ("qdel", "Unknown Job Id 999999", "999999.pbs-head"),
    ],
)
def test_of_an_unknown_job_it_says_what_pbs_says(
    fake_pbs: FakePbs, command: str, words: str, job: str
) -> None:
    answer = real(command, words)
    flags = ["-f"] if command == "qstat" else []
    done = run(fake_pbs, command, *flags, job)
    assert (done.returncode, done.stderr) == (answer.rc, answer.stderr)


def test_of_an_ended_job_it_says_what_pbs_says(fake_pbs: FakePbs) -> None:
    job = fake_pbs.plant("F")
    for command, flags in (("qstat", ["-f"]), ("qdel", [])):
        answer = real(command, "has finished")
        done = run(fake_pbs, command, *flags, job)
        assert done.returncode == answer.rc
        recorded_job = answer.stderr.split()[1 if command == "qstat" else -1]
        first = answer.stderr.split("\n")[0].replace(recorded_job, job)
        assert done.stderr == first + "\n" or command == "qdel"


def test_without_history_it_says_what_pbs_says(fake_pbs: FakePbs) -> None:
    fake_pbs.no_history()
    job = fake_pbs.plant("F")
    answer = real("qstat", "not configured to maintain job history 511")
    done = run(fake_pbs, "qstat", "-x", "-f", job)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == answer.stderr.replace("511.pbs-head", job)
    answer = real("qselect", "not configured to maintain job history")
    done = run(fake_pbs, "qselect", "-x", "-N", "a")
    assert (done.returncode, done.stderr) == (answer.rc, answer.stderr)


def test_an_accepted_job_is_an_id_alone(fake_pbs: FakePbs) -> None:
    fake_pbs.hold()
    done = run(fake_pbs, "qsub", "-f", stdin="#!/bin/sh\n#PBS -N a\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.pbs-head\n", "")
