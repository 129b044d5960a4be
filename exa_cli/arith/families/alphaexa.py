"""AlphaExa: a pre-LayerNorm decoder with GQA, RoPE, GELU FFN and sparse blocks.

No linear layer has a bias; each LayerNorm has weight and bias. Per block, with d = d_model:

    norms       2 · 2d                                   (before attention, before FFN)
    attention   d·(H + 2·KV)·dh  +  H·dh·d               (queries, keys, values; output)
    dense FFN   2·d·F                                    (up, GELU, down)
    sparse FFN  d·E  +  E · 2·d·Fe                       (router; experts)

and around the blocks: embedding V'·d, a last norm 2d, head V'·d, where V' is the padded
vocabulary (shared and counted once when tied).
"""

from __future__ import annotations

from exa_cli.arith import costs
from exa_cli.arith.costs import Counts, Flops, Part, StateBytes
from exa_cli.spec.model import ModelConfig

PRESETS: dict[str, ModelConfig] = {
    "alphaexa-ci": ModelConfig(
        vocab=1024,
        layers=12,
        d_model=128,
        heads=4,
        kv_heads=1,
        head_dim=32,
        ffn=512,
        experts=8,
        expert_ffn=256,
        top_k=2,
        moe_period=6,
        init_std=0.05,
        max_seq=256,
    ),
    "alphaexa-small": ModelConfig(
        vocab=8192,
        layers=24,
        d_model=256,
        heads=8,
        kv_heads=2,
        head_dim=32,
        ffn=1024,
        experts=16,
        expert_ffn=512,
        top_k=2,
        moe_period=6,
        max_seq=1024,
    ),
    "alphaexa-1b": ModelConfig(
        vocab=65_536,
        layers=36,
        d_model=1024,
        heads=16,
        kv_heads=4,
        head_dim=64,
        ffn=4096,
        experts=16,
        expert_ffn=2048,
        top_k=2,
        moe_period=6,
        max_seq=4096,
    ),
    "alphaexa-7b": ModelConfig(
        vocab=250_000,
        layers=48,
        d_model=2048,
        heads=16,
        kv_heads=4,
        head_dim=128,
        ffn=8192,
        experts=32,
        expert_ffn=4096,
        top_k=2,
        moe_period=6,
        max_seq=4096,
    ),
    "alphaexa-250b": ModelConfig(
        vocab=250_000,
        layers=120,
        d_model=8192,
        heads=64,
        kv_heads=16,
        head_dim=128,
        ffn=32_768,
        experts=32,
        expert_ffn=16_384,
        top_k=2,
        moe_period=6,
        rope_theta=5e6,
        init_std=0.006,
        max_seq=4096,
    ),
}

ABOUT: dict[str, str] = {
    "alphaexa-ci": "trains in minutes on two CPU cores; what the demo uses",
    "alphaexa-small": "for trying changes out on one machine",
    "alphaexa-1b": "the first size that wants a GPU",
    "alphaexa-7b": "the smallest with the full vocabulary",
    "alphaexa-250b": "the size the family is named for: 250 B parameters, 87 B active",
}


def counts(config: ModelConfig) -> Counts:
    """Exact parameters of a model, in parts (see the formulas at the top of this file)."""
    d, blocks, sparse = config.d_model, config.layers, len(config.sparse_blocks)
    matrix = config.vocab_padded * d
    norms = (2 * blocks + 1) * 2 * d
    attention = blocks * 2 * (config.heads + config.kv_heads) * config.head_dim * d
    dense = (blocks - sparse) * 2 * d * config.ffn
    router = sparse * d * config.experts
    expert = sparse * 2 * d * config.expert_ffn
    parts = (
        Part("embedding", matrix, 0),
        Part("attention", attention, attention),
        Part("dense_ffn", dense, dense),
        Part("router", router, router),
        Part("experts", config.experts * expert, config.top_k * expert),
        Part("norms", norms, norms),
        Part("head", 0 if config.tied else matrix, matrix),
    )
    return Counts(parts, embedding=0 if config.tied else matrix)


def flops(config: ModelConfig, seq: int) -> Flops:
    """FLOPs of one token at sequence length ``seq``, in both conventions."""
    return costs.flops(config, counts(config).active, seq)


def flops_per_token(config: ModelConfig, seq: int) -> int:
    """Training FLOPs of one token: 6·active + 6·L·H·dh·S (causal)."""
    return flops(config, seq).training


def state_bytes(config: ModelConfig) -> StateBytes:
    """Bytes of model state, whole model."""
    return costs.state_bytes(counts(config).total)
