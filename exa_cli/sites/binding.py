"""Where the ranks of a node run: which binding is used, and what is wrong with one. Pure.

A binding is right when, wherever the profile states what is needed to tell,

- its CPUs are CPUs of the node, and none of them is reserved;
- no two ranks share a core, its SMT threads being one core;
- no rank straddles sockets;
- a rank's CPUs lie in its own NUMA domain and in its device's;
- its device, NUMA domain and NIC are what the table of devices says of that device;
- no two ranks share a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from exa_cli.base.errors import Invalid
from exa_cli.sites.cpus import cpus, written
from exa_cli.sites.machine import Binding, Device, Node, Numa, Seat
from exa_cli.spec.declare import AUTO, nearest


@dataclass(frozen=True)
class Hardware:
    """What a binding is held against."""

    node: Node
    devices: tuple[Device, ...]

    def core(self, cpu: int) -> int:
        """The core of a hardware thread, by the lowest of its threads."""
        offset = self.node.smt_offset
        return cpu % offset if isinstance(offset, int) else cpu

    def cores(self, seat: Seat) -> frozenset[int]:
        return frozenset(map(self.core, listed(seat.cpus)))

    def numa(self, domain: Any) -> Numa | None:
        return next((n for n in self.node.numa if n.domain == domain), None)

    def device(self, index: Any) -> Device | None:
        return next((d for d in self.devices if d.index == index), None)


NOTHING_KNOWN = Hardware(Node(), ())


def listed(text: str | None) -> tuple[int, ...]:
    """The CPUs of a profile's list; none where there are none, or nobody says which."""
    return () if text in (None, "none", "unknown") else cpus(str(text))


def findings(binding: Binding, hardware: Hardware) -> tuple[str, ...]:
    """What is wrong with a binding, in words."""
    seats = tuple(enumerate(binding.rank))
    own = [f"rank {n}: {found}" for n, seat in seats for found in _of_seat(seat, hardware)]
    return (*own, *_shared(seats, hardware))


def _of_seat(seat: Seat, hardware: Hardware) -> Iterator[str]:
    yield from _not_usable(seat, hardware)
    mine = frozenset(listed(seat.cpus))
    sockets = {n.socket for n in hardware.node.numa if mine & frozenset(listed(n.cpus))}
    if len(known := sorted(s for s in sockets if isinstance(s, int))) > 1:
        yield f"CPUs {seat.cpus} straddle sockets {', '.join(map(str, known))}"
    yield from _elsewhere(seat, seat.numa, "its NUMA domain", hardware)
    if isinstance(seat.device, int):
        yield from _of_device(seat, hardware)


def _not_usable(seat: Seat, hardware: Hardware) -> Iterator[str]:
    node = hardware.node
    told = [n.cpus for n in node.numa]
    there = frozenset(cpu for text in told for cpu in listed(text))
    if told and "unknown" not in told and (absent := set(listed(seat.cpus)) - there):
        yield f"the node has no CPU {written(absent)}"
    reserved = frozenset(map(hardware.core, listed(node.reserved)))
    if taken := hardware.cores(seat) & reserved:
        yield f"core {written(taken)} is reserved"


def _elsewhere(seat: Seat, domain: Any, whose: str, hardware: Hardware) -> Iterator[str]:
    """CPUs outside of a NUMA domain. One without CPUs is near no CPU in particular."""
    numa = hardware.numa(domain)
    if numa is None:
        if isinstance(domain, int) and hardware.node.numa:
            yield f"the node has no NUMA domain {domain}"
        return
    around = frozenset(listed(numa.cpus))
    if around and (outside := set(listed(seat.cpus)) - around):
        yield f"CPUs {written(outside)} are not in {whose}, {domain}"


def _of_device(seat: Seat, hardware: Hardware) -> Iterator[str]:
    device = hardware.device(seat.device)
    if device is None:
        if hardware.devices:
            yield f"there is no device {seat.device}"
        return
    yield from _elsewhere(seat, device.numa, f"the NUMA domain of device {device.index}", hardware)
    if "unknown" not in (seat.nic, device.nic) and seat.nic != device.nic:
        yield f"device {device.index} has the NIC {device.nic}, not {seat.nic}"
    if isinstance(seat.numa, int) and isinstance(device.numa, int) and seat.numa != device.numa:
        yield f"device {device.index} is in NUMA domain {device.numa}, not {seat.numa}"


def _shared(seats: Sequence[tuple[int, Seat]], hardware: Hardware) -> Iterator[str]:
    for (a, one), (b, other) in combinations(seats, 2):
        if both := hardware.cores(one) & hardware.cores(other):
            yield f"ranks {a} and {b} share core {written(both)}"
        if isinstance(one.device, int) and one.device == other.device:
            yield f"ranks {a} and {b} share device {one.device}"


@dataclass(frozen=True)
class Bound:
    """The binding of a run: its name and its seats, or none of either; and why."""

    name: str | None
    seats: tuple[Seat, ...]
    reason: str


def choose(bindings: Sequence[Binding], ranks: int, asked: str) -> Bound:
    """The binding of a run with so many ranks on a node.

    ``auto`` takes the default, or the first right one of as many ranks, or as many of the
    default's seats as there are ranks. Raises Invalid for one that is not there or does not fit.
    """
    if asked == "none":
        return Bound(None, (), "asked for")
    if asked != AUTO:
        return _named(bindings, ranks, asked)
    if not bindings:
        return Bound(None, (), "the site has no bindings")
    usual = next((b for b in bindings if b.default), None)
    fitting = [b for b in bindings if (len(b.rank) == ranks and not b.published) or b.default]
    exact = next((b for b in fitting if len(b.rank) == ranks), None)
    if exact:
        what = "the site's default" if exact.default else f"the site's for {ranks} ranks"
        return Bound(exact.name, exact.rank, what)
    if usual and ranks < len(usual.rank):
        return Bound(usual.name, usual.rank[:ranks], f"{ranks} seats of the site's default")
    return Bound(None, (), f"the site has no binding for {ranks} ranks on a node")


def _named(bindings: Sequence[Binding], ranks: int, asked: str) -> Bound:
    found = next((b for b in bindings if b.name == asked), None)
    if found is None:
        raise Invalid(
            f"the site has no binding {asked!r}",
            where="parallel.binding",
            hint=nearest(asked, [b.name for b in bindings] or ["none"]),
        )
    if len(found.rank) < ranks:
        fit = [b.name for b in bindings if len(b.rank) >= ranks]
        raise Invalid(
            f"the binding {asked} has {len(found.rank)} seats, for {ranks} ranks on a node",
            where="parallel.binding",
            hint=f"set parallel.ranks_per_node = {len(found.rank)}"
            + (f", or use {' or '.join(fit)}" if fit else ""),
        )
    return Bound(asked, found.rank[:ranks], "asked for")


def threads(bound: Bound, hardware: Hardware) -> int | None:
    """Cores of the smallest seat; None when ranks are not bound."""
    return min((n for seat in bound.seats if (n := len(hardware.cores(seat)))), default=None)
