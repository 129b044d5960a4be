"""Which batch systems there are: one module each, registered by a decorator.

The module is imported when its kind is asked for, so `exa submit` loads one of them only.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from exa_cli.base.errors import ExaError, NotFound
from exa_cli.schedulers.types import Scheduler, Settings

_PACKAGE = "exa_cli.schedulers"

Factory = Callable[[Settings], Scheduler]
F = TypeVar("F", bound=Factory)


@dataclass(frozen=True)
class Shows:
    """The commands by which a person sees what a batch system has."""

    queues: str
    nodes: str


@dataclass(frozen=True)
class Registration:
    """One kind. ``unusable`` says why it cannot be used from this installation at all; ``shows``
    is None where there are no queues and nodes to ask for."""

    kind: str
    factory: Factory
    unusable: str | None = None
    shows: Shows | None = None


_registered: dict[str, Registration] = {}


def register(
    kind: str, *, unusable: str | None = None, shows: Shows | None = None
) -> Callable[[F], F]:
    """Class decorator: this class is the batch system ``kind``, in the module of that name.

    Raises ValueError when the kind is taken: a second registration would silently decide
    which of the two is used by the order of imports.
    """

    def add(factory: F) -> F:
        if kind in _registered:
            raise ValueError(f"a batch system {kind!r} is registered already")
        _registered[kind] = Registration(kind, factory, unusable, shows)
        return factory

    return add


def registration(kind: str) -> Registration:
    """The registration of a kind. Raises NotFound with the nearest names."""
    name = kind.replace("-", "_")
    module = f"{_PACKAGE}.{name}"
    if kind not in _registered and name.isidentifier() and importlib.util.find_spec(module):
        importlib.import_module(module)
    if kind not in _registered:
        raise _not_found(kind)
    return _registered[kind]


def make(kind: str, settings: Settings) -> Scheduler:
    """The batch system of a kind. Raises NotFound, or NotFound with the reason it is unusable."""
    found = registration(kind)
    if found.unusable:
        raise NotFound(f"the batch system {kind!r} cannot be used: {found.unusable}")
    return found.factory(settings)


def known() -> dict[str, Registration]:
    """Every kind there is. Imports all of them."""
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{_PACKAGE}.{module.name}")
    return dict(sorted(_registered.items()))


def _not_found(kind: str) -> ExaError:
    import difflib

    names = list(known())
    close = difflib.get_close_matches(kind, names, n=3)
    hint = "did you mean " + " or ".join(close) if close else "there are: " + ", ".join(names)
    return NotFound(f"there is no batch system {kind!r}", hint=hint)
