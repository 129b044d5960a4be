"""torch DCP's planners for flat dicts of tensors, with every way to a pickle closed.

DCP plans who writes what, removes replicas from the plan and computes the reads that reshard.
Its default planners pass anything that is not a tensor through torch.save and torch.load.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.planner import ReadItem, WriteItem, WriteItemType

from exa_cli.base.errors import Invalid


def _refuse(fqn: str) -> NoReturn:
    raise Invalid(f"{fqn!r} is not a tensor", hint="scalars go into meta: nothing is pickled")


class TensorSavePlanner(DefaultSavePlanner):
    """Plans the saving of ``dict[str, Tensor | DTensor]``.

    Plan caching stays off: it replays the first save's storage data, generation included.
    ``copies`` are this rank's parts as they were when the save began (`staging.Stage`); shapes
    and places still come from the state, which may have moved on.
    """

    def __init__(self, copies: Mapping[str, torch.Tensor] | None = None) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._copies = copies

    def lookup_object(self, index: MetadataIndex) -> Any:
        return super().lookup_object(index) if self._copies is None else self._copies[index.fqn]

    def transform_object(self, write_item: WriteItem, object: Any) -> Any:
        if write_item.type == WriteItemType.BYTE_IO:
            _refuse(write_item.index.fqn)
        return object


class TensorLoadPlanner(DefaultLoadPlanner):
    """Plans the loading into ``dict[str, Tensor | DTensor]``, in place."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        _refuse(read_item.dest_index.fqn)
