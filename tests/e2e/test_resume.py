"""Whatever is killed, whenever: `exa resume` goes on and ends with the same bits."""

import random
import signal
import time

import pytest
from kit import Exa, last_state, losses, processes, runner

from exa_cli.base import proc

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


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("victim", VICTIMS, ids=lambda v: v.__name__)
def test_a_killed_and_resumed_run_ends_bit_identical(exa, reference, variant, victim, kill_round):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    state, curve = reference(variant)
    exa.submit("killed", settings=VARIANTS[variant])
    run = exa.run_dir("killed")
    kill_at_random(exa, run, victim, rng)
    exa.settle("killed")
    exa("resume", "killed", "--wait")
    assert exa.json("status", "killed")["state"] == "done"
    assert losses(run) == curve
    assert last_state(run) == state
