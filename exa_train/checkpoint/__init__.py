"""Tensors in and out of checkpoints; the format itself is `exa_cli.checkpoint`.

`save` and `load` take a flat ``dict[str, Tensor | DTensor]``; `Keeper` reads back and removes;
`Background` does both beside the training. All are collective over private gloo groups: they
return or raise the same on every rank.
"""

from exa_cli.checkpoint.folder import sweep_incomplete
from exa_train.checkpoint.background import Background, Outcome, Target
from exa_train.checkpoint.errors import CheckpointFailed, NoReadableCheckpoint
from exa_train.checkpoint.keeping import Keeper, Kept
from exa_train.checkpoint.loading import Loaded, load
from exa_train.checkpoint.saving import Saved, save

__all__ = [
    "Background",
    "CheckpointFailed",
    "Keeper",
    "Kept",
    "Loaded",
    "NoReadableCheckpoint",
    "Outcome",
    "Saved",
    "Target",
    "load",
    "save",
    "sweep_incomplete",
]
