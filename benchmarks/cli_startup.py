"""How long the command takes to start, beside the interpreter alone, in one interleaved run.

Aims, warm: ``exa --help`` under 120 ms, ``exa submit --dry-run`` and ``exa plan`` under 300 ms.
Prints medians with the fastest and slowest round, and ratios to ``python -c pass``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AIMS = {"exa --help": 0.120, "exa submit --dry-run": 0.300, "exa plan": 0.300}


def commands(folder: Path) -> dict[str, list[str]]:
    exa = str(Path(sys.executable).parent / "exa")
    run_file = folder / "run.toml"
    subprocess.run([exa, "init", str(run_file)], check=True, capture_output=True)
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "exa --help": [exa, "--help"],
        "exa status": [exa, "status"],
        "exa model show alphaexa-250b": [exa, "model", "show", "alphaexa-250b"],
        "exa submit --dry-run": [exa, "submit", str(run_file), "--dry-run"],
        "exa plan": [exa, "plan", str(run_file)],
    }


def once(argv: list[str], folder: Path) -> float:
    own = {"EXA_RUNS": str(folder / "runs"), "PYTHONPYCACHEPREFIX": str(folder / "pycache")}
    env = {**os.environ, **own}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode it would never be warm
    begin = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, env=env)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        todo = commands(folder)
        for argv in todo.values():
            once(argv, folder)
        times: dict[str, list[float]] = {label: [] for label in todo}
        for _ in range(rounds):
            for label, argv in todo.items():
                times[label].append(once(argv, folder))
    base = statistics.median(times["python -c pass"])
    print(f"{'command':<32}{'median':>9}{'min':>9}{'max':>9}{'ratio':>8}   aim")
    for label, taken in times.items():
        median = statistics.median(taken)
        aim = AIMS.get(label)
        verdict = (
            "" if aim is None else f"{aim * 1e3:.0f} ms: {'met' if median < aim else 'MISSED'}"
        )
        figures = "".join(f"{t * 1e3:>7.0f}ms" for t in (median, min(taken), max(taken)))
        print(f"{label:<32}{figures}{median / base:>8.1f}   {verdict}")


if __name__ == "__main__":
    main()
