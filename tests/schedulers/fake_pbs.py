"""A fake PBS: small programs for a PATH, and what a test does with them.

It keeps jobs as files and really runs their scripts as PBS does: a login shell above the script,
in the home directory, with the submitter's directory in a variable. And it fails as the real one
was recorded failing: `FAULTS` has the words and exit statuses, and test_pbs_fake.py holds them to
the recordings.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fake_cluster import FakeCluster, option

SERVER = "pbs-head"
DOWN = "Connection refused\n{command}: cannot connect to server pbs-head (errno=15010)\n"
NO_HISTORY = "{command}: PBS is not configured to maintain job history {job}\n"

# Command → fault → exit status, standard output, standard error. {job} is the id asked about.
FAULTS = {
    "qsub": {
        "down": (162, "", DOWN),
        "queue": (170, "", "qsub: Unknown queue\n"),
        "limits": (
            188,
            "",
            "qsub: Job violates queue and/or server resource limits\n",
        ),
        "hook": (32, "", "qsub: Please give a valid account: -A hep_project\nSee the manual.\n"),
        "torn": (1, "", "qsub: Premature end of message\n"),
        "quiet": (0, "", ""),
    },
    "qstat": {"down": (255, "", DOWN), "mute": (0, "", "")},
    "qselect": {
        # Its message lacks the last letter of the server's name.
        "down": (162, "", "Connection refused\nqselect: cannot connect to server pbs-hea "
                          "(errno=15010)\n"),
    },
    "qdel": {
        "down": (162, "", "Connection refused\nCouldn't connect to cluster: pbs-head\n"),
        "denied": (159, "", "qdel: Unauthorized Request  {job}\n"),
        "lost": (0, "", ""),
    },
    "qsig": {"denied": (159, "", "qsig: Unauthorized Request  {job}\n")},
}  # fmt: skip


class FakePbs(FakeCluster):
    """One server in a folder."""

    program = __file__
    commands = ("qsub", "qstat", "qselect", "qdel", "qsig")
    running = "R"
    own = ("PBS_",)

    def plant(self, state: str, name: str = "exa-planted-001", **fields: Any) -> str:
        """A job in a state. Its id."""
        now = time.time()
        return full(self.add({**_new(name), "state": state, "started": now - 60, **fields}))

    def no_history(self) -> None:
        """Keep no ended jobs from now on."""
        (self.folder / "no-history").touch()

    @property
    def history(self) -> bool:
        return not (self.folder / "no-history").exists()


def full(number: str) -> str:
    return f"{number}.{SERVER}"


def _new(name: str) -> dict[str, Any]:
    return {
        "name": name, "state": "Q", "substate": 10, "exit_status": None, "created": time.time(),
        "started": None, "obit": None, "comment": None, "hold": "n", "variables": {}, "known": True,
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Be one of the commands."""
    pbs, name, words = FakePbs(Path(argv[0])), argv[1], argv[2:]
    if name == "runner":
        return _run_job(pbs, words[0])
    if name == "late":
        time.sleep(1)
        _accept(pbs, words[0], {})
        return 0
    pbs.note(name, words)
    kind = pbs.next_fault(name)
    if kind == "hang":
        signal.pause()
    if name == "qsub":
        return _qsub(pbs, kind, words)
    if kind in FAULTS[name]:
        return _fail(name, kind, words)
    return {"qstat": _qstat, "qselect": _qselect, "qdel": _qdel, "qsig": _qsig}[name](pbs, words)


def _fail(command: str, kind: str, words: list[str]) -> int:
    code, out, err = FAULTS[command][kind]
    job = words[-1] if words else ""
    sys.stdout.write(out)
    sys.stderr.write(err.replace("{job}", job).replace("{command}", command))
    return code


def _qsub(pbs: FakePbs, kind: str, words: list[str]) -> int:
    """``KIND+job`` makes the job and fails all the same; ``late`` makes it a second later."""
    script = sys.stdin.read()
    fault, _, made = kind.partition("+")
    if fault in FAULTS["qsub"] and not made:
        return _fail("qsub", fault, words)
    if made == "late":
        pbs.detach("late", script)
        return _fail("qsub", fault, words)
    names = [n for n in option(words, "-v").split(",") if n]
    number = _accept(pbs, script, {name: os.environ[name] for name in names})
    if fault == "hang":
        signal.pause()
    if fault in FAULTS["qsub"]:
        return _fail("qsub", fault, words)
    print(full(number))
    return 0


def _accept(pbs: FakePbs, script: str, variables: dict[str, str]) -> str:
    found = re.findall(r"^#PBS -N (\S+)$", script, re.MULTILINE)
    name = found[-1] if found else "STDIN"
    held = (pbs.folder / "hold").exists()
    job = {
        **_new(name), "script": script, "cwd": os.getcwd(),
        "state": "H" if held else "Q", "substate": 20 if held else 10, "hold": "u" if held else "n",
        "variables": {"PBS_O_WORKDIR": os.getcwd(), **variables},
    }  # fmt: skip
    number = pbs.add(job)
    if not held:
        pbs.detach("runner", number)
    return number


def _run_job(pbs: FakePbs, number: str) -> int:
    """What the mom and the server do for a job: run its script, and note how it ended."""
    job = pbs.get(number)
    assert job is not None
    path = pbs.folder / f"{number}.SC"
    path.write_text(job["script"])
    path.chmod(0o700)
    if not _dependencies_met(pbs, number, job["script"]):
        return 0
    home = pbs.folder / "home"
    home.mkdir(exist_ok=True)
    nodes = pbs.folder / f"{number}.nodes"
    nodes.write_text(f"{os.uname().nodename}\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PBS_JOBID": full(number),
           "PBS_NODEFILE": str(nodes)}  # fmt: skip
    out = open(pbs.folder / f"{number}.OU", "w")  # noqa: SIM115
    # The login shell reads the path of the script on its standard input (recorded).
    child = subprocess.Popen(
        ["bash"], cwd=home, env={**env, **job["variables"]}, stdin=subprocess.PIPE,
        stdout=out, stderr=out, start_new_session=True, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    pbs.change(number, state="R", substate=42, started=time.time(), pid=child.pid)
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(f"{path}\n")
        child.stdin.close()
    status = child.wait()
    # The job lasts until the last process of its session: what catches SIGTERM has its time.
    while _session(child.pid):
        time.sleep(0.05)
    _note_end(pbs, number, status)
    return 0


def _dependencies_met(pbs: FakePbs, number: str, script: str) -> bool:
    """Wait until the jobs of ``depend=afterany:`` have ended (recorded: H, substate 22, until
    then). False when this one was deleted first."""
    found = re.search(r"^#PBS -W depend=afterany:(\S+)$", script, re.MULTILINE)
    before = [name.partition(".")[0] for name in found[1].split(":")] if found else []
    if before:
        pbs.change(number, state="H", substate=22, hold="s")
    while not (pbs.folder / f"cancel.{number}").exists():
        jobs = [pbs.get(name) for name in before]
        if all(job is None or job["state"] == "F" for job in jobs):
            if before:
                pbs.change(number, state="Q", substate=10, hold="n")
            return True
        time.sleep(0.05)
    return False


def _note_end(pbs: FakePbs, number: str, status: int) -> None:
    who = pwd.getpwuid(os.getuid()).pw_name
    if (pbs.folder / f"cancel.{number}").exists():
        end = (91, 271, f"terminated by {who}@pbs-login")
    elif status < 0:
        end = (93, 256 - status, "failed")
    else:
        end = (93 if status else 92, status, "failed" if status else "finished")
    substate, code, how = end
    comment = f"Job run at Sun Nov 22 at 09:04 on (n1:ncpus=1) and {how}"
    pbs.change(
        number, state="F", substate=substate, exit_status=code, obit=time.time(), comment=comment
    )


def _known(pbs: FakePbs, asked: str) -> dict[str, Any] | None:
    number, _, server = asked.partition(".")
    job = pbs.get(number) if number.isdecimal() and server in ("", SERVER) else None
    if job is None or not job["known"] or (job["state"] == "F" and not pbs.history):
        return None
    return job


def _qstat(pbs: FakePbs, words: list[str]) -> int:
    code, past = 0, "-x" in words
    for asked in (w for w in words if not w.startswith("-")):
        job = _known(pbs, asked)
        if past and not pbs.history:
            sys.stderr.write(NO_HISTORY.format(command="qstat", job=asked))
        elif job is None and not re.fullmatch(r"\d+(\.[\w-]+)?", asked):
            sys.stderr.write(f"qstat: illegally formed job identifier: {asked}\n")
            code = 1
        elif job is None:
            shown = asked if "." in asked else full(asked)
            sys.stderr.write(f"qstat: Unknown Job Id {shown}\n")
            code = 153
        elif job["state"] == "F" and not past:
            sys.stderr.write(
                f"qstat: {asked} Job has finished, use -x or -H to obtain historical job "
                "information\n"
            )
            code = 35
        else:
            _print(job)
    return code


def _print(job: dict[str, Any]) -> None:
    """As ``qstat -f`` does, in its order, with its wrapping of the variables."""
    owner = pwd.getpwuid(os.getuid()).pw_name
    variables = ",".join(f"{k}={v}" for k, v in {"PBS_O_HOST": "n0", **job["variables"]}.items())
    before = {
        "Job_Name": job["name"], "Job_Owner": f"{owner}@pbs-login", "job_state": job["state"],
        "queue": "workq", "ctime": _stamp(job["created"]), "Hold_Types": job["hold"],
        "Rerunable": "True", "Resource_List.walltime": "00:10:00", "stime": _stamp(job["started"]),
        "obittime": _stamp(job["obit"]), "substate": job["substate"],
        "Variable_List": variables[:60] + ("\n\t" + variables[60:] if variables[60:] else ""),
        "comment": job["comment"], "Exit_status": job["exit_status"],
    }  # fmt: skip
    print(f"Job Id: {full(job['id'])}")
    for name, value in before.items():
        if value is not None:
            print(f"    {name} = {value}")
    print()


def _stamp(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%a %b %e %H:%M:%S %Y", _local(seconds))


def _local(seconds: float) -> time.struct_time:
    return time.localtime(seconds)


def _qselect(pbs: FakePbs, words: list[str]) -> int:
    past = "-x" in words
    if past and not pbs.history:
        sys.stderr.write("qselect: PBS is not configured to maintain job history\n")
        return 0
    for job in pbs.all():
        live = job["state"] != "F"
        if job["known"] and job["name"] == option(words, "-N") and (live or past):
            print(full(job["id"]))
    return 0


def _qdel(pbs: FakePbs, words: list[str]) -> int:
    asked = words[-1]
    job = _known(pbs, asked)
    if job is None:
        sys.stderr.write(f"qdel: Unknown Job Id {asked}\n")
        return 153
    if job["state"] == "F":
        sys.stderr.write(f"qdel: Job has finished {asked}\n")
        return 35
    (pbs.folder / f"cancel.{job['id']}").touch()
    if job.get("pid"):
        # The login shell does not end of it while its script runs.
        for number in [*_session(job["pid"]), job["pid"]]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
    else:
        pbs.change(job["id"], state="F", substate=91)
    return 0


def _session(leader: int) -> list[int]:
    """Live pids of a session without its leader."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader != int(entry.name) and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _qsig(pbs: FakePbs, words: list[str]) -> int:
    job = _known(pbs, words[-1])
    if job is None or job["state"] != "R":
        sys.stderr.write(f"qsig: Request invalid for state of job {words[-1]}\n")
        return 168
    for number in [*_session(job["pid"]), job["pid"]]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, getattr(signal, "SIG" + option(words, "-s")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
