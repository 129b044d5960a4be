"""From a command to the job's id on a real Slurm, and what a look at 1,000 runs takes.

    python benchmarks/submit_latency.py --lab             # brings a cluster up and takes it down
    python benchmarks/submit_latency.py --partition NAME  # the cluster of this environment

``exa submit`` beside bare sbatch, submitit, torchx and psij-python: each a whole process from its
start to its end, warm, in one run, in turn and every other round in reverse. The jobs do nothing.
In the lab their partition is down; elsewhere they are cancelled when their round is over. Data is
prepared before, so that nothing but the submission is measured.

Aims: ``exa submit`` within 150 ms of bare sbatch and ahead of all three; ``exa status --json`` over
1,000 runs by one command of Slurm, in under 0.5 s.

Peers are installed into a virtual environment that goes away again, or taken from ``--peers``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "schedulers")]

from lab import packages  # noqa: E402
from lab.cluster import Cluster, LabError  # noqa: E402
from lab.spec import Spec  # noqa: E402
from run_maker import RunMaker  # noqa: E402

BEHIND_SBATCH_S = 0.150
STATUS_S = 0.5
RUNS, LIVE = 1000, 100

EXA = str(Path(sys.executable).parent / "exa")

RUN = """
[data]
path = "data"
[train]
microbatch = 1
"""

SITE = """
inherits = "slurm"
[directives]
account = false
[node]
count = 1
ranks_per_node = 1
cpus = 4
gpus = 0
[launcher]
options = ["--mpi=pmi2"]
[local_storage]
path = "/tmp/exa-{uid}"
[torch]
device = "cpu"
backend = "gloo"
"""

JOB = "#!/bin/bash\n#SBATCH --time=5\ntrue\n"

SUBMITIT = """
import operator, sys
import submitit
executor = submitit.SlurmExecutor(folder="submitit")
executor.update_parameters(partition=sys.argv[1], time=5)
print(executor.submit(operator.add, 1, 2).job_id)
"""

PSIJ = """
import sys
from datetime import timedelta
from psij import Job, JobAttributes, JobExecutor, JobSpec
asked = JobAttributes(queue_name=sys.argv[1], duration=timedelta(minutes=5))
job = Job(JobSpec(executable="/bin/true", attributes=asked))
JobExecutor.get_instance("slurm").submit(job)
print(job.native_id)
"""

PEERS = {
    "submitit": ["python", "-c", SUBMITIT, "{partition}"],
    "torchx": ["torchx", "run", "-s", "slurm", "-cfg", "partition={partition}", "utils.echo"],
    "psij-python": ["python", "-c", PSIJ, "{partition}"],
}
"""Package → the least that submits with it, as its documentation does."""

JOB_ID = re.compile(r'^(?:slurm://torchx/| *"job_id": ")?(\d+)(?:",|;\S+)?$', re.MULTILINE)


class NoSlurm(Exception):
    """Why there is nothing to measure on this machine."""


class Failed(Exception):
    """A command that was to be measured does not work; its last words."""


@dataclass(frozen=True)
class Place:
    """Where commands are run, with which environment, and which partition jobs go to."""

    folder: Path
    env: dict[str, str]
    partition: str

    def run(self, argv: list[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
        """A command and the seconds it took. Raises Failed."""
        begin = time.perf_counter()
        done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True)
        taken = time.perf_counter() - begin
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or ["not a word"]
            raise Failed(f"{Path(argv[0]).name}: status {done.returncode}: {words[-1]}")
        return taken, done

    def submit(self, argv: list[str]) -> tuple[float, str]:
        """Seconds to the end of a command that names a job, and that job. Raises Failed."""
        taken, done = self.run(argv)
        if not (found := JOB_ID.search(done.stdout)):
            raise Failed(f"{Path(argv[0]).name} names no job")
        return taken, found[1]

    def cancel(self, jobs: list[str]) -> None:
        self.run(["scancel", *jobs])


def environment(home: Path) -> dict[str, str]:
    """Nobody's settings; and bytecode is kept, as it is wherever exa is installed."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("EXA_", "PYTHON"))}
    own = {"HOME": home, "EXA_RUNS": home / "runs", "PYTHONPYCACHEPREFIX": home / "pycache"}
    return keep | {name: str(value) for name, value in own.items()}


# -- the cluster


@contextlib.contextmanager
def lab(slot: int) -> Iterator[dict[str, str]]:
    """A cluster with accounting, since ``torchx run`` ends in an error without; its jobs wait."""
    if why := packages.unusable(install=False, accounting=True):
        raise NoSlurm(why)
    cluster = Cluster(Spec(slot=slot, nodes=1, accounting=True))
    if cluster.spec.root.exists():
        raise NoSlurm(f"slot {slot} of the lab is taken; --lab takes the number of another")
    try:
        cluster.up()
        cluster.run("scontrol", "update", "PartitionName=prod", "State=DOWN")
        yield cluster.env
    finally:
        cluster.down()


@contextlib.contextmanager
def cluster_of_environment() -> Iterator[dict[str, str]]:
    if absent := [p for p in ("sbatch", "squeue", "scancel", "scontrol") if not shutil.which(p)]:
        raise NoSlurm(f"not on the PATH: {', '.join(absent)}")
    asked = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=120)
    if asked.returncode:
        words = (asked.stderr or asked.stdout).strip().splitlines() or ["not a word"]
        raise NoSlurm(f"no controller answers: {words[-1]}")
    yield {}


# -- who submits


def ours(place: Place, site: str | None) -> dict[str, list[str]]:
    """exa and sbatch, with what they need in the folder."""
    for name, text in {"run.toml": RUN, "site.toml": SITE, "job.sh": JOB}.items():
        (place.folder / name).write_text(text)
    texts = [str(path) for path in sorted(ROOT.glob("docs/*.md"))]
    place.run([EXA, "data", "prepare", *texts, "-o", "data", "--vocab", "320"])
    options = ["--site", site or str(place.folder / "site.toml"), "--queue", place.partition]
    return {
        "exa submit": [EXA, "submit", "run.toml", *options, "--json"],
        "sbatch": ["sbatch", "--parsable", "--partition", place.partition, "job.sh"],
    }


def peers(given: Path | None, home: Path, place: Place) -> tuple[dict[str, list[str]], list[str]]:
    """The peers that can submit here, each tried once, and why others cannot."""
    venv, able, unable = (given or home / "peers").absolute(), {}, []
    if given is None:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    for name, (program, *words) in PEERS.items():
        try:
            if given is None:
                install(name, venv)
            if not (venv / "bin" / program).exists():
                raise Failed(f"{venv} has no {program}")
            filled = [word.format(partition=place.partition) for word in words]
            argv = [str(venv / "bin" / program), *filled]
            place.cancel([place.submit(argv)[1]])
            able[name] = argv
        except Failed as error:
            unable.append(f"{name:<16}  not measured: {error}")
    return able, unable


def install(name: str, venv: Path) -> None:
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-input", "-q", name]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"pip: {(done.stderr.strip() or 'not a word').splitlines()[-1]}")


def measure(commands: dict[str, list[str]], rounds: int, place: Place) -> dict[str, list[float]]:
    """Seconds by command, one a round. A round before them warms up."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        jobs: list[str] = []
        try:
            for name in list(commands)[:: 1 if number % 2 else -1]:
                taken, job = place.submit(commands[name])
                times[name] += [taken] if number else []
                jobs.append(job)
        finally:
            place.cancel(jobs or ["0"])
    return times


# -- 1,000 runs


def measure_status(rounds: int, place: Place) -> tuple[dict[str, list[float]], int]:
    """Seconds of ``exa status --json`` when it asks, and when another exa was just answered;
    and how many commands of Slurm an asking one ran."""
    root = place.folder / "many"
    root.mkdir()
    held = ["sbatch", "--parsable", "--hold", "--partition", place.partition, "job.sh"]
    jobs = [place.submit(held)[1] for _ in range(LIVE)]
    make_runs(root / "runs", jobs)
    own = {"EXA_RUNS": str(root / "runs"), "EXA_CACHE": str(root / "cache")}
    there = Place(place.folder, place.env | own, place.partition)
    times: dict[str, list[float]] = {"asks": [], "answered before": []}
    asked = 0
    try:
        look(there)
        for _ in range(rounds):
            shutil.rmtree(root / "cache")
            taken, commands = look(there)
            times["asks"].append(taken)
            asked = max(asked, commands)
            times["answered before"].append(look(there)[0])
    finally:
        place.cancel(jobs)
    return times, asked


def make_runs(root: Path, jobs: list[str]) -> None:
    """Runs that are done, and one for each waiting job."""
    maker = RunMaker(root)
    for number in range(RUNS - len(jobs)):
        maker.run(f"old{number:04d}", str(10**8 + number), done=True)
    for number, job in enumerate(jobs):
        maker.run(f"new{number:04d}", job, done=False)


def look(place: Place) -> tuple[float, int]:
    """Seconds of one look, and how many commands of Slurm it ran. Raises Failed if it is wrong."""
    taken, done = place.run([EXA, "status", "--json", "--verbose"])
    states = [row["state"] for row in json.loads(done.stdout)["runs"]]
    counted = re.search(r"^(\d+) scheduler command", done.stderr, re.MULTILINE)
    if (states.count("done"), states.count("queued")) != (RUNS - LIVE, LIVE) or not counted:
        raise Failed(f"exa status does not see {LIVE} of {RUNS} runs wait: {done.stderr.strip()}")
    return taken, int(counted[1])


# -- what came out


def aim(words: str, met: bool) -> None:
    print(f"aim: {words}: {'met' if met else 'MISSED'}")


def quartiles(taken: list[float]) -> str:
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return "".join(f"{t * 1e3:>8.0f}ms" for t in (median, low, high))


HEAD = f"{'median':>10}{'lower':>10}{'upper':>10}"


def show_submissions(times: dict[str, list[float]], unable: list[str]) -> None:
    """Differences and ratios are medians of those within a round."""
    print(f"{'to the job id':<24}{HEAD}{'- sbatch':>11}{'ratio':>8}")
    behind = {}
    for name, taken in times.items():
        pairs = list(zip(taken, times["sbatch"], strict=True))
        behind[name] = statistics.median(t - bare for t, bare in pairs)
        ratio = statistics.median(t / bare for t, bare in pairs)
        print(f"{name:<24}{quartiles(taken)}{behind[name] * 1e3:>9.0f}ms{ratio:>8.1f}")
    print(*unable, sep="\n", end="\n" if unable else "")
    mine = behind["exa submit"]
    aim(f"within {BEHIND_SBATCH_S * 1e3:.0f} ms of sbatch", mine <= BEHIND_SBATCH_S)
    for name in PEERS:
        if name in behind:
            aim(f"ahead of {name}", mine < behind[name])


def show_status(times: dict[str, list[float]], asked: int) -> None:
    print(f"\n{f'exa status, {RUNS} runs':<24}{HEAD}")
    for name, taken in times.items():
        print(f"{name:<24}{quartiles(taken)}")
    aim(f"one command of Slurm ({asked} counted)", asked == 1)
    aim(f"under {STATUS_S * 1e3:.0f} ms", statistics.median(times["asks"]) < STATUS_S)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lab", nargs="?", type=int, const=7, metavar="SLOT")
    parser.add_argument("--partition", default="prod", help="where the jobs go; default prod")
    parser.add_argument("--site", help="exa's profile of the cluster; by default a small one")
    parser.add_argument("--peers", type=Path, metavar="VENV", help="has the peers installed")
    parser.add_argument("--rounds", type=int, default=20)
    words = parser.parse_args()
    there = cluster_of_environment() if words.lab is None else lab(words.lab)
    try:
        with tempfile.TemporaryDirectory() as name, there as variables:
            home, folder = Path(name), Path(name, "work")
            folder.mkdir()
            place = Place(folder, environment(home) | variables, words.partition)
            known = ours(place, words.site)
            able, unable = peers(words.peers, home, place)
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {words.rounds} rounds")
            show_submissions(measure(known | able, words.rounds, place), unable)
            show_status(*measure_status(words.rounds, place))
    except NoSlurm as why:
        print(f"submit_latency: not run: {why}")
    except (Failed, LabError) as error:
        sys.exit(f"submit_latency: {error}")


if __name__ == "__main__":
    main()
