"""A small corpus, and one prepared directory that tests may read but not change."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from exa_train.data.prepare import Outcome, prepare
from exa_train.data.request import Request

settings.register_profile("untimed", deadline=None)  # other work shares the machine
settings.load_profile("untimed")

_WORDS = [
    "".join(random.Random(number).choices("etaoinshrdlu", k=2 + number % 6))
    for number in range(400)
]
_ODD = ["a\u2581b", "\ttabs\t", "line\r\nend", "naïve café", "数字 123", "  two", "\u2028", "<s>"]


def text(number: int, words: int = 150) -> str:
    """Some text, always the same for the same number; Zipf-like, with odd characters."""
    rng = random.Random(f"text {number}")
    ranks = (min(int(rng.paretovariate(0.7)), len(_WORDS)) - 1 for _ in range(words))
    parts = [_WORDS[rank] + rng.choice([" ", " ", " ", ",\n    ", "\n"]) for rank in ranks]
    return "".join(parts) + _ODD[number % len(_ODD)] + "\n"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents: files in folders, a .jsonl and a .jsonl.gz."""
    root = tmp_path_factory.mktemp("corpus")
    for number in range(20):
        folder = root / f"part{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"doc{number:02d}.{['txt', 'md', 'py', 'rst'][number % 4]}").write_text(
            text(number), newline=""
        )
    lines = [json.dumps({"text": text(number), "id": number}) for number in range(20, 40)]
    (root / "more.jsonl").write_text("\n".join(lines[:10]) + "\n")
    with gzip.open(root / "more.jsonl.gz", "wt") as stream:
        stream.write("\n".join(lines[10:]))
    return root


@pytest.fixture
def run(tmp_path: Path, corpus: Path) -> Callable[..., Outcome]:
    """Prepare the small corpus with options of the test's choice."""

    def run(**options: object) -> Outcome:
        defaults = {"inputs": (str(corpus),), "out": tmp_path / "out", "vocab": 400}
        return prepare(Request(**{**defaults, "held_out": 0.2, **options}))  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """The small corpus, prepared in shards of 1,000 tokens."""
    out = tmp_path_factory.mktemp("prepared") / "data"
    prepare(Request((str(corpus),), out, vocab=400, held_out=0.2, shard_tokens=1000))
    return out
