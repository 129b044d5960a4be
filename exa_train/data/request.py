"""What is asked for when a corpus is prepared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base.errors import Invalid


@dataclass(frozen=True)
class Request:
    """What to prepare. Only ``workers`` and ``part_bytes`` do not influence the result.

    Attributes:
        vocab: tokens to learn; None: as many as the given tokenizer has.
        tokenizer: a SentencePiece model to use instead of learning one.
        held_out: share of documents kept from training, 0 < share < 1.
        part_bytes: text per restartable part.
        sample_bytes: text the tokenizer learns from, at most.
        skip_bad: leave out unreadable documents instead of ending.
    """

    inputs: tuple[str, ...]
    out: Path
    vocab: int | None = None
    tokenizer: Path | None = None
    text_field: str = "text"
    workers: int = 1
    held_out: float = 0.01
    seed: int = 0
    shard_tokens: int = 1 << 26
    part_bytes: int = 1 << 22
    sample_bytes: int = 1 << 25
    skip_bad: bool = False


def check(request: Request) -> None:
    """Raise Invalid for what is wrong before any file is read."""
    if not 0 < request.held_out < 1:
        raise Invalid("the held-out share must lie between 0 and 1", where="--held-out")
    if request.vocab is None and request.tokenizer is None:
        raise Invalid("no vocabulary size", hint="give --vocab N, or --tokenizer FILE.model")
    for name in ("workers", "shard_tokens", "part_bytes", "sample_bytes"):
        if getattr(request, name) < 1:
            raise Invalid("must be at least 1", where=f"--{name.replace('_', '-')}")
    place = next(p for p in (request.out, *request.out.absolute().parents) if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise Invalid("the output directory cannot be written", where=str(place))


def content_options(request: Request, given_vocab: int | None) -> dict[str, Any]:
    """The options that decide the result, as the manifest records them.

    Args:
        given_vocab: size of the given tokenizer; None when one is learnt.
    """
    return {
        "vocab": request.vocab if given_vocab is None else given_vocab,
        "text_field": request.text_field,
        "held_out": request.held_out,
        "seed": request.seed,
        "shard_tokens": request.shard_tokens,
        "sample_bytes": request.sample_bytes if given_vocab is None else None,
        "skip_bad": request.skip_bad,
    }
