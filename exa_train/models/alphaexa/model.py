"""AlphaExa: one code path from 3 million to 250 billion parameters.

The modules know no mesh and no rank: whoever trains them shards, checkpoints and compiles
``blocks`` from outside.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exa_cli.spec.model import ModelConfig
from exa_train.models.alphaexa.block import Block
from exa_train.nn.init import fill_constant, fill_normal
from exa_train.nn.loss import cross_entropy, real_logits
from exa_train.nn.moe import RouterStats
from exa_train.nn.norm import LayerNorm
from exa_train.nn.rope import RopeTables, rope_tables

RESIDUAL_OUTPUTS = ("attention.out.weight", "ffn.down.weight", "ffn.experts.down")
"""Ends of names of the matrices that write into the residual stream."""


class ModelOutput(NamedTuple):
    """One microbatch. A tuple, so that FSDP2 and DDP find the tensors in it.

    Attributes:
        loss: ce + aux_coef·aux + z_coef·z, scalar.
        ce: mean cross-entropy over the microbatch's tokens, nats.
        aux: load-balancing loss, mean over sparse blocks: 1 at perfect balance, whatever the
            number of blocks; 0 in a dense model.
        z: router z-loss, mean over sparse blocks.
        router_load: (sparse blocks, experts) fraction of assignments, no gradient.
    """

    loss: Tensor
    ce: Tensor
    aux: Tensor
    z: Tensor
    router_load: Tensor


class AlphaExa(nn.Module):
    """A pre-LayerNorm decoder; every ``moe_period``-th block is sparse.

    Built under ``torch.device("meta")`` it holds no memory; then ``to_empty(device=…)`` and
    `init_weights` make it real, before or after sharding. Built elsewhere it is initialised
    with seed 0 at once.
    """

    rope_cos: Tensor
    rope_sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_padded, config.d_model)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(1, config.layers + 1))
        self.norm = LayerNorm(config.d_model, config.norm_eps)
        self.head = (
            None if config.tied else nn.Linear(config.d_model, config.vocab_padded, bias=False)
        )
        cos, sin = rope_tables(config.max_seq, config.head_dim, config.rope_theta, None)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
        if not cos.is_meta:
            self.init_weights(0)

    def init_weights(self, seed: int) -> None:
        """Fill every parameter and buffer; the values depend on (seed, name, shape) only.

        Matrices are N(0, init_std²). Those that write into the residual stream are scaled by
        1/√(2·layers), so that its variance at the end does not grow with depth (Radford et
        al., GPT-2, §2.3). Norms start at weight 1, bias 0. The padding rows of embedding and
        head are drawn too: they are never read.
        """
        c = self.config
        residual = c.init_std / math.sqrt(2 * c.layers)
        for name, param in self.named_parameters():
            if param.dim() == 1:
                fill_constant(param, 1.0 if name.endswith("weight") else 0.0)
            else:
                std = residual if name.endswith(RESIDUAL_OUTPUTS) else c.init_std
                fill_normal(param, std, seed=seed, name=name)
        self._fill_rope()

    def _fill_rope(self) -> None:
        c = self.config
        cos, sin = rope_tables(c.max_seq, c.head_dim, c.rope_theta, None)
        self.rope_cos.copy_(cos)
        self.rope_sin.copy_(sin)

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor | None = None) -> ModelOutput | Tensor:
        """Logits (B, T, vocab), or with targets the losses of this microbatch.

        Raises ValueError for sequences longer than max_seq.
        """
        length = tokens_BT.shape[1]
        if length > self.config.max_seq:
            raise ValueError(f"sequences of {length} tokens: max_seq is {self.config.max_seq}")
        rope = RopeTables(self.rope_cos, self.rope_sin).first(length)
        x_BTD = self.embed(tokens_BT)
        gathered: list[RouterStats] = []
        for block in self.blocks:
            x_BTD, stats = block(x_BTD, rope)
            if stats is not None:
                gathered.append(stats)
        logits = real_logits(self._logits(self.norm(x_BTD)), self.config.vocab)
        if targets_BT is None:
            return logits
        return self._losses(logits, targets_BT, gathered)

    def _logits(self, x_BTD: Tensor) -> Tensor:
        if self.head is None:
            return F.linear(x_BTD, self.embed.weight)
        logits: Tensor = self.head(x_BTD)
        return logits

    def _losses(
        self, logits_BTV: Tensor, targets_BT: Tensor, gathered: list[RouterStats]
    ) -> ModelOutput:
        ce = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
        if not gathered:
            zero = ce.detach().new_zeros(())
            return ModelOutput(ce, ce, zero, zero, zero.new_zeros((0, self.config.experts)))
        aux = torch.stack([stats.aux for stats in gathered]).mean()
        z = torch.stack([stats.z for stats in gathered]).mean()
        loss = ce + self.config.aux_coef * aux + self.config.z_coef * z
        return ModelOutput(loss, ce, aux, z, torch.stack([stats.load for stats in gathered]))
