"""Model families by name. A family's arithmetic lives in ``exa_cli/arith/families``."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from exa_cli.base.errors import NotFound
from exa_cli.spec.declare import nearest
from exa_cli.spec.model import ModelConfig
from exa_train.models.alphaexa import AlphaExa

FAMILIES: dict[str, Callable[[ModelConfig], nn.Module]] = {"alphaexa": AlphaExa}


def build(config: ModelConfig) -> nn.Module:
    """The modules of a model, on the current default device (`with torch.device("meta")`).

    Raises NotFound for a family this installation does not have.
    """
    try:
        family = FAMILIES[config.family]
    except KeyError:
        raise NotFound(
            f"there is no model family {config.family!r}", hint=nearest(config.family, FAMILIES)
        ) from None
    return family(config)
