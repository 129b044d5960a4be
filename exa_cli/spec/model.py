"""The shape of a model: integers and floats only, no torch, the same for arithmetic and ranks.

Blocks are numbered from 1. Block i is sparse (mixture of experts instead of one FFN) when
``moe_period`` > 0 and i is a multiple of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from exa_cli.base.errors import ExaError, Invalid, several
from exa_cli.spec.declare import build, declaration, key, wrong_with
from exa_cli.spec.toml import TomlDoc, override

VOCAB_MULTIPLE = 128
"""Rows of the embedding and the head come in this multiple: GEMM tiles stay full, and the
vocabulary can be divided over 2, 4, 8 … tensor-parallel ranks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model of a family. Construction raises Invalid, naming every fault at once."""

    family: str = key("alphaexa", help="Which modules and which arithmetic.")
    vocab: int = key(help="Tokens the tokenizer can emit.", unit="tokens", minimum=2)
    layers: int = key(help="Blocks, dense and sparse together.", minimum=1, maximum=1 << 16)
    d_model: int = key(help="Width of the residual stream.", minimum=1)
    heads: int = key(help="Query heads.", minimum=1)
    kv_heads: int = key(help="Key/value heads; each serves heads/kv_heads queries.", minimum=1)
    head_dim: int = key(help="Width of one head; even, because RoPE turns pairs.", minimum=2)
    ffn: int = key(help="Inner width of the dense FFN.", minimum=1)
    experts: int = key(1, help="Experts of a sparse block.", minimum=1)
    expert_ffn: int = key(1, help="Inner width of one expert.", minimum=1)
    top_k: int = key(1, help="Experts each token goes to.", minimum=1)
    moe_period: int = key(0, help="Every moe_period-th block is sparse; 0 = none.", minimum=0)
    tied: bool = key(False, help="Head and input embedding share one matrix.")
    aux_coef: float = key(0.02, help="Weight of the load-balancing loss.", minimum=0)
    z_coef: float = key(1e-3, help="Weight of the router z-loss.", minimum=0)
    rope_theta: float = key(1e4, help="Base of the RoPE wavelengths.", minimum=1)
    norm_eps: float = key(1e-5, help="Added to the variance in LayerNorm.", minimum=0)
    init_std: float = key(0.02, help="Standard deviation of initial weights.", minimum=0)
    max_seq: int = key(help="Longest sequence (RoPE tables).", unit="tokens", minimum=1)

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise several(Invalid, faults)

    @property
    def vocab_padded(self) -> int:
        """Rows of the embedding and head: vocab rounded up to a multiple of VOCAB_MULTIPLE.

        The extra rows exist and are counted, but their logits are cut off before softmax and
        before any answer: their probability is exactly 0, they never win, and they get no
        gradient. 250,000 → 250,112; 1,000 → 1,024; 512 → 512.
        """
        return -(-self.vocab // VOCAB_MULTIPLE) * VOCAB_MULTIPLE

    @property
    def sparse_blocks(self) -> tuple[int, ...]:
        """Numbers, from 1, of the blocks that hold experts."""
        return tuple(i for i in range(1, self.layers + 1) if self.is_sparse(i))

    def is_sparse(self, block: int) -> bool:
        """Whether block number ``block`` (from 1) holds experts."""
        return self.moe_period > 0 and block % self.moe_period == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``vocab_padded`` is written too, for readers that do not know the rule."""
        fields = dataclasses.asdict(self)
        padded = {"vocab_padded": self.vocab_padded}
        return {"family": self.family, "vocab": self.vocab, **padded, **fields}

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, name: str = "<model>") -> ModelConfig:
        """The inverse of `to_dict`. Raises Invalid, with ``name`` as the place of a fault."""
        rest = {k: v for k, v in values.items() if k != "vocab_padded"}
        config = build(cls, TomlDoc(rest, name=name))
        padded = values.get("vocab_padded", config.vocab_padded)
        if padded != config.vocab_padded:
            raise Invalid(
                f"vocab_padded = {padded} is not {config.vocab} rounded up to a multiple of "
                f"{VOCAB_MULTIPLE} ({config.vocab_padded})",
                where=f"{name}, key vocab_padded",
                hint="leave vocab_padded out: it follows from vocab",
            )
        return config

    def override(self, settings: list[str], *, option: str = "--set") -> ModelConfig:
        """This model with ``key=value`` settings applied; vocab_padded follows vocab.

        Raises Usage for a setting without ``=``, Invalid for a wrong key or value.
        """
        return build(ModelConfig, override(TomlDoc(dataclasses.asdict(self)), settings, option))


def _faults(config: ModelConfig) -> list[ExaError]:
    """Everything wrong with a model: each key by its declaration, then keys against each other."""
    single = [
        f"{field.name} = {value!r}: {wrong}"
        for field in dataclasses.fields(config)
        if (wrong := wrong_with(declaration(field), value := getattr(config, field.name)))
    ]
    return [Invalid(text) for text in single or _disagreements(config)]


def _disagreements(config: ModelConfig) -> list[str]:
    checks = {
        f"kv_heads = {config.kv_heads} does not divide heads = {config.heads}": (
            config.heads % config.kv_heads == 0
        ),
        f"head_dim = {config.head_dim} is odd; RoPE turns pairs": config.head_dim % 2 == 0,
        f"top_k = {config.top_k} is more than experts = {config.experts}": (
            config.top_k <= config.experts
        ),
        f"moe_period = {config.moe_period} is more than layers = {config.layers}: "
        "no block would be sparse (write 0 for a dense model)": (
            config.moe_period <= config.layers
        ),
    }
    return [text for text, holds in checks.items() if not holds]
