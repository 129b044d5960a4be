"""What the training loop asks of an engine, and the trivial one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from exa_train.parallel.local import local


class Engine:
    """A model that is trained by one or more ranks.

    Attributes:
        module: what is called with a microbatch.
        params: parameters by the model's own names, as the optimizer and checkpoints see them:
            `DTensor` shards, or plain tensors where a rank holds everything.
        shards: True when ranks hold different parts of ``params``; False when all hold the same.
    """

    shards = False

    def __init__(self, module: nn.Module, params: dict[str, nn.Parameter]) -> None:
        self.module = module
        self.params = params

    def round(self, *, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one microbatch; gradients cross ranks in the last."""
        del last
        return nullcontext()

    def gradients(self) -> list[Tensor]:
        """This rank's part of every gradient, after the last round."""
        return [local(p.grad) for p in self.params.values() if p.grad is not None]


class Whole(Engine):
    """All of the model on one rank."""

    def __init__(self, model: nn.Module, fill: Callable[[], None]) -> None:
        fill()
        super().__init__(model, dict(model.named_parameters()))
