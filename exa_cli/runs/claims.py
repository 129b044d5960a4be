"""Epoch claims: which copy of a run may add checkpoints, without clocks and without locks.

Every life claims the next epoch before it trains, by the exclusive creation of a file that
lists the checkpoints it accepts. A checkpoint counts if its own epoch is the highest claimed,
or if a later claim lists it. An older copy that still runs may write what it likes: nothing
it commits after the newer claim is ever chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exa_cli.base.errors import Damaged
from exa_cli.base.files import create_exclusive, to_json


@dataclass(frozen=True)
class Claim:
    """One life's claim. ``accepts`` holds names of checkpoint directories."""

    epoch: int
    attempt: str
    life: int
    accepts: tuple[str, ...]


def folder(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / "epochs"


def read_claims(run_dir: Path) -> tuple[Claim, ...]:
    """All claims, oldest first. Raises Damaged for a claim that cannot be read."""
    return tuple(_read(path) for path in sorted(folder(run_dir).glob("[0-9]*.json")))


def _read(path: Path) -> Claim:
    try:
        raw = json.loads(path.read_bytes())
        return Claim(raw["epoch"], raw["attempt"], raw["life"], tuple(raw["accepts"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("an epoch claim cannot be read", where=str(path)) from error


def counts(claims: tuple[Claim, ...], name: str, epoch: int) -> bool:
    """Whether a checkpoint of that name and epoch may ever be chosen."""
    highest = max((claim.epoch for claim in claims), default=0)
    return epoch == highest or any(c.epoch > epoch and name in c.accepts for c in claims)


def claim_next(
    run_dir: Path, attempt: str, life: int, accepted: Callable[[], tuple[str, ...]]
) -> Claim:
    """Claim the next epoch, listing what ``accepted`` names after the newest claim was read.

    When another life takes the same number first, the list is made anew against that claim.
    """
    folder(run_dir).mkdir(parents=True, exist_ok=True)
    while True:
        epoch = max((claim.epoch for claim in read_claims(run_dir)), default=0) + 1
        claim = Claim(epoch, attempt, life, accepted())
        record = {
            "schema": 1,
            "epoch": epoch,
            "attempt": attempt,
            "life": life,
            "accepts": list(claim.accepts),
        }
        if create_exclusive(folder(run_dir) / f"{epoch:06d}.json", to_json(record).encode()):
            return claim


def is_fenced(run_dir: Path, epoch: int) -> bool:
    """Whether a newer life has claimed the run from the holder of ``epoch``."""
    newest = max((int(path.stem) for path in folder(run_dir).glob("[0-9]*.json")), default=0)
    return newest > epoch
