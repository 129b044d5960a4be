"""One block of AlphaExa: attention, then a dense or a sparse FFN, each behind a LayerNorm."""

from __future__ import annotations

from torch import Tensor, nn

from exa_cli.spec.model import ModelConfig
from exa_train.nn.attention import Attention
from exa_train.nn.mlp import Mlp
from exa_train.nn.moe import MoE, RouterStats
from exa_train.nn.norm import LayerNorm
from exa_train.nn.rope import RopeTables


class Block(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x)). ``number`` counts from 1."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        c = config
        self.attention_norm = LayerNorm(c.d_model, c.norm_eps)
        self.attention = Attention(c.d_model, c.heads, c.kv_heads, c.head_dim)
        self.ffn_norm = LayerNorm(c.d_model, c.norm_eps)
        self.ffn: MoE | Mlp
        if c.is_sparse(number):
            self.ffn = MoE(c.d_model, c.experts, c.expert_ffn, c.top_k)
        else:
            self.ffn = Mlp(c.d_model, c.ffn)

    def forward(self, x_BTD: Tensor, rope: RopeTables) -> tuple[Tensor, RouterStats | None]:
        """(B, T, D) → (B, T, D), and the router's statistics if this block is sparse."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rope)
        y_BTD = self.ffn(self.ffn_norm(x_BTD))
        if isinstance(y_BTD, tuple):
            y_BTD, stats = y_BTD
            return x_BTD + y_BTD, stats
        return x_BTD + y_BTD, None
