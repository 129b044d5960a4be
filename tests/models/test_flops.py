"""The FLOP formula against torch's own counter, down to the last operation."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from exa_cli.arith.families import family_of, preset
from exa_train.models import build
from exa_train.nn.attention import TILE

SEQ = 2 * TILE
TOKENS = 2 * SEQ


@pytest.mark.parametrize("top_k", [2, 3])
def test_counted_products_are_the_formula_with_its_named_differences(top_k: int) -> None:
    """Forward is a third of training: 2·active + 2·L·H·dh·S a token. Two terms differ, exactly.

    Norm weights are in `active` but take part in no matrix product. And causal attention is
    computed tile by tile: a query meets the keys up to the end of its tile, on average
    (S + TILE)/2 of them and not S/2, where PaLM's convention counts all S.
    """
    config = preset("alphaexa-ci").override(["layers=3", "moe_period=3", f"top_k={top_k}"])
    model = build(config)
    tokens = torch.randint(config.vocab, (2, SEQ), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as forward:
        output = model(tokens, tokens)
    with FlopCounterMode(display=False) as backward:
        output.loss.backward()
    family = family_of(config)
    formula = family.flops(config, SEQ)
    norms = family.counts(config).by_part["norms"].active
    per_key = 2 * config.layers * config.heads * config.head_dim
    assert formula.training % 3 == 0
    expected = formula.training // 3 - 2 * norms + per_key * TILE
    assert forward.get_total_flops() == TOKENS * expected
    assert backward.get_total_flops() == 2 * forward.get_total_flops()
