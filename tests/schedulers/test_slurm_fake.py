"""The fake Slurm fails in the words and with the exit statuses that real Slurm was seen to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fake_slurm import FAULTS, FakeSlurm
from recorded_answers import recorded

SBATCH = recorded("sbatch.jsonl")
QUESTIONS = recorded("questions.jsonl")

FAULT_RECORDED = {
    ("sbatch", "down"): SBATCH["02b controller down: sbatch"],
    ("sbatch", "partition"): SBATCH["02 no such partition"],
    ("sbatch", "option"): SBATCH["02 #SBATCH with an unknown option"],
    ("sbatch", "quiet"): SBATCH["01 quiet"],
    ("squeue", "down"): QUESTIONS["02b controller down: squeue"],
    ("sacct", "disabled"): QUESTIONS["15 sacct -j 1"],
    ("sacct", "down"): QUESTIONS["02b database daemon down: sacct"],
    ("scontrol", "down"): QUESTIONS["02b controller down: scontrol show job"],
    ("scancel", "down"): QUESTIONS["02b controller down: scancel"],
    ("scancel", "denied"): QUESTIONS["02 scancel: job of another user"],
}

NOT_RECORDED = {
    ("sbatch", "timeout"): "seen on the same cluster while slurmctld was stopped by SIGSTOP",
    ("sbatch", "busy"): "strerror(EAGAIN), which sbatch prints after trying again by itself",
    ("squeue", "mute"): "what squeue --json was recorded doing, in text: no jobs, exit status 0",
    ("squeue", "nouser"): "seen on the same cluster, with a user id that no directory knows",
}

SCRIPT = "#!/bin/sh\n#SBATCH --hold\nsleep 1\n"


def run(fake: FakeSlurm, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env={**fake.env, "TZ": "UTC"}, cwd=fake.bin, input=stdin,
        capture_output=True, text=True,
    )  # fmt: skip


def test_every_fault_is_recorded_or_says_where_it_is_from() -> None:
    known = {(command, kind) for command, kinds in FAULTS.items() for kind in kinds}
    assert known == set(FAULT_RECORDED) | set(NOT_RECORDED)


@pytest.mark.parametrize("fault", FAULT_RECORDED, ids="-".join)
def test_a_fault_is_as_recorded(fake: FakeSlurm, fault: tuple[str, str]) -> None:
    real = FAULT_RECORDED[fault]
    command, kind = fault
    fake.fault(command, kind)
    words = [w for w in real.argv[1:] if w.isdecimal()]
    done = run(fake, command, *words, stdin=SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (real.rc, real.stdout, real.stderr)


def test_an_accepted_job_is_an_id_alone(fake: FakeSlurm) -> None:
    real = SBATCH["01 script on standard input"]
    done = run(fake, "sbatch", "--parsable", stdin=SCRIPT)
    assert (done.returncode, done.stderr) == (real.rc, real.stderr)
    assert done.stdout.strip().isdecimal()
    assert real.stdout.strip().isdecimal()


@pytest.mark.parametrize(
    "name",
    [
        "14 scontrol -o show job",
        "14 squeue -j",
        "14 scancel",
        "02 scancel: no such job",
        "02 scancel: malformed id",
    ],
)
def test_of_a_forgotten_job_it_says_what_slurm_says(fake: FakeSlurm, name: str) -> None:
    real = QUESTIONS[name]
    fake.plant("FAILED", known=False)
    words = [*real.argv, "-o", "%i"] if real.argv[0] == "squeue" else real.argv
    done = run(fake, *words)
    assert (done.returncode, done.stdout, done.stderr) == (real.rc, real.stdout, real.stderr)


def test_two_forgotten_jobs_are_an_empty_table(fake: FakeSlurm) -> None:
    real = QUESTIONS["14 squeue -j of two ids, both forgotten or unknown"]
    fake.plant("FAILED", known=False)
    done = run(fake, *real.argv, "-o", "%i|%T")
    assert (done.returncode, done.stderr) == (real.rc, real.stderr)
    assert len(done.stdout.splitlines()) == len(real.stdout.splitlines()) == 1


def test_accounting_prints_its_table_as_recorded(fake: FakeSlurm) -> None:
    real = QUESTIONS["14 sacct still knows"]
    at = 1795339937.0  # 2026-11-22T09:32:17 UTC
    fake.plant("FAILED", known=False, code=[1, 0], start=at, end=at)
    done = run(fake, "sacct", "-X", "-P", "-j", "1", "-o", real.argv[-1].partition("=")[2])
    assert done.stdout.splitlines() == real.stdout.splitlines()[:2]


def test_it_keeps_the_high_bit_of_an_exit_status_as_slurm_does(fake: FakeSlurm) -> None:
    job = fake.plant("FAILED", code=[137, 0])
    assert "|9:0|" in run(fake, "sacct", "-j", job, "-o", "JobID,ExitCode,State").stdout
    assert " ExitCode=137:0 " in run(fake, "scontrol", "-o", "show", "job", job).stdout


def test_a_script_really_runs(fake: FakeSlurm, tmp_path: Path) -> None:
    script = f"#!/bin/sh\n#SBATCH --job-name=a\necho $SLURM_JOB_ID > {tmp_path}/ran\n"
    pipe = tmp_path / "ran"
    os.mkfifo(pipe)
    done = run(fake, "sbatch", "--parsable", stdin=script)
    assert pipe.read_text() == done.stdout
