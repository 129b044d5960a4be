"""Initial weights as a function of (seed, parameter name), the same on every layout."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def generator_for(seed: int, name: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the name only, not on the order of calls."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)


@torch.no_grad()
def fill_normal(param: Tensor, std: float, *, seed: int, name: str) -> None:
    """Fill with N(0, std²). The whole tensor is drawn on the CPU in fp32, then cut.

    A sharded parameter takes its part of the same whole tensor, so the values do not depend on
    device, number of ranks or sharding. Costs the whole tensor's memory for a moment.
    """
    whole = torch.empty(param.shape, dtype=torch.float32)
    whole.normal_(0.0, std, generator=generator_for(seed, name))
    if isinstance(param, DTensor):
        local = param.to_local()
        cut = distribute_tensor(
            whole.to(local.device), param.device_mesh, param.placements, src_data_rank=None
        )
        local.copy_(cut.to_local())
    else:
        param.copy_(whole)


@torch.no_grad()
def fill_constant(param: Tensor, value: float) -> None:
    """Fill with one value, sharded or not."""
    (param.to_local() if isinstance(param, DTensor) else param).fill_(value)
