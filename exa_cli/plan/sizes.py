"""What a planned run weighs: parameters, checkpoints, state on a rank. In integers, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exa_cli.arith import families
from exa_cli.spec.model import ModelConfig

FILES_BESIDE_DATA = 3
"""Of a checkpoint: its directory, OPEN.json and MANIFEST.json (docs/checkpoints.md)."""


@dataclass(frozen=True)
class Sizes:
    """Bytes unless it says otherwise.

    Attributes:
        parameters, active: numbers; ``active`` of them take part in one token.
        checkpoint: one checkpoint's data. files: how many files, directories included.
        copies: checkpoints on the disk at the most: those kept and the one being written.
        state: weights, gradients and optimizer of one rank, evenly sharded where they are.
    """

    parameters: int
    active: int
    checkpoint: int
    files: int
    copies: int
    state: int

    @property
    def all_bytes(self) -> int:
        """What the checkpoints take on the disk at the most."""
        return self.checkpoint * self.copies

    @property
    def all_files(self) -> int:
        return self.files * self.copies


def sizes(plan: dict[str, Any]) -> Sizes | None:
    """The sizes of a frozen plan; None for a program of the user's own: nothing is known of it."""
    if "program" in plan:
        return None
    config = ModelConfig.from_dict(plan["model"], name="plan.json")
    family = families.family_of(config)
    counts, state = family.counts(config), family.state_bytes(config)
    world = plan["parallel"]["world"]
    sharing = world if plan["parallel"]["engine"] == "fsdp2" else 1
    return Sizes(
        parameters=counts.total,
        active=counts.active,
        checkpoint=state.stored,
        files=world + FILES_BESIDE_DATA,
        copies=plan["checkpoint"]["keep"] + 1,
        state=-(-state.training // sharing),
    )
