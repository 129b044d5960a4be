"""Whatever is killed, whenever: `exa resume` goes on and ends with the same bits."""

import os
import random
import signal
import time

import pytest
from kit import Exa, last_state, losses, processes, runner

from exa_cli.base import proc
from exa_cli.job.sweep import segments_of

pytestmark = pytest.mark.slow

VARIANTS = {
    "fp32, 1 thread, top-2": {"train.precision": "fp32", "train.threads": 1},
    "fp32, 2 threads, top-3": {
        "train.precision": "fp32", "train.threads": 2, "model.top_k": 3,
    },
    "bf16, 1 thread, top-3": {"train.precision": "bf16", "train.threads": 1, "model.top_k": 3},
    "bf16, 2 threads, top-2": {"train.precision": "bf16", "train.threads": 2},
}  # fmt: skip

_references = {}


@pytest.fixture
def reference(request, tmp_path_factory, prepared):
    """The state and losses of an uninterrupted run of a variant, made once."""

    def of(variant):
        if variant not in _references:
            exa = Exa(tmp_path_factory.mktemp("reference"), prepared)
            exa.submit("whole", "--wait", settings=VARIANTS[variant])
            run = exa.run_dir("whole")
            _references[variant] = last_state(run), losses(run)
        return _references[variant]

    return of


def kill(found):
    for process in found:
        proc.send(process, signal.SIGKILL)


def one_rank(exa, run):
    ranks = processes(run, "exa_train")
    kill(random.sample(ranks, 1) if ranks else [])


def the_supervisor(exa, run):
    kill(processes(run, "exa_cli job"))


def the_launcher(exa, run):
    kill(processes(run, "mpiexec"))


def the_runner(exa, run):
    kill(runner(exa))


def everything(exa, run):
    kill(runner(exa))
    kill(processes(run))


VICTIMS = [one_rank, the_supervisor, the_launcher, the_runner, everything]


def kill_at_random(exa, run, victim, rng):
    """Kill somewhere between submission and the end; where, is not ours to choose."""
    time.sleep(rng.uniform(0.0, 9.0))
    victim(exa, run)


def killed_and_resumed(exa, reference, variant, victim, rng):
    """Kill, resume, and compare all losses and all stored bytes with the uninterrupted run's."""
    state, curve = reference(variant)
    exa.submit("killed", settings=VARIANTS[variant])
    run = exa.run_dir("killed")
    kill_at_random(exa, run, victim, rng)
    exa.settle("killed")
    exa("resume", "killed", "--wait")
    assert exa.json("status", "killed")["state"] == "done"
    assert losses(run) == curve
    assert last_state(run) == state


def random_source():
    """A new seed each time, printed so that a failure can be had again."""
    seed = int(os.environ.get("EXA_TEST_SEED", random.randrange(10**6)))
    print(f"EXA_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda v: v.__name__)
def test_whatever_is_killed_the_resumed_run_ends_bit_identical(exa, reference, victim, kill_round):
    killed_and_resumed(exa, reference, next(iter(VARIANTS)), victim, random_source())


@pytest.mark.parametrize("variant", list(VARIANTS)[1:])
def test_in_every_precision_and_threading_a_resumed_run_ends_bit_identical(
    exa, reference, variant, kill_round
):
    rng = random_source()
    killed_and_resumed(exa, reference, variant, rng.choice(VICTIMS), rng)


def test_a_run_that_is_killed_again_and_again_still_ends_bit_identical(exa, reference, kill_round):
    rng = random_source()
    variant = next(iter(VARIANTS))
    state, curve = reference(variant)
    exa.submit("unlucky", settings=VARIANTS[variant])
    run = exa.run_dir("unlucky")
    for _ in range(3):
        kill_at_random(exa, run, rng.choice(VICTIMS), rng)
        exa.settle("unlucky")
        exa("resume", "unlucky")
    exa.settle("unlucky")
    exa("resume", "unlucky", "--wait")
    assert (last_state(run), losses(run)) == (state, curve)


def test_a_kill_leaves_no_process_and_no_shared_memory_behind(exa):
    """Segments are counted only if nobody else made or removed any meanwhile: by their maps."""
    exa.submit("tidy", settings={"train.steps": 4000})
    run = exa.run_dir("tidy")
    ranks = exa.wait_until(lambda: processes(run, "exa_train"))
    used = exa.wait_until(lambda: set().union(*(segments_of(p.pid) for p in ranks)))
    exa.wait_until(lambda: (run / "metrics" / "metrics.jsonl").exists())
    everything(exa, run)
    exa.settle("tidy")
    assert used and all(os.path.exists(name) for name in used)
    exa("resume", "tidy")
    exa.wait_until(lambda: len((run / "metrics" / "metrics.jsonl").read_text().splitlines()) > 1)
    assert not [name for name in used if os.path.exists(name)]
    exa("cancel", "tidy")
    exa.settle("tidy")
    assert not processes(run)
