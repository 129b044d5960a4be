"""A run on a real Slurm cluster: its directory, its jobs, and what is left behind."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import Cluster

from exa_cli.base.proc import Process
from exa_cli.login import draft as drafts
from exa_cli.login import submit
from exa_cli.runs.rundir import RunDir

SITE = """
inherits = "slurm"
[site]
name = "lab"
[scheduler]
kill_delay_s = 30.0
poll_s = 1.0
[[queue]]
name = "prod"
[directives]
account = false
[preemption]
requeue = true
[node]
count = 4
ranks_per_node = 1
cpus = {cpus}
gpus = 0
[launcher]
options = ["--mpi=pmi2"]
[local_storage]
path = "{local}/exa-{{uid}}"
[torch]
device = "cpu"
backend = "gloo"
"""

RUN = """
[resources]
nodes = {nodes}
walltime = "{walltime}"
[model]
layers = 4
d_model = 64
heads = 2
kv_heads = 1
head_dim = 32
ffn = 128
experts = 4
expert_ffn = 64
moe_period = 2
[data]
path = {data!r}
vocab = 320
[parallel]
ranks_per_node = {each}
[train]
steps = {steps}
seq_len = 64
global_batch = 4
microbatch = 1
validate_every = 4
validate_windows = 4
threads = 1
[checkpoint]
every = {every}
[policy]
stop_before = "{stop_before}"
resubmit = "never"
retries = 0
"""


@dataclass
class Lab:
    """A cluster, and a folder that all its nodes share, with prepared data in it."""

    slurm: Cluster
    folder: Path

    @property
    def nodes(self):
        return self.slurm.spec.names

    def make_run(self, name, **changes):
        """A run's directory with its first attempt, as ``exa submit`` lays them down."""
        asked = {
            "nodes": 4, "each": 1, "steps": 20, "every": 5,
            "walltime": "00:10:00", "stop_before": "00:00:20", **changes,
        }  # fmt: skip
        site, path = self.folder / "lab.toml", self.folder / f"{name}.toml"
        site.write_text(SITE.format(cpus=self.slurm.spec.cpus, local=self.slurm.spec.local))
        path.write_text(RUN.format(data=str(self.folder / "data"), **asked))
        made = drafts.draft(path, drafts.Options(site=str(site), name=name))
        run = submit.new_run(made)
        submit.lay_down(run, made)
        return run

    def sbatch(self, run: RunDir, *options):
        """Hand in the first attempt's script; the job's id. Options win over its directives."""
        script = run.attempt("001") / "script.sh"
        return self.slurm.run("sbatch", "--parsable", *options, script).strip()

    def linger(self, run: RunDir, seconds):
        """The same as a part of a script that goes on after it."""
        script = self.folder / "linger.sh"
        script.write_text(
            f"#!/bin/bash\nbash {run.attempt('001') / 'script.sh'}\nsleep {seconds}\n"
        )
        options = ("-p", "prod", "-N4", "--exclusive", "-t", "10", "-o", "/dev/null")
        return self.slurm.run("sbatch", "--parsable", *options, script).strip()

    def state(self, job):
        words = self.slurm.run("scontrol", "-o", "show", "job", job).split()
        return dict(word.partition("=")[::2] for word in words)["JobState"]

    def wait(self, job, seconds=400):
        """Until a job has ended; its state."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        return wait_until(lambda: (s := self.state(job)) in over and s, seconds)

    def inside(self, node, *argv):
        """Run a command on a node, in its own namespaces; its output."""
        pid = str(self.first_process(node).pid)
        words = ["nsenter", "-t", pid, "-m", "-n", "-p", "-u", "-i", *map(str, argv)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def first_process(self, node) -> Process:
        return self.slurm._init(node)

    def processes(self, node, run, *words):
        """Pids (of the node) of a run's processes there whose command line has all the words."""
        code = (
            "import sys\nfrom pathlib import Path\nfrom exa_cli.base import proc\n"
            "for pid in proc.pids():\n"
            "    if proc.environment(pid).get('EXA_RUN_DIR') == sys.argv[1]:\n"
            "        text = Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\\0', b' ')\n"
            "        if all(w in text.decode() for w in sys.argv[2:]): print(pid)\n"
        )
        return self.inside(node, sys.executable, "-c", code, run.path, *words).split()

    def kill(self, node, pid, name="KILL"):
        self.inside(node, "kill", f"-{name}", pid)

    def disk(self, node, run):
        """Files of a run on a node's own disk; data does not belong to a run."""
        found = self.inside(node, "find", self.slurm.spec.local, "-type", "f").splitlines()
        return [line for line in found if f"/{run.run_id}/" in line]

    def wipe(self):
        """Empty every node's disk, as a site does between jobs."""
        for node in self.nodes:
            local = self.slurm.spec.local
            self.inside(node, "find", local, "-mindepth", "1", "-delete")


def wait_until(condition, seconds=120):
    """Wait for something to become true; its value."""
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.1)
    return value


def events(run, kind=None, writer=""):
    """Journal events of a run, in order of time."""
    found = []
    for path in sorted((run.path / "journal").glob(f"{writer}*.jsonl")):
        lines = path.read_text().splitlines(keepends=True)
        found += [json.loads(line) for line in lines if line.endswith("\n")]
    return sorted((e for e in found if kind in (None, e["event"])), key=lambda e: e["t"])


def prepare(source, out):
    """Prepared data of a little real text."""
    argv = [sys.executable, "-m", "exa_cli", "data", "prepare", *map(str, source)]
    subprocess.run([*argv, "-o", out, "--vocab", "320"], check=True, env=dict(os.environ))
