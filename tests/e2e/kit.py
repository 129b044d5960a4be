"""What the end-to-end tests share: a tiny run, the real command, and the bytes of a state."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exa_cli.base import proc
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.read import Want, open_data, read_ranges

TINY = """
[resources]
walltime = "00:10:00"
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
[train]
steps = 40
seq_len = 64
global_batch = 4
microbatch = 2
validate_windows = 4
[checkpoint]
every = 5
[policy]
backoff = "00:00:01"
"""


class Exa:
    """The command ``exa`` in an environment of its own: spool, runs, cache and node-local disks."""

    def __init__(self, home, data):
        self.home = home
        self.data = data
        self.env = {
            **os.environ,
            "EXA_RUNS": str(home / "runs"),
            "EXA_LOCAL_SPOOL": str(home / "spool"),
            "EXA_CACHE": str(home / "cache"),
            "TMPDIR": str(home / "tmp"),
        }
        (home / "tmp").mkdir(parents=True, exist_ok=True)

    def argv(self, *args):
        return [sys.executable, "-m", "exa_cli", *map(str, args)]

    def start(self, *args, **options):
        return subprocess.Popen(
            self.argv(*args), env=self.env, cwd=self.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def run(self, *args):
        return subprocess.run(
            self.argv(*args), env=self.env, cwd=self.home, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    def code(self, *args):
        return self.run(*args).returncode

    def __call__(self, *args, expect=0):
        done = self.run(*args)
        assert done.returncode == expect, (args, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *args, expect=0):
        return json.loads(self(*args, "--json", expect=expect).stdout)

    def runfile(self, **changes):
        path = self.home / "tiny.toml"
        path.write_text(TINY.format(data=str(self.data)))
        return path, [w for k, v in changes.items() for w in ("--set", f"{k}={v}")]

    def submit(self, name, *args, settings=None, expect=0):
        path, _ = self.runfile()
        words = [w for k, v in (settings or {}).items() for w in ("--set", f"{k}={v}")]
        return self("submit", path, "--name", name, *words, *args, expect=expect)

    def run_dir(self, name):
        (found,) = [p for p in (self.home / "runs").iterdir() if name in (p.name, p.name[:-5])]
        return found

    def wait_until(self, condition, seconds=120):
        """Wait for something to become true; its value."""
        give_up = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < give_up, "waited in vain"
            time.sleep(0.02)
        return value

    def settle(self, name):
        """Wait until the run has no job, and no process of it is left."""
        live = ("queued", "running", "resubmitting")
        self.wait_until(lambda: self.json("status", name)["state"] not in live)
        self.wait_until(lambda: not processes(self.run_dir(name)))
        return self.json("status", name)


def processes(run_dir, *words):
    """Live processes of a run whose command line has all of these words."""
    found = []
    for pid in proc.pids():
        if proc.environment(pid).get("EXA_RUN_DIR") == str(run_dir):
            process = proc.identify(pid)
            if process and proc.alive(process) and all(w in command_line(pid) for w in words):
                found.append(process)
    return found


def stop_in_a_step(exa, victim):
    """Stop a rank while it is in a step: what a part of a validation or of a save may take is
    minutes, which no test waits for. A rank that is gone meanwhile is let be."""

    def stopped():
        proc.send(victim, signal.SIGSTOP)
        exa.wait_until(lambda: (seen := proc.stat(victim.pid)) is None or seen.state in "TZX")
        if not proc.alive(victim) or phase(exa, victim.pid) == "step":
            return True
        return not proc.send(victim, signal.SIGCONT)

    exa.wait_until(stopped)


def phase(exa, pid):
    """What a rank says it is in, by its heartbeat; None when it says nothing."""
    for path in (exa.home / "tmp").glob("exa-*/*/runs/*/*/heartbeat/*.json"):
        beat = json.loads(path.read_text())
        if beat["pid"] == pid:
            return beat["phase"]
    return None


def command_line(pid):
    try:
        return (proc.PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def runner(exa):
    """The detached runners of this spool."""
    spool = str(exa.home / "spool")
    found = [p for p in proc.pids() if spool in command_line(p) and "runner" in command_line(p)]
    return [p for pid in found if (p := proc.identify(pid)) and proc.alive(p)]


def last_state(run_dir):
    """A digest of all stored bytes of the newest checkpoint: weights and optimizer, every rank."""
    folder = max(
        p for p in (run_dir / "checkpoints").glob("step-*") if (p / "MANIFEST.json").exists()
    )
    manifest = manifests.read(folder)
    digest = hashlib.sha256(str(manifest.step).encode())
    for record in sorted(manifest.files, key=lambda r: r.writer):
        data = open_data(folder / record.name, record, manifest.identity(record.writer))
        stream = memoryview(bytearray(data.footer.data_bytes))
        read_ranges(data, [Want(0, len(stream), lambda s=stream: s)])
        digest.update(stream)
        digest.update(repr([(s.fqn, s.start, s.size, s.at) for s in data.footer.slices]).encode())
    return digest.hexdigest()


def losses(run_dir):
    """step → loss, the last record of each step."""
    lines = (run_dir / "metrics" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {r["step"]: r["loss"] for r in records if "loss" in r}


def corpus(folder: Path) -> Path:
    """A little real text: part of the standard library."""
    folder.mkdir(parents=True)
    for source in sorted(Path(os.__file__).parent.glob("*.py"))[:40]:
        text = source.read_bytes().decode("utf-8")
        if text.strip():
            (folder / source.name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Prepared data that all tests of this session share."""
    home = tmp_path_factory.mktemp("data")
    return prepared_in(home)


def prepared_in(home):
    exa = Exa(home, None)
    exa("data", "prepare", corpus(home / "text"), "-o", home / "prepared", "--vocab", "320")
    return home / "prepared"


@pytest.fixture
def exa(tmp_path, prepared):
    """The command in a home of its own; its runs are cancelled when the test is over."""
    made = Exa(tmp_path, prepared)
    yield made
    for run in (p for p in tmp_path.glob("runs/*") if not p.name.startswith(".")):
        made("cancel", run, expect=0)
        made.settle(run.name)
