"""Causal self-attention with grouped queries, in the form that was measured to be fastest.

Two forms compute the same thing: torch's fused kernel (`sdpa`) and batched products around a
softmax, tile by tile (`tiled`). `choose_form` looks the choice up in a table that
``benchmarks/attention_forms.py`` re-measures; nothing is timed while training runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exa_train.nn.precision import compute_dtype
from exa_train.nn.rope import RopeTables, rotate

TILE = 128
"""Query positions in one tile of `causal_tiled`; 64 and 256 were measured within 15 %."""

Form = Literal["sdpa", "tiled"]


class Choice(NamedTuple):
    """A form and, in words, why it was taken."""

    form: Form
    reason: str


class Measured(NamedTuple):
    """One row of the table: where `tiled` beat `sdpa` on a CPU, forward and backward.

    Attributes:
        dtype: of queries, keys and values.
        longest: the row holds up to this many positions.
        faster: least and greatest ratio of medians sdpa/tiled over the shapes measured.
    """

    dtype: torch.dtype
    longest: int
    faster: tuple[float, float]


MEASURED = (
    Measured(torch.bfloat16, 256, (2.1, 6.8)),
    Measured(torch.bfloat16, 1024, (2.6, 3.8)),
    Measured(torch.bfloat16, 4096, (2.2, 2.5)),
    Measured(torch.float32, 256, (1.2, 1.4)),
    Measured(torch.float32, 1024, (1.4, 1.7)),
    Measured(torch.float32, 4096, (1.1, 1.2)),
)
"""``benchmarks/attention_forms.py``: torch 2.13, Zen 5 with avx512_bf16, 1 thread, heads of 32
to 128. At 2 threads the ratios up to 512 positions were 1.5 to 4.9 (bf16) and 1.2 to 1.6."""

WIDEST_HEAD = 128


def choose_form(seq: int, head_dim: int, dtype: torch.dtype, device_type: str) -> Choice:
    """The form for sequences of ``seq`` and heads of ``head_dim``: a pure look-up.

    Beyond the table it is always `sdpa`: on accelerators it is a flash kernel, and it never
    keeps the scores, which `tiled` does at a cost growing with the square of ``seq``.
    """
    if device_type != "cpu":
        return Choice("sdpa", f"torch's fused kernel serves {device_type}")
    if head_dim > WIDEST_HEAD:
        return Choice("sdpa", f"heads wider than {WIDEST_HEAD} were not measured")
    for row in MEASURED:
        if row.dtype == dtype and seq <= row.longest:
            least, greatest = row.faster
            ratio = f"{least}-{greatest} times faster than sdpa"
            return Choice("tiled", f"{ratio} on CPU up to {row.longest} positions in {dtype}")
    return Choice("sdpa", f"{dtype} at {seq} positions was not measured")


def causal_sdpa(q_BTKGC: Tensor, k_BTKC: Tensor, v_BTKC: Tensor) -> Tensor:
    """Causal attention by torch's fused kernel. (B,T,K,G,C), (B,T,K,C)² → (B,T,K,G,C)."""
    shape = q_BTKGC.shape
    q = q_BTKGC.flatten(2, 3).transpose(1, 2)
    k, v = k_BTKC.transpose(1, 2), v_BTKC.transpose(1, 2)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=shape[3] > 1)
    return out.transpose(1, 2).reshape(shape)


def causal_tiled(q_BTKGC: Tensor, k_BTKC: Tensor, v_BTKC: Tensor) -> Tensor:
    """Causal attention by batched products over tiles of TILE positions. As `causal_sdpa`.

    A tile of queries meets only the keys up to its own end, so about half of the T×T square is
    never computed. The G query heads of a group are stacked as rows over their one key head,
    so keys and values are never repeated. Scores have the inputs' dtype (softmax accumulates
    in fp32); autograd keeps B·H·T·(T+TILE)/2 of them.
    """
    B, T, K, G, C = q_BTKGC.shape
    q = q_BTKGC.transpose(1, 2).reshape(B * K, T * G, C)
    k = k_BTKC.permute(0, 2, 3, 1).reshape(B * K, C, T)
    v = v_BTKC.transpose(1, 2).reshape(B * K, T, C)
    scale = 1 / math.sqrt(C)
    tiles = []
    for start in range(0, T, TILE):
        end = min(start + TILE, T)
        mask = _causal_mask(start, end, G, q.dtype, q.device)
        rows = q[:, start * G : end * G]
        scores = torch.baddbmm(mask, rows, k[:, :, :end], alpha=scale)
        tiles.append(torch.bmm(scores.softmax(-1), v[:, :end]))
    return torch.cat(tiles, dim=1).view(B, K, T, G, C).transpose(1, 2)


def _make_mask(
    start: int, end: int, group: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(1, (end−start)·G, end): row (t−start)·G+g is 0 up to position t and −inf after it."""
    full = torch.full((end - start, end), -math.inf, dtype=dtype, device=device)
    return full.triu(start + 1).repeat_interleave(group, dim=0)[None]


_kept_mask = lru_cache(maxsize=256)(_make_mask)


def _causal_mask(
    start: int, end: int, group: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A mask that eager mode keeps; torch.compile would warn of the cache and trace past it."""
    make = _make_mask if torch.compiler.is_compiling() else _kept_mask
    return make(start, end, group, dtype, device)


FORMS: dict[Form, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sdpa": causal_sdpa,
    "tiled": causal_tiled,
}


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al., arXiv 2305.13245) with RoPE, no biases.

    ``qkv`` holds, for each key/value head in turn, its G query heads, its key, its value: one
    product instead of three, and rows that divide evenly over tensor-parallel ranks.
    """

    def __init__(self, width: int, heads: int, kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.kv_heads = kv_heads
        self.group = heads // kv_heads
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width, bias=False)

    def forward(self, x_BTD: Tensor, rope: RopeTables) -> Tensor:
        """(B, T, D) → (B, T, D); ``rope`` covers exactly T positions."""
        B, T, _ = x_BTD.shape
        qkv = self.qkv(x_BTD).view(B, T, self.kv_heads, self.group + 2, self.head_dim)
        qk, v = torch.split(qkv, [self.group + 1, 1], dim=3)
        q, k = torch.split(rotate(qk, rope), [self.group, 1], dim=3)
        form = choose_form(T, self.head_dim, compute_dtype(x_BTD), x_BTD.device.type).form
        mixed = FORMS[form](q, k.squeeze(3), v.squeeze(3))
        out: Tensor = self.out(mixed.reshape(B, T, -1))
        return out
