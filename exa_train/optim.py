"""The optimizer: AdamW, which parameters decay, and the gradient norm over all ranks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exa_train.parallel import Engine
from exa_train.plan import Train


def decays(name: str, ndim: int, embeddings: frozenset[str]) -> bool:
    """Whether weight decay shrinks a parameter. Pure.

    Matrices decay, experts' and router's included. Norms and biases do not: they are few and
    set scales on purpose (a bias is told by its name, since stacked experts give it two
    dimensions). Input embeddings do not either: decay works on rows in every step, gradients
    only on those that occurred, so rare tokens would shrink to nothing.
    """
    return ndim >= 2 and "bias" not in name.rsplit(".", 1)[-1] and name not in embeddings


def embeddings(model: nn.Module) -> frozenset[str]:
    """Names of parameters that are looked up and not multiplied."""
    return frozenset(
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        for name, _ in module.named_parameters(recurse=False)
    )


def adamw(
    params: Mapping[str, nn.Parameter], looked_up: frozenset[str], train: Train
) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov & Hutter, arXiv 1711.05101) with its moments allocated.

    The moments exist from the start, so that a checkpoint can be loaded into them.
    """
    decay = [p for name, p in params.items() if decays(name, p.ndim, looked_up)]
    plain = [p for name, p in params.items() if not decays(name, p.ndim, looked_up)]
    optimizer = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": train.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=train.lr,
        betas=(train.beta1, train.beta2),
        eps=train.eps,
        fused=True,
    )
    for p in params.values():
        optimizer.state[p] = {
            "step": torch.zeros((), dtype=torch.float32, device=p.device),
            "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
        }
    return optimizer


def square_sum(engine: Engine, rank: int) -> Tensor:
    """This rank's share of the squared global gradient norm: 0-dim, fp64.

    Summed over ranks it is Σ g². Where all ranks hold the same gradients only rank 0 counts.
    """
    parts = engine.gradients()
    if not parts or (rank != 0 and not engine.shards):
        return torch.zeros((), dtype=torch.float64)
    norms: list[Tensor] = torch._foreach_norm(parts)  # type: ignore[assignment]
    return torch.stack(norms).double().square().sum()


def clip(engine: Engine, norm: float, largest: float) -> None:
    """Scale all gradients so that their global norm is at most ``largest``; 0 = never.

    The coefficient is largest / norm, applied in fp32 on every rank alike.
    """
    if largest > 0 and norm > largest:
        torch._foreach_mul_(engine.gradients(), largest / norm)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
