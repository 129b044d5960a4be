"""The AlphaExa family's modules."""

from exa_train.models.alphaexa.model import AlphaExa, ModelOutput

__all__ = ["AlphaExa", "ModelOutput"]
