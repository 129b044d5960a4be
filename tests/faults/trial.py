"""One trial: a run meets faults at random times, and must end as one that met none."""

import random
import time
from dataclasses import dataclass

from faults import FAULTS, QUICK
from kit import last_state, processes

EXACT = {"train.precision": "fp32", "train.threads": 1, **QUICK}
"""What a run must be for its bits to be comparable."""


@dataclass(frozen=True)
class Result:
    """What became of a trial. ``steps_lost`` are steps that were computed twice; ``seconds`` is
    what the run took beyond the undisturbed one."""

    faults: tuple[str, ...]
    state: str
    same_bits: bool
    nothing_left: bool
    causes: tuple[str, ...]
    steps_lost: int
    seconds: float

    @property
    def good(self):
        return self.state == "done" and self.same_bits and self.nothing_left


def undisturbed(exa):
    """The state and duration of a run that meets nothing."""
    began = time.monotonic()
    exa.submit("whole", "--wait", settings=EXACT)
    return last_state(exa.run_dir("whole")), time.monotonic() - began


def trial(exa, name, faults, reference, rng=random):
    """Run under faults, each once the run has gone on a little; a waiting submit keeps it alive."""
    state, usual = reference
    began = time.monotonic()
    path, words = exa.runfile(**EXACT)
    waiting = exa.start("submit", path, "--name", name, "--wait", *words)
    exa.wait_until(lambda: list(exa.home.glob(f"runs/{name}-*/metrics/metrics.jsonl")))
    run, at = exa.run_dir(name), 0
    for fault in faults:
        at = min(38, at + rng.randrange(6, 14))
        exa.wait_until(lambda step=at: ended(exa, name) or steps(exa, name) >= step, 240)
        if not ended(exa, name):
            FAULTS[fault](exa, run)
    waiting.communicate(timeout=400)
    took = time.monotonic() - began
    answer = exa.settle(name)
    return Result(
        tuple(faults),
        answer["state"],
        answer["state"] == "done" and last_state(run) == state,
        not processes(run),
        tuple(life["cause"] or "no word" for life in exa.json("report", name)["lives"]),
        computed_twice(run),
        took - usual,
    )


def ended(exa, name):
    return exa.json("status", name)["state"] in ("done", "failed", "cancelled")


def steps(exa, name):
    return exa.json("status", name)["step"]


def computed_twice(run):
    lines = (run / "metrics" / "metrics.jsonl").read_text().splitlines()
    return sum('"loss"' in line for line in lines) - 40
