"""A run's plan on another number of nodes. Pure.

The samples of a step and their order belong to the run and stay (design of the data order: a
function of seed and step). What changes is who computes them: ranks take more or fewer
microbatches, and where these do not share out evenly a microbatch gets smaller. Bits may then
differ in the last place, as sums are taken in another order.
"""

from __future__ import annotations

from typing import Any

from exa_cli.base.errors import Invalid


def microbatch(train: dict[str, Any], world: int) -> int | None:
    """The largest microbatch, at most the run's own, that so many ranks can share; None if none."""
    whole, most = train["global_batch"], train["microbatch"]
    return next((m for m in range(most, 0, -1) if whole % (m * world) == 0), None)


def relaid(plan: dict[str, Any], nodes: int) -> dict[str, Any]:
    """The plan on ``nodes`` nodes. Raises Invalid when they cannot share the batch."""
    parallel = plan["parallel"]
    if nodes == parallel["nodes"]:
        return plan
    world = nodes * parallel["ranks_per_node"]
    made = {**plan, "parallel": {**parallel, "nodes": nodes, "world": world}}
    if "program" in plan:
        return made
    fitting = microbatch(plan["train"], world)
    if fitting is None:
        raise Invalid(
            f"{world} ranks on {nodes} nodes cannot share a batch of "
            f"{plan['train']['global_batch']} sequences evenly",
            where="train.global_batch",
            hint=f"nodes that can: {_listed(counts(plan, nodes))}",
        )
    return {**made, "train": {**plan["train"], "microbatch": fitting}}


def counts(plan: dict[str, Any], near: int) -> list[int]:
    """Numbers of nodes that can share the run's batch, up to four times ``near``."""
    each = plan["parallel"]["ranks_per_node"]
    return [n for n in range(1, 4 * near + 1) if microbatch(plan["train"], n * each)]


def shrunk(plan: dict[str, Any], nodes: int) -> dict[str, Any] | None:
    """The plan on as many of these nodes as can share its batch; None when not even one can."""
    for fewer in range(min(nodes, plan["parallel"]["nodes"]), 0, -1):
        try:
            return relaid(plan, fewer)
        except Invalid:
            continue
    return None


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
