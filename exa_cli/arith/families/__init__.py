"""Model families by name: their presets and their arithmetic.

A family is two folders' worth: its arithmetic here, its modules in ``exa_train/models``; a
test holds the two to the same integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exa_cli.arith.costs import Counts, Flops, StateBytes
from exa_cli.arith.differences import Difference
from exa_cli.arith.families import alphaexa, alphaexa_notes
from exa_cli.base.errors import NotFound
from exa_cli.spec.declare import nearest
from exa_cli.spec.model import ModelConfig


@dataclass(frozen=True)
class Family:
    """What the rest of exa may ask about a family.

    Attributes:
        presets: name → model.
        about: preset → one sentence on what it is for.
        differences: preset → how it differs from its published description, if it does.
    """

    presets: Mapping[str, ModelConfig]
    about: Mapping[str, str]
    differences: Mapping[str, tuple[Difference, ...]]
    counts: Callable[[ModelConfig], Counts]
    flops: Callable[[ModelConfig, int], Flops]
    state_bytes: Callable[[ModelConfig], StateBytes]


FAMILIES: Mapping[str, Family] = {
    "alphaexa": Family(
        presets=alphaexa.PRESETS,
        about=alphaexa.ABOUT,
        differences=alphaexa_notes.DIFFERENCES,
        counts=alphaexa.counts,
        flops=alphaexa.flops,
        state_bytes=alphaexa.state_bytes,
    ),
}

PRESETS: Mapping[str, ModelConfig] = {
    name: config for family in FAMILIES.values() for name, config in family.presets.items()
}


def family_of(config: ModelConfig) -> Family:
    """The arithmetic of a model. Raises NotFound for an unknown family."""
    try:
        return FAMILIES[config.family]
    except KeyError:
        raise NotFound(
            f"there is no model family {config.family!r}", hint=nearest(config.family, FAMILIES)
        ) from None


def preset(name: str) -> ModelConfig:
    """A preset by name. Raises NotFound naming the nearest ones."""
    try:
        return PRESETS[name]
    except KeyError:
        raise NotFound(
            f"there is no model preset {name!r}",
            hint=f"{nearest(name, PRESETS)} (exa model list shows all)",
        ) from None
