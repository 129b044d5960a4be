"""Recovery of the 250B model on 128 nodes: a budget of its parts, and a year simulated with it.

    python benchmarks/recovery_at_scale.py [--nodes 128] [--days 365] [--seed 1]

Nothing here ran on 128 nodes. Each part of a recovery has a lowest, a usual and a highest number of
seconds and says where they are from: measured by this process (hashing, parity), a constant of
exa's own, published by others, or the bytes to move over a published bandwidth. A simulated year
draws interrupts (exponential, independent) and recoveries (triangular within each part's bounds)
and trains in between with the checkpoint interval that exa would choose.

What is simulated is also computed to first order (`exa_cli.arith.interval.lost`); the two are
printed side by side, and docs/recovery-at-scale.md reads the table.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import xxhash

from exa_cli.arith import interval
from exa_cli.arith.families import family_of, preset
from exa_cli.checkpoint import xor
from exa_cli.job import nodes as node_watch
from exa_cli.job import watch as rank_watch

MODEL = "alphaexa-250b"
AIM_S = 30.0
CORES = 8
"""Cores of a node that check what is read; a Polaris node has 32."""

GROUP = 8
"""Nodes of a parity group."""

GB = 1e9

HARDWARE_S = 29.0 * 3600 * 128
"""Seconds a node trains between faults of hardware alone (Kokolis et al. 2024, as the prior)."""


@dataclass(frozen=True)
class Part:
    """Seconds that one part of a recovery takes, and where they are from."""

    name: str
    low: float
    usual: float
    high: float
    source: str


@dataclass(frozen=True)
class Way:
    """How a run comes back, whether exa does it, and when a save can be come back to.

    ``landed_s`` is from when a save begins until it is whole where it would be read from.
    """

    name: str
    built: str
    landed_s: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Machine:
    """What this process measured, in bytes a second of one core."""

    hashed: float
    xored: float


@dataclass(frozen=True)
class Year:
    """What a simulated year came to; times in seconds."""

    recoveries: int
    p50: float
    p99: float
    within: float
    lost: float


def rate(work: Callable[[], object], size: int, seconds: float = 0.5) -> float:
    """Bytes a second that ``work`` gets through on one core: the median of many calls."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return size / statistics.median(taken)


def measured() -> Machine:
    """Chunks of 4 MiB, as checkpoints have them, and more of them than caches hold."""
    size = 4 << 20
    many, sums = memoryview(os.urandom(64 * size)), xor.Xor(size)
    chunks = itertools.cycle([many[at : at + size] for at in range(0, len(many), size)])
    hashed = rate(lambda: xxhash.xxh3_128_digest(next(chunks)), size)
    return Machine(hashed, rate(lambda: sums.add(next(chunks)), size))


def bytes_over(size: float, name: str, best: float, usual: float, worst: float, why: str) -> Part:
    """``size`` bytes at three bandwidths in GB/s."""
    return Part(name, size / best / GB, size / usual / GB, size / worst / GB, why)


def ways(stored: int, nodes: int, machine: Machine) -> list[Way]:
    """The ways back: what exa does, and what could be built."""
    mine = stored / nodes
    check = mine / machine.hashed / CORES
    checked = Part("check what was read", check, check, 2 * check,
                   f"xxh3-128 of {mine / GB:.1f} GB on {CORES} cores, one measured")  # fmt: skip
    stale, silent = node_watch.STALE_S, node_watch.SILENT_S
    node_gone = Part("notice a dead node", stale, stale + 2, silent,
                     "exa: ranks fail and its agent is silent, or its agent alone is")  # fmt: skip
    rank_gone = Part("notice a dead rank", 0, rank_watch.TICK_S, 5,
                     "exa looks so often; a launcher that ends late: assumed")  # fmt: skip
    stop = Part("end and sweep the rest", 0.5, 2, node_watch.TIDY_S,
                "exa waits so long for nodes to tidy; usual: assumed")  # fmt: skip
    launch = Part("launch to the first step", 20.9, 30.5, 34.6,
                  "ALCF, Aurora, 8 to 128 nodes, 2B model, environment on the nodes")  # fmt: skip
    shared = bytes_over(stored, "read from the shared filesystem", 325, 140, 57.5,
                        "Eagle at 50 % and 21.5 % of its peak; BLOOM's 57.5 GB/s")  # fmt: skip
    local = bytes_over(mine, "read from the node", 20, 3.3, 1.65,
                       "memory; two NVMe as ALCF tells; half of that")  # fmt: skip
    pulled = mine * (GROUP - 1) / GB
    rebuilt = Part("rebuild the lost node's part", mine / 40 / GB, pulled / 40,
                   pulled / 40 + pulled * GB / machine.xored,
                   f"parity of {GROUP}, two NICs at 80 %; XOR on one core, measured")  # fmt: skip
    warm = Part("abort, fence, communicators", 2, 5, 8,
                "assumed; TrainMover's whole recovery: some 20 s, 1,024 GPUs")  # fmt: skip
    kept = Part("notice", 1, 2, 5, "ranks that live see a broken communicator; assumed")
    first = Part("sampler, checks, first step's own", 0.5, 1, 2, "assumed")
    return [
        Way("a node dies: spare, relaunched, shared copy", "built", shared.usual,
            (node_gone, stop, launch, shared, checked)),
        Way("a rank dies: relaunched, shared copy", "built", shared.usual,
            (rank_gone, stop, launch, shared, checked)),
        Way("a rank dies: relaunched, copies on the nodes", "not built", local.usual,
            (rank_gone, stop, launch, local, checked)),
        Way("a node dies: ranks kept, warm spare, parity", "not built", local.usual,
            (kept, warm, rebuilt, checked, first)),
    ]  # fmt: skip


def total(way: Way) -> tuple[float, float, float]:
    """The sums of the lowest, usual and highest seconds."""
    rows = [(part.low, part.usual, part.high) for part in way.parts]
    low, usual, high = (sum(column) for column in zip(*rows, strict=True))
    return low, usual, high


def drawn(way: Way, chance: numpy.random.Generator) -> float:
    """One recovery's seconds: each part triangular between its bounds."""
    bounded = [p for p in way.parts if p.high > p.low]
    fixed = sum(p.low for p in way.parts if p.high <= p.low)
    return fixed + sum(float(chance.triangular(p.low, p.usual, p.high)) for p in bounded)


def simulated(
    way: Way, mean_s: float, cost_s: float, every_s: float, days: float,
    chance: numpy.random.Generator,
) -> Year:  # fmt: skip
    """Train until the days are over; an interrupt loses what was not saved, wherever it strikes.

    Args:
        way: how the run comes back.
        mean_s: seconds between interrupts.
        cost_s: seconds that a save holds up training.
        every_s: seconds of work between saves.
        days: how long.
        chance: where interrupts and recoveries are drawn from.
    """
    now, kept, recoveries = 0.0, 0.0, []
    end, period_s = days * 86400, every_s + cost_s
    while now < end:
        left = float(chance.exponential(mean_s))
        if now + left >= end:  # nothing strikes again: all work until the end is kept
            kept += (end - now) * every_s / period_s
            now = end
        else:
            # The k-th save begins after k × W + (k - 1) × C and counts once it has landed.
            kept += max(0, math.floor((left - way.landed_s + cost_s) / period_s)) * every_s
            now += left
            took = drawn(way, chance)
            recoveries.append(took)
            while (again := float(chance.exponential(mean_s))) < took:
                now, took = now + again, drawn(way, chance)
                recoveries.append(took)
            now += took
    if not recoveries:
        raise SystemExit(
            f"no interrupt in {days:g} days of one every {mean_s / 3600:.1f} h: more --days"
        )
    seconds = numpy.array(recoveries)
    p50, p99 = (float(q) for q in numpy.quantile(seconds, (0.5, 0.99)))
    return Year(len(recoveries), p50, p99, float((seconds < AIM_S).mean()), 1 - kept / now)


def show_budget(way: Way) -> None:
    low, usual, high = total(way)
    print(f"\n{way.name} ({way.built})")
    for part in way.parts:
        print(
            f"  {part.name:<34}{part.low:>7.1f}{part.usual:>7.1f}{part.high:>7.1f}  {part.source}"
        )
    print(f"  {'sum':<34}{low:>7.1f}{usual:>7.1f}{high:>7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=128)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    config = preset(MODEL)
    stored, machine = family_of(config).state_bytes(config).stored, measured()
    mine = stored / given.nodes
    print(f"{MODEL}: {stored / GB:,.0f} GB stored, {mine / GB:.1f} GB a node of {given.nodes}; "
          f"measured here, one core: xxh3-128 {machine.hashed / GB:.1f} GB/s, "
          f"XOR {machine.xored / GB:.1f} GB/s")  # fmt: skip
    print("seconds: lowest, usual, highest, and where they are from")
    found = ways(stored, given.nodes, machine)
    for way in found:
        show_budget(way)
    cost_s = mine / 20 / GB
    print(f"\n{given.days:g} days simulated; a save holds up training for {cost_s:.1f} s (copied "
          "to memory at 20 GB/s), every so often as Daly's formula has it")  # fmt: skip
    head = f"{'way':<48}{'MTBF':>6}{'every':>7}{'p50':>7}{'p99':>7}{'<30 s':>7}{'of':>7}{'lost':>8}"
    print(f"{head}{'formula':>9}")
    for mean_h in (interval.prior_s(given.nodes) / 3600, HARDWARE_S / given.nodes / 3600):
        mean_s = mean_h * 3600
        every_s = interval.daly(cost_s, mean_s)
        for way in found:
            # A generator of its own for each row: rows do not hang on their order.
            seen = simulated(way, mean_s, cost_s, every_s, given.days,
                         numpy.random.default_rng(given.seed))  # fmt: skip
            formula = interval.lost(every_s, cost_s, mean_s, seen.p50 + way.landed_s)
            times = f"{seen.p50:>6.0f}s{seen.p99:>6.0f}s{seen.within:>7.0%}{seen.recoveries:>7,}"
            print(
                f"{way.name:<48}{mean_h:>5.1f}h{every_s / 60:>6.1f}m{times}"
                f"{seen.lost:>8.2%}{formula:>9.2%}"
            )


if __name__ == "__main__":
    main()
