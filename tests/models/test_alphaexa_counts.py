"""The modules and the arithmetic are held to the same integers, part by part."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from exa_cli.arith.families import PRESETS, family_of
from exa_cli.base.errors import NotFound
from exa_cli.spec.model import ModelConfig
from exa_train.models import build

PART_OF = (
    ("embed.", "embedding"),
    ("head.", "head"),
    ("norm", "norms"),
    (".attention.", "attention"),
    (".router.", "router"),
    (".experts.", "experts"),
    (".ffn.", "dense_ffn"),
)
"""First match wins: `attention_norm` is a norm, `ffn.router` a router."""


def on_meta(config: ModelConfig) -> nn.Module:
    with torch.device("meta"):
        return build(config)


def counted_parts(model: nn.Module) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, param in model.named_parameters():
        found[next(part for mark, part in PART_OF if mark in name)] += param.numel()
    return dict(found)


def arithmetic_parts(config: ModelConfig) -> dict[str, int]:
    parts = family_of(config).counts(config).parts
    return {part.name: part.total for part in parts if part.total}


def test_a_family_without_modules_is_refused() -> None:
    with pytest.raises(NotFound, match="alphaexq"):
        build(PRESETS["alphaexa-ci"].override(["family=alphaexq"]))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_on_the_meta_device_has_the_integers_of_the_arithmetic(name: str) -> None:
    config = PRESETS[name]
    model = on_meta(config)
    assert all(param.is_meta for param in model.parameters())
    assert counted_parts(model) == arithmetic_parts(config)
    total = sum(param.numel() for param in model.parameters())
    assert total == family_of(config).counts(config).total


def test_buffers_hold_nothing_that_a_checkpoint_would_store() -> None:
    model = on_meta(PRESETS["alphaexa-250b"])
    stored = sum(tensor.numel() for tensor in model.state_dict().values())
    assert stored == 249_725_468_672


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    layers, experts = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    return ModelConfig(
        vocab=draw(st.integers(2, 700)),
        layers=layers,
        d_model=draw(st.integers(1, 40)),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 8)),
        ffn=draw(st.integers(1, 50)),
        experts=experts,
        expert_ffn=draw(st.integers(1, 50)),
        top_k=draw(st.integers(1, experts)),
        moe_period=draw(st.integers(0, layers)),
        tied=draw(st.booleans()),
        max_seq=draw(st.integers(1, 64)),
    )


@settings(max_examples=60, deadline=None)
@given(configs())
def test_arithmetic_equals_counting_for_any_shape(config: ModelConfig) -> None:
    assert counted_parts(on_meta(config)) == arithmetic_parts(config)


@settings(max_examples=60, deadline=None)
@given(configs())
def test_active_is_total_less_what_a_token_does_not_meet(config: ModelConfig) -> None:
    counts = family_of(config).counts(config)
    idle = (config.experts - config.top_k) * 2 * config.d_model * config.expert_ffn
    assert counts.total - counts.active_with_embedding == idle * len(config.sparse_blocks)
