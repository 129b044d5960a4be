"""Whether weights and moments are such as AdamW makes: finite, v >= 0, m² <= C·v.

The last needs no checksum and no second copy, so it sees what happened before anything was
hashed: memory that lost a bit, a stale page, moments of another tensor.

Why m² <= C·v. With gradients g₁ … g_t and k = t - i the age of a term,

    m = (1-β1) Σ β1^k g,    v = (1-β2) Σ β2^k g²                       (k = 0 … t-1)

so by Cauchy–Schwarz, for the vectors (β1/√β2)^k and √β2^k·g,

    m² = (1-β1)² (Σ (β1/√β2)^k · √β2^k g)² <= (1-β1)² Σ (β1²/β2)^k · Σ β2^k g²
       = C·v,    C = (1-β1)²/(1-β2) · Σ (β1²/β2)^k.

The sum is 1/(1-β1²/β2) at most when β1² < β2, and needs the number of updates otherwise.
C is 1.357 for β = 0.9, 0.95 and 52.8 for 0.9, 0.999. It is reached by gradients that grow as
(β1/β2)^k into the past, so no smaller C would do. Bias correction does not touch m and v, decay
is decoupled from them, clipping and skipped steps only choose other g.

Rounding. Every update rounds m and v a few times. That multiplies a term by at most 1±ε each
time, which is the same as other betas: with ε = 4 machine epsilons, β1+ε for β1, β2-ε for β2,
1-β1+ε and 1-β2-ε for the factors in front are beyond what any order of rounding does. Underflow
takes at most the smallest normal number twice an update from v: 2^-125/(1-β2) in all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from exa_train.parallel.local import local

MEAN, SQUARE = ".exp_avg", ".exp_avg_sq"

_PIECE = 1 << 18
"""Elements looked at together: what is made of them on the way stays in a core's cache."""

_TINY = 2.0**-125
_MOST = 2.0**127
"""In the place of an infinite bound where a number of fp32 must stand."""


@dataclass(frozen=True)
class Adam:
    """What the bound on a state's moments depends on. ``updates`` are those in the moments."""

    beta1: float
    beta2: float
    updates: int

    def bound(self, dtype: torch.dtype = torch.float32) -> float:
        """C of the module's docstring, with room for rounding in ``dtype``; inf = no bound."""
        slack = 4 * torch.finfo(dtype).eps
        if self.beta2 <= slack or 1 - self.beta2 <= slack:
            return math.inf
        ratio = (self.beta1 + slack) ** 2 / (self.beta2 - slack)
        return (1 - self.beta1 + slack) ** 2 / (1 - self.beta2 - slack) * _powers(ratio, self)

    @property
    def floor(self) -> float:
        """What v may have lost to underflow."""
        return _TINY / (1 - self.beta2) if self.beta2 < 1 else 0.0


def _powers(ratio: float, adam: Adam) -> float:
    """Σ ratio^k over all updates; where it converges, over any number of them."""
    if ratio < 1:
        return 1 / (1 - ratio)
    try:
        return (ratio**adam.updates - 1) / (ratio - 1) if ratio > 1 else float(adam.updates)
    except OverflowError:
        return math.inf


def faults(found: Mapping[str, Tensor], adam: Adam) -> list[str]:
    """What is wrong with this rank's part of a state (`exa_train.state.tensors`), by tensor.

    Tensors that are no moments need only be finite.
    """
    lines = [f"{name} holds NaN or infinity" for name in nonfinite(found)]
    ill = {line.split(" ", 1)[0] for line in lines}
    for name, square in found.items():
        mean = name.removesuffix(SQUARE) + MEAN
        if name.endswith(SQUARE) and mean in found and not ill & {name, mean}:
            lines += _moments(name, mean, local(found[mean]), local(square), adam)
    return lines


def nonfinite(found: Mapping[str, Tensor]) -> list[str]:
    """Names of floating-point tensors whose part on this rank holds NaN or infinity.

    A sum is finite only if every term is, up to overflow: then the slow question is asked too.
    """
    floats = {name: local(t) for name, t in found.items() if t.is_floating_point()}
    suspects = [name for name, t in floats.items() if not bool(t.sum().isfinite())]
    return [name for name in suspects if not bool(floats[name].isfinite().all())]


def _moments(name: str, mean: str, m: Tensor, v: Tensor, adam: Adam) -> Iterator[str]:
    bound = adam.bound(v.dtype)
    room = adam.floor * bound if math.isfinite(bound) else math.inf
    negative = beyond = 0
    for mine, square in zip(_pieces(m), _pieces(v), strict=True):
        if float(square.min()) < 0:
            negative += int((square < 0).sum())
        # One pass that a NaN out of infinity - infinity does not pass; counting is for damage.
        if not float(torch.sub(mine.square(), square, alpha=min(bound, _MOST)).max()) <= room:
            beyond += int((mine.square() > (square + adam.floor) * bound).sum())
    if negative:
        yield f"{name} is negative in {negative} of {v.numel()} elements"
    elif beyond:
        yield f"{mean}² is over {bound:.4g}·{name} in {beyond} of {m.numel()} elements"


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    pieces = torch.split(tensor.detach().reshape(-1), _PIECE)
    return tuple(piece for piece in pieces if piece.numel())
