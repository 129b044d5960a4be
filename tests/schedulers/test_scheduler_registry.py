"""Batch systems are found by name, one module each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exa_cli.base.errors import NotFound
from exa_cli.schedulers import registry
from exa_cli.schedulers.types import Settings


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        registry.make("locale", Settings())
    assert caught.value.hint == "did you mean local"


@pytest.mark.parametrize("kind", ["types", "registry", "../local", "local.runner", ""])
def test_a_module_that_registers_nothing_is_no_batch_system(kind: str) -> None:
    with pytest.raises(NotFound):
        registry.registration(kind)


def test_a_second_registration_is_refused() -> None:
    registry.registration("local")
    with pytest.raises(ValueError, match="registered already"):
        registry.register("local")(object)  # type: ignore[type-var]


def test_one_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    made: list[Settings] = []
    registry.register("cray", unusable="it needs the package crayctl")(made.append)  # type: ignore[type-var]
    with pytest.raises(NotFound, match="needs the package crayctl"):
        registry.make("cray", Settings())
    assert not made
    assert registry.known()["cray"].unusable


def test_asking_for_one_kind_loads_no_other(tmp_path: Path) -> None:
    code = """
import sys
from exa_cli.schedulers import registry
assert not any(m.startswith("exa_cli.schedulers.local") for m in sys.modules)
print(registry.registration("local").kind)
"""
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert out.stdout == "local\n", out.stderr
