"""A fake Slurm: small programs for a PATH, and what a test does with them.

It keeps jobs as files and really runs their scripts, so the same tests pass on it and on real
Slurm. And it fails as the real one was recorded failing: `FAULTS` has the words and exit
statuses, and test_slurm_fake.py holds them to the recordings.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fake_cluster import FakeCluster, option

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")

DOWN = "Unable to contact slurm controller (connect failure)"
REFUSED = "sbatch: error: Batch job submission failed: "
DBD = (
    "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to "
    "host:10.213.0.1:16819: Connection refused\n"
    "sacct: error: Sending PersistInit msg: Connection refused\n"
    "sacct: error: Problem talking to the database: Connection refused\n"
)

# Command → fault → exit status, standard output, standard error. {job} is the id asked about.
FAULTS = {
    "sbatch": {
        "down": (1, "", f"{REFUSED}{DOWN}\n"),
        "timeout": (1, "", f"{REFUSED}Socket timed out on send/recv operation\n"),
        "busy": (1, "", f"{REFUSED}Resource temporarily unavailable\n"),
        "partition": (
            1,
            "",
            "sbatch: error: invalid partition specified: nosuch\n"
            f"{REFUSED}Invalid partition name specified\n",
        ),
        "option": (
            255,
            "",
            "sbatch: unrecognized option '--nosuch=1'\n"
            'Try "sbatch --help" for more information\n',
        ),
        "quiet": (0, "", ""),
    },
    "squeue": {
        "down": (1, "", f"slurm_load_jobs error: {DOWN}\n"),
        "mute": (0, "", ""),
        "nouser": (0, None, "squeue: error: Invalid user: 15001\n"),
    },
    "sacct": {
        "disabled": (1, "", "Slurm accounting storage is disabled\n"),
        "down": (1, "", DBD),
    },
    "scontrol": {"down": (1, "", f"slurm_load_jobs error: {DOWN}\n")},
    "scancel": {
        "down": (8, "", f"scancel: error: Kill job error on job id {{job}}: {DOWN}\n"),
        "denied": (
            210,
            "",
            "scancel: error: Kill job error on job id {job}: Access/permission denied\n",
        ),
    },
}

UNKNOWN = "slurm_load_jobs error: Invalid job id specified\n"
_COLUMNS = {
    "%i": ("JOBID", "id"), "%T": ("STATE", "state"), "%S": ("START_TIME", "start"),
    "%e": ("END_TIME", "end"), "%r": ("REASON", "reason"), "%j": ("NAME", "name"),
    "%V": ("SUBMIT_TIME", "submit"),
}  # fmt: skip
_FIELDS = {
    "JobID": "id", "State": "kept", "ExitCode": "kept_code", "Start": "start", "End": "end",
    "JobName": "name", "Submit": "submit",
}  # fmt: skip


class FakeSlurm(FakeCluster):
    """One cluster in a folder."""

    program = __file__
    commands = COMMANDS
    running = "RUNNING"
    own = ("SLURM_", "SBATCH_")

    def plant(self, state: str, name: str = "exa-planted-001", **fields: Any) -> str:
        """A job in a state, as the controller and accounting have it. Its id."""
        job = {
            "name": name, "state": state, "reason": "None", "start": time.time() - 60,
            "end": time.time(), "submit": time.time(), "code": [0, 0],
            "kept": state, "known": True, **fields,
        }  # fmt: skip
        return self.add(job)


def main(argv: list[str]) -> int:
    """Be one of the commands."""
    slurm, name, words = FakeSlurm(Path(argv[0])), argv[1], argv[2:]
    if name == "runner":
        return _run_job(slurm, words[0])
    slurm.note(name, words)
    kind = slurm.next_fault(name)
    if kind == "hang":
        signal.pause()
    if name == "sbatch":
        return _sbatch(slurm, kind)
    if kind in FAULTS[name]:
        return _fail(FAULTS[name][kind], words)
    return {"squeue": _squeue, "sacct": _sacct, "scontrol": _scontrol, "scancel": _scancel}[name](
        slurm, words
    )


def _fail(fault: tuple[int, str | None, str], words: list[str]) -> int:
    code, out, err = fault
    job = next((w for w in words if w.isdecimal()), "")
    sys.stdout.write(_header(words) if out is None else out)
    sys.stderr.write(err.replace("{job}", job))
    return code


def _header(words: list[str]) -> str:
    columns = words[words.index("-o") + 1].split("|")
    return "|".join(_COLUMNS[c][0] for c in columns) + "\n"


def _sbatch(slurm: FakeSlurm, kind: str) -> int:
    """``KIND+job`` makes the job and fails all the same; ``late`` makes it a second later."""
    script = sys.stdin.read()
    fault, _, made = kind.partition("+")
    if fault in FAULTS["sbatch"] and not made:
        return _fail(FAULTS["sbatch"][fault], [])
    if made == "late":
        slurm.detach("late", script)
        return _fail(FAULTS["sbatch"][fault], [])
    number = _accept(slurm, script)
    if fault == "hang":
        signal.pause()
    if fault in FAULTS["sbatch"]:
        return _fail(FAULTS["sbatch"][fault], [])
    print(number)
    return 0


def _accept(slurm: FakeSlurm, script: str) -> str:
    options = [shlex.split(line[7:]) for line in script.split("\n") if line.startswith("#SBATCH")]
    words = [word for option in options for word in option]
    name = next((w.partition("=")[2] for w in words if w.startswith("--job-name=")), "sbatch")
    held = "--hold" in words or (slurm.folder / "hold").exists()
    job = {
        "name": name, "state": "PENDING", "reason": "JobHeldUser" if held else "None",
        "start": None, "end": None, "submit": time.time(), "code": [0, 0],
        "kept": "PENDING", "known": True,
        "script": script, "cwd": os.getcwd(),
    }  # fmt: skip
    number = slurm.add(job)
    if not held:
        slurm.detach("runner", number)
    return number


def _run_job(slurm: FakeSlurm, number: str) -> int:
    """What slurmd and slurmctld do for a job: run its script, and note how it ended."""
    job = slurm.get(number)
    assert job is not None
    path = slurm.folder / f"script.{number}"
    path.write_text(job["script"])
    if (slurm.folder / f"cancel.{number}").exists():
        return 0
    env = {**os.environ, "SLURM_JOB_ID": number}
    out = open(Path(job["cwd"]) / f"slurm-{number}.out", "w")  # noqa: SIM115
    child = subprocess.Popen(
        ["bash", str(path)], cwd=job["cwd"], env=env, stdout=out, stderr=out, start_new_session=True
    )
    slurm.change(number, state="RUNNING", kept="RUNNING", start=time.time(), pid=child.pid)
    status = child.wait()
    cancelled = (slurm.folder / f"cancel.{number}").exists()
    state = "CANCELLED" if cancelled else ("COMPLETED" if status == 0 else "FAILED")
    code = [0, -status] if status < 0 else [status, 0]
    kept = f"CANCELLED by {os.getuid()}" if cancelled else state
    reason = "JobLaunchFailure" if status < 0 else ("NonZeroExitCode" if status else "None")
    slurm.change(number, state=state, kept=kept, end=time.time(), code=code, reason=reason)
    return 0


def _mine(slurm: FakeSlurm, words: list[str], names: str) -> list[dict[str, Any]]:
    wanted = option(words, names)
    ids = option(words, "-j")
    return [
        job
        for job in slurm.all()
        if (not wanted or job["name"] in wanted.split(","))
        and (not ids or job["id"] in ids.split(","))
    ]


def _squeue(slurm: FakeSlurm, words: list[str]) -> int:
    ids = option(words, "-j").split(",")
    jobs = [job for job in _mine(slurm, words, "-n") if job["known"]]
    if len(ids) == 1 and ids[0] and not jobs:
        sys.stderr.write(UNKNOWN)
        return 1
    columns = words[words.index("-o") + 1].split("|")
    sys.stdout.write(_header(words))
    for job in jobs:
        print("|".join(_shown(job, _COLUMNS[c][1], "N/A") for c in columns))
    return 0


def _sacct(slurm: FakeSlurm, words: list[str]) -> int:
    fields = (option(words, "-o") or option(words, "--format")).split(",")
    print("|".join(fields))
    for job in _mine(slurm, words, "--name"):
        if job["kept"]:
            print("|".join(_shown(job, _FIELDS[f], "Unknown") for f in fields))
    return 0


def _shown(job: dict[str, Any], key: str, missing: str) -> str:
    if key in ("start", "end", "submit"):
        return _stamp(job[key], missing)
    if key == "kept_code":
        code, number = job["code"]
        return f"{code & 0x7F}:{number}"
    return str(job[key])


def _stamp(seconds: float | None, missing: str) -> str:
    if seconds is None:
        return missing
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def _scontrol(slurm: FakeSlurm, words: list[str]) -> int:
    asked = [w for w in words if w.isdecimal()]
    jobs = [j for j in slurm.all() if j["known"] and (not asked or j["id"] in asked)]
    if asked and not jobs:
        sys.stderr.write(UNKNOWN)
        return 1
    for job in jobs:
        start, end = _stamp(job["start"], "Unknown"), _stamp(job["end"], "Unknown")
        print(
            f"JobId={job['id']} JobName={job['name']} UserId=me({os.getuid()}) Priority=1 "
            f"JobState={job['state']} Reason={job['reason'].replace(' ', '_')} Dependency=(null) "
            f"Requeue=1 Restarts=0 ExitCode={job['code'][0]}:{job['code'][1]} "
            f"StartTime={start} EndTime={end} Deadline=N/A Partition=debug"
        )
    if not jobs:
        print("No jobs in the system")
    return 0


def _scancel(slurm: FakeSlurm, words: list[str]) -> int:
    number = words[-1]
    if not number.isdecimal():
        sys.stderr.write(f"scancel: error: Invalid job id {number}\n")
        return 1
    job = slurm.get(number)
    if "--signal" in words:
        signum = getattr(signal, "SIG" + option(words, "--signal"))
        if job is None or job["state"] != "RUNNING":
            sys.stderr.write(
                f"scancel: error: Kill job error on job id {number}: Invalid job id specified\n"
            )
            return 1
        os.kill(job["pid"], signum)
    elif job and job["known"] and job["state"] in ("PENDING", "RUNNING"):
        (slurm.folder / f"cancel.{number}").touch()
        if job.get("pid"):
            os.killpg(job["pid"], signal.SIGTERM)
        else:
            now = time.time()
            kept = f"CANCELLED by {os.getuid()}"
            slurm.change(number, state="CANCELLED", kept=kept, start=now, end=now)
    return 0


if __name__ == "__main__":
    if sys.argv[2] == "late":
        time.sleep(1)
        _accept(FakeSlurm(Path(sys.argv[1])), sys.argv[3])
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
