"""A rank of exa_train with faults: ``faulty_rank.py --launch LAUNCH FAULTS``. For tests only.

FAULTS is a JSON list. Each fault has a rank and steps, and happens in each of these steps:
`nan` makes the rank's loss NaN for so many tries of the step (``tries``); `flip` flips a bit of
an element of one of its tensors after the step's update, once in this process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from exa_train import program, state
from exa_train import step as steps
from exa_train.parallel.local import local


class Faults:
    def __init__(self, listed: list[dict[str, Any]]) -> None:
        self._listed = listed
        self._step = self._rank = self._tries = 0

    def install(self) -> None:
        reseed, tally, update = steps.reseed, steps.tally, steps.update

        def faulty_reseed(seed: int, step: int, rank: int, device: Any) -> None:
            self._tries = self._tries + 1 if step == self._step else 1
            self._step, self._rank = step, rank
            reseed(seed, step, rank, device)

        def faulty_tally(losses: torch.Tensor, *rest: Any) -> torch.Tensor:
            for fault in self._due("nan"):
                if self._tries <= fault.get("tries", 2):
                    losses = losses * torch.nan
            return tally(losses, *rest)

        def faulty_update(engine: Any, optimizer: Any, *rest: Any) -> None:
            update(engine, optimizer, *rest)
            for fault in self._due("flip"):
                self._listed.remove(fault)
                flip(state.tensors(engine, optimizer)[fault["tensor"]], fault["bit"])

        steps.reseed, steps.tally, steps.update = faulty_reseed, faulty_tally, faulty_update

    def _due(self, kind: str) -> list[dict[str, Any]]:
        return [
            f
            for f in self._listed
            if f["kind"] == kind and f["rank"] == self._rank and self._step in f["steps"]
        ]


@torch.no_grad()
def flip(tensor: torch.Tensor, bit: int) -> None:
    """One bit of the first element of this rank's part, which is of fp32."""
    words = local(tensor).reshape(-1).view(torch.int32)
    words[0] ^= -(1 << 31) if bit == 31 else 1 << bit


if __name__ == "__main__":
    Faults(json.loads(sys.argv[3])).install()
    sys.exit(program.main(Path(sys.argv[2]).absolute()))
