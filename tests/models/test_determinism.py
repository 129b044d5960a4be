"""The same bits every time at two threads, where threads really share the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from exa_cli.arith.families import preset
from exa_train.models.alphaexa import AlphaExa, ModelOutput

REPEATS = 10
BATCH = 8


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def bits(model: AlphaExa, tokens: torch.Tensor, precision: str) -> list[torch.Tensor]:
    """Loss, router load and every gradient of one forward and backward."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = model(tokens[:, :-1], tokens[:, 1:])
    assert isinstance(out, ModelOutput)
    out.loss.backward()
    grads = [param.grad for param in model.parameters() if param.grad is not None]
    assert len(grads) == len(list(model.parameters()))
    return [out.loss.detach(), out.router_load, *grads]


@pytest.mark.parametrize("top_k", [2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_threads_give_the_same_bits_every_time(precision: str, top_k: int) -> None:
    """With x[idx] in place of index_select, fp32 top-3 fails here in most runs (not in all:
    test_moe holds the operations themselves to it)."""
    config = preset("alphaexa-ci").override(["layers=2", "moe_period=2", f"top_k={top_k}"])
    model = AlphaExa(config)
    made = torch.Generator().manual_seed(3)
    tokens = torch.randint(config.vocab, (BATCH, 257), generator=made)
    first = bits(model, tokens, precision)
    for _ in range(REPEATS):
        again = bits(model, tokens, precision)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
