"""How the ranks find each other: MPI for the greeting, torch.distributed for the work.

Rank 0 lets the kernel choose a port, opens the store on it and only then tells the others, so
there is no port to race for and none to configure.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from exa_cli.base import proc
from exa_train.faults import LaunchFailed

TIMEOUT = timedelta(minutes=30)
"""How long a collective may wait. The supervisor's hang detection is the clock that matters;
this only keeps an orphaned rank from waiting for ever."""

LOOPBACK = "127.0.0.1"
INTERFACE = "GLOO_SOCKET_IFNAME"
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Host:
    """Where a rank runs.

    Attributes:
        machine: what has one loopback: the kernel's boot id and the network namespace. Equal
            names do not prove one host, and containers of one host have a loopback each.
        chosen: address of the interface the user named in GLOO_SOCKET_IFNAME, if any.
        named: address the host's own name resolves to, if it resolves.
        routed: source address of the default route, if there is one.
    """

    name: str
    machine: str
    chosen: str | None
    named: str | None
    routed: str | None


def store_address(hosts: list[Host]) -> str:
    """The address at which every rank reaches rank 0's store; ``hosts[0]`` is rank 0's. Pure.

    On one machine that is loopback, whatever /etc/hosts says. Raises LaunchFailed when rank 0
    has no address that another machine could reach.
    """
    first = hosts[0]
    if len({host.machine for host in hosts}) == 1:
        return LOOPBACK
    for address in (first.chosen, first.named, first.routed):
        if address is not None and not address.startswith("127."):
            return address
    raise LaunchFailed(
        "rank 0 has no address the other nodes could reach",
        where=f"{first.name}: the name resolves to {first.named}, default route {first.routed}",
        hint=f"name the interface of the compute network in {INTERFACE} ([env] of the run file)",
    )


def gloo_interface(hosts: list[Host], mine: Host, interfaces: Mapping[str, str]) -> str | None:
    """The interface gloo must be told to use, or None to let it choose. Pure.

    gloo listens on the address its host's own name resolves to. That is wrong when the name
    resolves to loopback on a machine that must be reached from others, and needless risk when
    all ranks share one machine. ``interfaces`` maps names to IPv4 addresses.
    """
    if len({host.machine for host in hosts}) == 1:
        wanted: str | None = LOOPBACK
    elif mine.named is None or mine.named.startswith("127."):
        wanted = mine.routed
    else:
        return None
    return next((name for name, address in interfaces.items() if address == wanted), None)


def check_wish(wish: str, names: Sequence[str]) -> None:
    """Raise LaunchFailed when the user named an interface that is not there. Pure.

    Args:
        wish: the value of GLOO_SOCKET_IFNAME, several separated by commas.
        names: the interfaces of this machine.
    """
    for name in (part for part in wish.split(",") if part):
        if name not in names:
            raise LaunchFailed(
                f"{INTERFACE} names {name}, and there is no such interface",
                where=socket.gethostname(),
                hint="the interfaces there: " + ", ".join(names),
            )


def this_host(interfaces: Mapping[str, str], environ: Mapping[str, str]) -> Host:
    """Facts about this machine."""
    named = _attempt(lambda: socket.gethostbyname(socket.gethostname()))
    wish = environ.get(INTERFACE, "").split(",")[0]
    return Host(
        name=socket.gethostname(),
        machine=_loopback(),
        chosen=interfaces.get(wish),
        named=named,
        routed=_attempt(_default_route),
    )


def _loopback() -> str:
    """A name for the loopback interface that this process reaches."""
    return f"{proc.boot_id()} {os.readlink(proc.PROC / 'self/ns/net')}"


def _attempt(look: Any) -> str | None:
    """An address, or None where the network has no answer: both are facts to decide on."""
    try:
        return str(look())
    except OSError:
        return None


def _default_route() -> str:
    """Connecting a UDP socket sends nothing; it only makes the kernel pick a source address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737: never a real host
        return str(probe.getsockname()[0])


def interfaces() -> dict[str, str]:
    """IPv4 address of each network interface that has one (Linux)."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                answer = bytes(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request))
                found[name] = socket.inet_ntoa(answer[20:24])
    return found


def meet(comm: Any, backend: str) -> None:
    """Join all ranks of ``comm`` in torch's default process group. Collective."""
    check_wish(os.environ.get(INTERFACE, ""), [name for _, name in socket.if_nameindex()])
    known = interfaces()
    mine = this_host(known, os.environ)
    hosts: list[Host] = comm.allgather(mine)
    address = store_address(hosts)
    if INTERFACE not in os.environ:
        interface = gloo_interface(hosts, mine, known)
        if interface is not None:
            os.environ[INTERFACE] = interface
    store = _open_store(comm, address)
    dist.init_process_group(
        backend, store=store, rank=comm.rank, world_size=comm.size, timeout=TIMEOUT
    )


def _open_store(comm: Any, address: str) -> TCPStore:
    """Rank 0 serves on a port of the kernel's choice; the others learn it by MPI."""
    if comm.rank == 0:
        store = TCPStore(
            address, 0, comm.size, is_master=True, wait_for_workers=False, timeout=TIMEOUT
        )
        comm.bcast(store.port, root=0)
        return store
    port = comm.bcast(None, root=0)
    return TCPStore(address, port, comm.size, is_master=False, timeout=TIMEOUT)
