"""Learning rate as a pure function of the step; nothing to save, nothing to restore."""

from __future__ import annotations

import math

from exa_train.plan import Train


def factor(step: int, train: Train) -> float:
    """Share of the peak learning rate that optimizer step ``step`` (1 … steps) uses.

    Warm-up is linear and reaches 1 at step ``warmup``. After it, with x from 0 at its end to 1
    one step after the last (so that the last step still learns) and m = min_lr_ratio:

    - cosine: m + (1 - m)·(1 + cos πx)/2 (Loshchilov & Hutter, arXiv 1608.03983);
    - wsd: 1 until the last ``decay_fraction`` of all steps, then linear in x to m (Hu et al.,
      MiniCPM, arXiv 2404.06395; the linear form is Hägele et al., arXiv 2405.18392);
    - constant: 1.
    """
    if step <= train.warmup:
        return step / train.warmup
    floor = train.min_lr_ratio
    if train.schedule == "cosine":
        return floor + (1 - floor) * (1 + math.cos(math.pi * _progress(step, train))) / 2
    if train.schedule == "wsd":
        return 1 - (1 - floor) * _decayed(step, train)
    return 1.0


def _progress(step: int, train: Train) -> float:
    """0 at the first step after warm-up, 1 one step after the last."""
    return (step - 1 - train.warmup) / (train.steps - train.warmup)


def _decayed(step: int, train: Train) -> float:
    """0 until the decay's first step, 1 one step after the last; never within the warm-up."""
    length = min(math.ceil(train.steps * train.decay_fraction), train.steps - train.warmup)
    return max(0.0, (step - 1 - (train.steps - length)) / max(1, length))


def learning_rate(step: int, train: Train) -> float:
    """The learning rate of optimizer step ``step``, counted from 1."""
    return train.lr * factor(step, train)
