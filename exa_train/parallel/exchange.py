"""Reduce-scatter for gloo: one exchange, then a sum in rank order.

gloo's own reduce-scatter took 11-16 ms for 12.5 MB between two ranks of one machine where
this takes 2-4 (`benchmarks/train_cpu.py --collectives`). The same bytes cross the wire:
each rank sends every other its chunk. Terms are added in the order of ranks, so the result
does not depend on which rank holds it or on arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from exa_train.compat import ReduceScatter


class Exchange(ReduceScatter):
    """FSDP2's reduce-scatter by all-to-all; knows SUM and AVG."""

    def allocate(self, size: Sequence[Any], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: dist.ReduceOp.RedOpType,
        async_op: bool = False,
    ) -> None:
        """Fill (n) from the ranks' (world·n). Raises ValueError for another op or async."""
        if async_op or op not in (dist.ReduceOp.SUM, dist.ReduceOp.AVG):
            raise ValueError(f"Exchange cannot do {op}, async={async_op}")
        received = torch.empty_like(input_tensor)
        dist.all_to_all_single(received, input_tensor, group=group)
        terms = received.view(group.size(), -1)
        torch.add(terms[0], terms[1], out=output_tensor)
        for term in terms[2:]:
            output_tensor += term
        if op == dist.ReduceOp.AVG:
            output_tensor /= group.size()
