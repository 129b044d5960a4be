"""What is known about a checkpoint after looking at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exa_cli.checkpoint.manifest import Manifest

Verdict = Literal["good", "repairable", "damaged", "incomplete"]


@dataclass(frozen=True)
class Damage:
    """A fault in one file of a checkpoint."""

    file: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The verdict on one checkpoint directory.

    ``good`` says that all that was looked at is right: `verify.inspect` looks at the manifest,
    sizes and footers, `verify.verify` at every chunk as well. ``manifest`` is None when there
    is none that can be trusted: neither the checkpoint's own nor a copy beside its parity.
    ``protected`` says whether there is parity, whole or not.
    """

    name: str
    step: int
    verdict: Verdict
    damaged: tuple[Damage, ...]
    manifest: Manifest | None
    protected: bool = False

    @property
    def epoch(self) -> int | None:
        return self.manifest.epoch if self.manifest else None

    @property
    def why(self) -> str:
        """The faults in one line."""
        return "; ".join(f"{damage.file}: {damage.reason}" for damage in self.damaged)

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts checkpoints from the oldest to the newest: by step, epoch, name."""
        return self.step, self.epoch or 0, self.name


@dataclass(frozen=True)
class ForeignReport:
    """The verdict on a directory that exa did not write.

    ``unseen`` says in words what could not be checked; with ``protected`` these are files that
    came later.
    """

    name: str
    verdict: Verdict
    damaged: tuple[Damage, ...]
    protected: bool
    unseen: tuple[str, ...] = ()
