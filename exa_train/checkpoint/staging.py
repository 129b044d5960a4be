"""Staging: a rank's parts of the state, copied to host memory that every save uses again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from exa_train.parallel.local import local


class Stage:
    """Host copies by name. They cost as much host memory as the rank's state, for the life.

    What lies on the host is copied when `take` returns. A device's copies go into pinned memory
    behind the work that the device was given before, without anybody waiting: so they hold what
    the state is now, and `ready` waits until they are complete.
    """

    def __init__(self) -> None:
        self._copies: dict[str, torch.Tensor] = {}
        self._pending: list[Any] = []

    def take(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Copy this rank's parts; only once what the last call gave is not needed any more."""
        with torch.no_grad():
            return self._take({fqn: local(value) for fqn, value in state.items()})

    def _take(self, parts: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        for fqn in self._copies.keys() - parts.keys():
            del self._copies[fqn]
        for fqn, part in parts.items():
            self._room(fqn, part).copy_(part, non_blocking=True)
        devices = {part.device for part in parts.values()} - {torch.device("cpu")}
        self._pending = [_mark(device) for device in sorted(devices, key=str)]
        return self._copies

    def _room(self, fqn: str, part: torch.Tensor) -> torch.Tensor:
        room = self._copies.get(fqn)
        if room is None or room.shape != part.shape or room.dtype != part.dtype:
            pinned = part.device.type != "cpu"
            room = torch.empty(part.shape, dtype=part.dtype, pin_memory=pinned)
            self._copies[fqn] = room
        return room

    def ready(self) -> None:
        """Return when the copies are complete."""
        for event in self._pending:
            event.synchronize()
        self._pending = []


def _mark(device: torch.device) -> Any:
    """An event behind everything the device was given so far."""
    module = torch.get_device_module(device)
    event = module.Event()
    event.record(module.current_stream(device))
    return event
