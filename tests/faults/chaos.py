"""A campaign of random faults: ``python tests/faults/chaos.py --seeds 20``.

Each seed is a run that meets one to three faults, drawn with when they come. The table says what
was met, how each life ended, and whether the run ended as an undisturbed one; wrong results must
be 0.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from faults import FAULTS  # noqa: E402
from kit import Exa, prepared_in  # noqa: E402
from trial import trial, undisturbed  # noqa: E402


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=10, help="runs")
    asked.add_argument("--first", type=int, default=1, help="the first seed")
    args = asked.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="exa-chaos-") as folder:
        home = Path(folder)
        data = prepared_in(home / "data")
        reference = undisturbed(home_of(home / "whole", data))
        print(f"undisturbed: {reference[1]:.0f} s")
        print(f"{'seed':<6}{'good':<6}{'lost':<6}{'seconds':<9}faults: ends of lives", flush=True)
        for seed in range(args.first, args.first + args.seeds):
            rng = random.Random(seed)
            random.seed(seed)
            faults = rng.choices(sorted(FAULTS), k=rng.randint(1, 3))
            found = trial(home_of(home / str(seed), data), f"s{seed}", faults, reference, rng)
            results.append(found)
            print(row(seed, found), flush=True)
    return summary(results)


def home_of(folder, data):
    folder.mkdir()
    return Exa(folder, data)


def row(seed, found):
    words = f"{', '.join(found.faults)}: {', '.join(found.causes)}"
    good = "yes" if found.good else "NO"
    return f"{seed:<6}{good:<6}{found.steps_lost:<6}{found.seconds:<9.0f}{words}"


def summary(results):
    """Totals; 1 when a run ended otherwise than an undisturbed one."""
    met = sum(len(r.faults) for r in results)
    wrong = sum(r.state == "done" and not r.same_bits for r in results)
    unfinished = sum(r.state != "done" for r in results)
    left = sum(not r.nothing_left for r in results)
    lost, seconds = sum(r.steps_lost for r in results), sum(r.seconds for r in results)
    print(
        f"{len(results)} runs met {met} faults: {len(results) - unfinished} finished, {lost} steps "
        f"lost, {seconds:.0f} s lost, {wrong} wrong results, {unfinished} unfinished, {left} left "
        "something behind"
    )
    return 1 if wrong or unfinished or left else 0


if __name__ == "__main__":
    sys.exit(main())
