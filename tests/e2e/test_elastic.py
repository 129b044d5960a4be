"""A run on other numbers of nodes sees the same samples and goes on from the exact state."""

import json
import signal

import pytest
from kit import losses, processes

from exa_cli.base import proc
from exa_cli.base.errors import Invalid

pytestmark = pytest.mark.slow

FP32 = {"train.precision": "fp32", "train.threads": 1}
NEVER_BACK = FP32 | {"policy.retries": 0, "policy.resubmit": "never"}


def stopped_at(exa, name, step):
    """Submit a run of two nodes and let it fail once it has passed a step."""
    exa.submit(name, settings=NEVER_BACK)
    exa.wait_until(lambda: exa.json("status", name)["step"] >= step)
    run = exa.run_dir(name)
    for process in processes(run, "exa_train")[:1]:
        proc.send(process, signal.SIGKILL)
    assert exa.settle(name)["state"] == "failed"
    return run


def test_on_fewer_and_on_more_nodes_it_is_the_same_training(exa):
    exa.submit("whole", "--wait", settings=FP32)
    whole = losses(exa.run_dir("whole"))
    for nodes, micro in ((1, 2), (4, 1)):
        run = stopped_at(exa, f"on{nodes}", 7)
        exa("resume", f"on{nodes}", "--nodes", nodes, "--wait")
        answer = exa.json("status", f"on{nodes}")
        assert [a["nodes"] for a in answer["attempts"]] == [2, nodes]
        launch = json.loads((run / "attempts/002/lives/1/launch.json").read_text())
        assert launch["layout"] == {"world": nodes, "microbatch": micro}
        curve = losses(run)
        assert curve.keys() == whole.keys()
        # A smaller microbatch balances its experts' load over fewer tokens, by design.
        close = 1e-5 if micro == 2 else 2e-2
        assert all(abs(curve[s] - whole[s]) <= close * whole[s] for s in whole)


def test_nodes_that_cannot_share_the_batch_are_refused_with_those_that_can(exa):
    stopped_at(exa, "odd", 6)
    refused = exa("resume", "odd", "--nodes", 3, expect=Invalid.code)
    assert "nodes that can: 1, 2, 4" in refused.stderr
    exa("resume", "odd", "--nodes", 2, "--wait")
    assert exa.json("status", "odd")["state"] == "done"
