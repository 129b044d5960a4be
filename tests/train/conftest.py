"""Prepared data for the trainer's tests: a little real text, tokenised once a session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_runs import Run

from exa_train.data.prepare import prepare
from exa_train.data.request import Request


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared directory of the json and logging packages' sources, vocabulary 300."""
    out = tmp_path_factory.mktemp("tiny-data") / "prepared"
    sources = [Path(json.__file__).parent, Path(json.__file__).parents[1] / "logging"]
    prepare(Request(tuple(map(str, sources)), out, vocab=300, held_out=0.2))
    return out


@pytest.fixture
def make_run(tmp_path: Path, tiny_data: Path) -> Callable[..., Run]:
    """Makes runs in this test's own directory."""

    def make(name: str = "tiny-0000", **options: Any) -> Run:
        return Run(tmp_path / name, tiny_data, **options)

    return make
