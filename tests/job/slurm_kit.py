"""A run on a real Slurm cluster: its directory, its job by hand, and what is left behind."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

from exa_cli.base.files import write_json
from exa_cli.login import draft as drafts
from exa_cli.runs.rundir import create, new_id
from exa_cli.spec import runfile

SITE = Path(__file__).with_name("slurm_site.toml")

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
"""

# What a job script of exa's own does, in short.
SCRIPT = """#!/bin/bash
export EXA_RUN_DIR={run} EXA_TAG={tag}
lives={run}/attempts/{attempt}/lives
life=1
while [ -e "$lives/$life" ]; do life=$((life + 1)); done
mkdir -p "$lives"
mkdir "$lives/$life" || exit 79
exec </dev/null >>"$lives/$life/stdout.log" 2>&1
set -- {python} -m exa_cli job "$EXA_RUN_DIR" --attempt {attempt} --life "$life"
[ -n "$EXA_TEST_LINGER" ] || exec "$@"
"$@"
sleep "$EXA_TEST_LINGER"
"""


def make_run(folder, data, name="demo", **changes):
    """A run directory as ``exa submit`` makes it, without a submission."""
    asked = {
        "nodes": 4, "each": 1, "steps": 20, "every": 5,
        "walltime": "00:10:00", "stop_before": "00:00:20",
        **changes,
    }  # fmt: skip
    path = folder / f"{name}.toml"
    path.write_text(RUN.format(data=str(data), **asked))
    made = drafts.draft(path, drafts.Options(site=str(SITE), name=name))
    run_id = new_id(name, unique=True)
    plan = made.plan(run_id, drafts.prepared_data(made))
    files = {
        "run.toml": runfile.dump({**made.doc.values, "name": name}),
        "site.toml": made.site.text,
        "plan.json": plan,
    }
    run = create(folder / "runs", run_id, files)
    lay_down(run, made, plan, "001")
    return run


def lay_down(run, made, plan, attempt):
    request = drafts.request(made, run, attempt, plan)
    run.attempt(attempt).mkdir()
    words = {"run": run.path, "tag": run.tag(attempt), "attempt": attempt, "python": sys.executable}
    (run.attempt(attempt) / "script.sh").write_text(SCRIPT.format(**words))
    write_json(run.attempt(attempt) / "request.json", request)


@dataclasses.dataclass
class Slurm:
    """Commands of one cluster. ``nodes`` maps a node's name to its init process's pid."""

    env: dict
    nodes: dict

    def run(self, *argv):
        done = subprocess.run(
            list(map(str, argv)), env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def sbatch(self, run, *options, attempt="001", minutes=10):
        """Submit an attempt of a run; the job's id. Slurm's own output file is never looked at."""
        asked = run.plan()["parallel"]
        nodes, each = asked["nodes"], asked["ranks_per_node"]
        return self.run(
            "sbatch", "--parsable", "-p", "prod", "-N", nodes, f"--ntasks-per-node={each}",
            "-c", 8 // each, "--mem=3500", "-t", minutes, "-J", run.tag(attempt), "-D", run.path,
            "-o", "/dev/null",
            *options, run.attempt(attempt) / "script.sh",
        ).strip()  # fmt: skip

    def state(self, job):
        words = dict(
            w.partition("=")[::2] for w in self.run("scontrol", "-o", "show", "job", job).split()
        )
        return words["JobState"]

    def wait(self, job, seconds=180):
        """Until a job has ended; its state."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        return wait_until(lambda: (s := self.state(job)) in over and s, seconds)

    def inside(self, node, *argv):
        """Run a command on a node, in its own namespaces."""
        pid = str(self.nodes[node])
        return self.run("nsenter", "-t", pid, "-m", "-n", "-p", "-u", "-i", *argv)

    def processes(self, node, run, *words):
        """Pids (of the node) of a run's processes there whose command line has all the words."""
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom exa_cli.base import proc\n"
            "for pid in proc.pids():\n"
            "    line = Path(f'/proc/{pid}/cmdline')\n"
            "    if proc.environment(pid).get('EXA_RUN_DIR') == sys.argv[1]:\n"
            "        text = line.read_bytes().replace(b'\\0', b' ').decode()\n"
            "        if all(w in text for w in sys.argv[2:]): print(pid)\n"
        )
        return self.inside(node, sys.executable, "-c", code, run.path, *words).split()

    def tmp(self, node):
        """Files of exa's on a node's own disk, but for data that is kept on purpose."""
        found = self.inside(node, "sh", "-c", "find /tmp/exa-* -type f 2>/dev/null || true")
        return [line for line in found.splitlines() if "/data/" not in line]


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
        found += [
            json.loads(line) for line in path.read_text().splitlines(True) if line[-1] == "\n"
        ]
    return sorted((e for e in found if kind in (None, e["event"])), key=lambda e: e["t"])
