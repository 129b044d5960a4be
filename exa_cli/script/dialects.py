"""Which batch systems a script can be written for."""

from __future__ import annotations

from exa_cli.base.errors import Invalid
from exa_cli.script.directives import Dialect
from exa_cli.script.gpulab import GPULAB
from exa_cli.script.local import LOCAL
from exa_cli.script.pbs import PBS
from exa_cli.script.slurm import SLURM

DIALECTS = {"gpulab": GPULAB, "local": LOCAL, "pbs": PBS, "slurm": SLURM}
"""Batch system → its dialect. Nothing is written for one that is not in here."""


def dialect_of(scheduler: str) -> Dialect:
    """Raises Invalid for a batch system without a dialect."""
    if scheduler not in DIALECTS:
        raise Invalid(
            f"no directives can be written for the batch system {scheduler!r}",
            hint="known: " + ", ".join(sorted(DIALECTS)),
        )
    return DIALECTS[scheduler]
