"""The vocabulary of costs that every model family shares, and the conventions behind them."""

from __future__ import annotations

from dataclasses import dataclass

from exa_cli.spec.model import ModelConfig

TRAINING_BYTES = 16
"""Bytes of model state a parameter needs in training: bf16 weight and gradient beside fp32
master weight and two Adam moments (2+2+4+4+4), or all four in fp32 under autocast
(4+4+4+4). Rajbhandari et al., ZeRO, arXiv 1910.02054 §3.1."""

STORED_BYTES = 12
"""Bytes a parameter takes in a checkpoint: fp32 weight and two fp32 Adam moments. Gradients
are not stored, and bf16 weights follow from the fp32 ones."""


@dataclass(frozen=True)
class Part:
    """Parameters of one kind of module, summed over the model.

    Attributes:
        name: as in `Counts.by_part`.
        total: parameters that exist.
        active: parameters that take part in one token's forward pass.
    """

    name: str
    total: int
    active: int


@dataclass(frozen=True)
class Counts:
    """Exact parameter counts.

    Attributes:
        parts: every part; their totals add up to `total`.
        embedding: parameters of the input embedding that no other part shares. It is looked
            up, not multiplied, so `active` leaves it out and `active_with_embedding` does not.
    """

    parts: tuple[Part, ...]
    embedding: int

    @property
    def total(self) -> int:
        """Parameters that exist, each counted once."""
        return sum(part.total for part in self.parts)

    @property
    def active(self) -> int:
        """Parameters one token is multiplied with: top_k experts, no input embedding."""
        return sum(part.active for part in self.parts)

    @property
    def active_with_embedding(self) -> int:
        """`active` plus the whole input embedding; both conventions are met in papers."""
        return self.active + self.embedding

    @property
    def by_part(self) -> dict[str, Part]:
        """The parts by name."""
        return {part.name: part for part in self.parts}


@dataclass(frozen=True)
class Flops:
    """FLOPs of one token at one sequence length; a multiply and an add count as two.

    Forward is a third of training: the backward pass multiplies with every weight twice.
    Recomputation (activation checkpointing) is hardware work and is never counted here.

    Attributes:
        seq: S, tokens per sequence.
        weights: 6·active.
        attention: 6·L·H·dh·S, the causal half of the score and value products.
    """

    seq: int
    weights: int
    attention: int

    @property
    def training(self) -> int:
        """6·active + 6·L·H·dh·S: what a causal model has to compute."""
        return self.weights + self.attention

    @property
    def training_palm(self) -> int:
        """6·active + 12·L·H·dh·S: the whole S×S square, as PaLM (arXiv 2204.02311, app. B)."""
        return self.weights + 2 * self.attention


@dataclass(frozen=True)
class StateBytes:
    """Bytes of model state, whole model: see TRAINING_BYTES and STORED_BYTES."""

    training: int
    stored: int


def flops(config: ModelConfig, active: int, seq: int) -> Flops:
    """FLOPs of a decoder whose every block attends to all earlier tokens."""
    attention = 6 * config.layers * config.heads * config.head_dim * seq
    return Flops(seq=seq, weights=6 * active, attention=attention)


def state_bytes(total: int) -> StateBytes:
    """Model state of ``total`` parameters under mixed-precision Adam."""
    return StateBytes(training=TRAINING_BYTES * total, stored=STORED_BYTES * total)


def kv_cache_bytes(config: ModelConfig, element: int = 2) -> int:
    """Bytes of keys and values one token leaves behind for generation, bf16 by default."""
    return 2 * config.layers * config.kv_heads * config.head_dim * element
