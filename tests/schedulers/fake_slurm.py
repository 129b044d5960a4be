"""A fake Slurm: small programs for a PATH, and what a test does with them.

It keeps jobs as files and really runs their scripts, so the same tests pass on it and on real
Slurm. And it fails as the real one was recorded failing: `FAULTS` has the words and exit
statuses, and test_slurm_fake.py holds them to the recordings.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


class FakeSlurm:
    """One cluster in a folder. Every job is a file; so is what goes wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.bin = folder / "bin"

    def install(self) -> FakeSlurm:
        for path in (self.jobs, self.bin):
            path.mkdir(parents=True)
        for name in COMMANDS:
            program = self.bin / name
            words = [sys.executable, "-S", "-E", __file__, str(self.folder), name]
            program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            program.chmod(0o755)
        return self

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}"}

    def fault(self, command: str, *kinds: str) -> None:
        """What the next calls of a command do, in order; the last stays. None = all is well."""
        path = self.folder / f"fault.{command}"
        path.write_text("\n".join(kinds))
        (self.folder / f"calls.{command}").unlink(missing_ok=True)

    def hold(self) -> None:
        """Let every job wait from now on."""
        (self.folder / "hold").touch()

    def plant(self, state: str, name: str = "exa-planted-001", **fields: Any) -> str:
        """A job in a state, as the controller and accounting have it. Its id."""
        job = {
            "name": name, "state": state, "reason": "None", "start": time.time() - 60,
            "end": time.time(), "submit": time.time(), "code": [0, 0],
            "kept": state, "known": True, **fields,
        }  # fmt: skip
        return self._add(job)

    def _add(self, job: dict[str, Any]) -> str:
        number = max((int(p.stem) for p in self.jobs.glob("*.json")), default=0)
        aside = self.folder / f"new.{os.getpid()}"
        aside.write_text("")
        while True:
            number += 1
            text = json.dumps({**job, "id": str(number)})
            aside.write_text(text)
            try:
                os.link(aside, self.jobs / f"{number}.json")
            except FileExistsError:
                continue
            aside.unlink()
            return str(number)

    def all(self) -> list[dict[str, Any]]:
        paths = sorted(self.jobs.glob("*.json"), key=lambda p: int(p.stem))
        return [json.loads(path.read_text()) for path in paths]

    def get(self, number: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError):
            found: dict[str, Any] = json.loads((self.jobs / f"{number}.json").read_text())
            return found
        return None

    def change(self, number: str, **fields: Any) -> None:
        job = self.get(number)
        assert job is not None
        aside = self.jobs / f".{number}.{os.getpid()}"
        aside.write_text(json.dumps({**job, **fields}))
        os.replace(aside, self.jobs / f"{number}.json")

    def calls(self) -> list[list[str]]:
        """Every command run so far, with its arguments."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [json.loads(line)["argv"] for line in lines]

    def environments(self, command: str) -> list[dict[str, str]]:
        """The environment of each call of a command."""
        lines = (self.folder / "log").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [r["env"] for r in records if r["argv"][0] == command]

    def count(self, command: str) -> int:
        return sum(argv[0] == command for argv in self.calls())

    def end_all(self) -> None:
        """End what still runs of the jobs' scripts."""
        for job in self.all():
            if job.get("pid") and job["state"] == "RUNNING":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job["pid"], signal.SIGKILL)


def main(argv: list[str]) -> int:
    """Be one of the commands."""
    slurm, name, words = FakeSlurm(Path(argv[0])), argv[1], argv[2:]
    if name == "runner":
        return _run_job(slurm, words[0])
    with open(slurm.folder / "log", "a") as log:
        log.write(json.dumps({"argv": [name, *words], "env": dict(os.environ)}) + "\n")
    kind = _next_fault(slurm, name)
    if kind == "hang":
        signal.pause()
    if name == "sbatch":
        return _sbatch(slurm, kind)
    if kind in FAULTS[name]:
        return _fail(FAULTS[name][kind], words)
    return {"squeue": _squeue, "sacct": _sacct, "scontrol": _scontrol, "scancel": _scancel}[name](
        slurm, words
    )


def _next_fault(slurm: FakeSlurm, name: str) -> str:
    try:
        kinds = (slurm.folder / f"fault.{name}").read_text().split("\n")
    except OSError:
        return ""
    counter = slurm.folder / f"calls.{name}"
    with open(counter, "a") as count:
        count.write(".")
    done = counter.stat().st_size
    return kinds[min(done, len(kinds)) - 1]


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
        _detach([str(slurm.folder), "late", script])
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
    number = slurm._add(job)
    if not held:
        _detach([str(slurm.folder), "runner", number])
    return number


def _detach(words: list[str]) -> None:
    argv = [sys.executable, "-S", "-E", __file__, *words]
    null = subprocess.DEVNULL
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)


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


def _option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default


def _mine(slurm: FakeSlurm, words: list[str], names: str) -> list[dict[str, Any]]:
    wanted = _option(words, names)
    ids = _option(words, "-j")
    return [
        job
        for job in slurm.all()
        if (not wanted or job["name"] in wanted.split(","))
        and (not ids or job["id"] in ids.split(","))
    ]


def _squeue(slurm: FakeSlurm, words: list[str]) -> int:
    ids = _option(words, "-j").split(",")
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
    fields = (_option(words, "-o") or _option(words, "--format")).split(",")
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
        signum = getattr(signal, "SIG" + _option(words, "--signal"))
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
