"""The main job of exa on one machine, with nothing left out: prepare, submit, train on two MPI
ranks, lose a rank to SIGKILL and then the supervisor, resume, report.

Run by ``make demo``; it only calls the command ``exa``, as a user would. What it makes lies in
``demo-out/``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = Path(os.environ.get("EXA_DEMO_OUT", "demo-out")).absolute()
TRAIN_SECONDS = float(os.environ.get("EXA_DEMO_SECONDS", "215"))
STEPS = (400, 800)
PROBE_STEPS = 24


def say(text: str) -> None:
    print(f"\n\033[1m» {text}\033[0m" if sys.stdout.isatty() else f"\n» {text}", flush=True)


def exa(*args: Any, check: bool = True) -> int:
    """Run a verb, showing the command and what it prints."""
    words = [str(a) for a in args]
    print("$ exa " + " ".join(words), flush=True)
    status = subprocess.run([sys.executable, "-m", "exa_cli", *words]).returncode
    if check and status:
        sys.exit(f"exa {words[0]} ended with status {status}")
    return status


def ask(*args: Any) -> dict[str, Any]:
    """A verb's JSON answer."""
    argv = [sys.executable, "-m", "exa_cli", *[str(a) for a in args], "--json"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def fresh_output() -> None:
    """Keep prepared data of an earlier demo, nothing else."""
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(OUT / "runs", ignore_errors=True)
    shutil.copyfile(HERE / "run.toml", OUT / "run.toml")
    os.environ["EXA_RUNS"] = str(OUT / "runs")
    os.environ["EXA_LOCAL_SPOOL"] = str(OUT / "spool")
    os.chdir(OUT)


def measured_steps() -> int:
    """How many steps fit into the time, by a short run; frozen in the run file from then on."""
    probe = ask("submit", "run.toml", "--name", "probe", "--set", f"train.steps={PROBE_STEPS}",
                "--set", "train.validate_windows=2", "--wait")  # fmt: skip
    lines = (Path(probe["dir"]) / "metrics" / "metrics.jsonl").read_text().splitlines()
    seconds = sorted(r["step_s"] for r in map(json.loads, lines) if "step_s" in r)
    median = seconds[len(seconds) // 2]
    steps = int(TRAIN_SECONDS / median) // 50 * 50
    print(f"the median step took {median:.3f} s: {steps} steps would fit", flush=True)
    return min(max(steps, STEPS[0]), STEPS[1])


def wait_for_step(run: str, step: int) -> None:
    """Wait until the run has committed a checkpoint and gone on past a step."""
    printed = 0
    while True:
        now = ask("status", run)
        if now["state"] not in ("queued", "running"):
            sys.exit(f"the run ended early: {now['cause']}")
        if now["step"] >= printed + 50:
            printed = now["step"]
            print(f"step {now['step']} of {now['steps_total']}", flush=True)
        if now["step"] >= step and now["checkpoint"]:
            return
        time.sleep(0.5)


def kill(run_dir: str, word: bytes) -> None:
    """SIGKILL the first process of a run with a word in its command line, found as anyone would:
    by the environment it carries."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"EXA_RUN_DIR={run_dir}".encode() in environ and word in command.split(b"\0"):
            print(f"$ kill -9 {folder.name}", flush=True)
            os.kill(int(folder.name), signal.SIGKILL)
            return
    sys.exit("no such process was found")


def wait_for_end(run: str) -> None:
    while ask("status", run)["state"] in ("queued", "running"):
        time.sleep(0.3)


def wait_for_life(run: str, number: int, step: int) -> None:
    """Wait until another life of the run's attempt trains past a step."""
    while True:
        (life,) = [x for x in ask("report", run)["lives"] if x["life"] == number] or [{}]
        if life.get("loaded_step") is not None and ask("status", run)["step"] >= step:
            return
        time.sleep(0.5)


def main() -> None:
    begin = time.monotonic()
    fresh_output()
    say("Prepare: the standard library of this Python becomes tokens")
    exa("data", "prepare", "builtin:python-stdlib", "-o", "data", "--vocab", 512)
    say("Probe: a short run, to size the long one")
    steps = measured_steps()
    say(f"Submit: {steps} steps on 2 virtual nodes, one MPI rank each")
    exa("submit", "run.toml", "--name", "demo", "--set", f"train.steps={steps}")
    run_dir = ask("status", "demo")["run"]
    wait_for_step("demo", steps * 2 // 5)
    say("Die: one rank gets SIGKILL")
    kill(str(OUT / "runs" / run_dir), b"exa_train")
    say("Go on: the job starts its ranks again, from the last committed step")
    wait_for_life("demo", 2, steps * 3 // 5)
    exa("status", "demo")
    say("Die: now the supervisor, and with it the job")
    kill(str(OUT / "runs" / run_dir), b"job")
    wait_for_end("demo")
    exa("status", "demo")
    say("Resume: from the last committed step")
    exa("resume", "demo", "--follow")
    say("Verify: every chunk of every checkpoint")
    exa("ckpt", "verify", "demo")
    say("Report")
    exa("report", "demo", "-o", OUT / "loss.png")
    print(
        f"\nthe demo took {time.monotonic() - begin:.0f} s\n"
        f"  loss curve    {OUT / 'loss.png'}\n"
        f"  run           {OUT / 'runs' / run_dir}\n"
        f"  TensorBoard   tensorboard --logdir {OUT / 'runs' / run_dir / 'metrics'}\n"
        f"  prepared data {OUT / 'data'}"
    )


if __name__ == "__main__":
    main()
