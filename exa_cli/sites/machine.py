"""Tables of a site profile about its hardware: nodes, devices, links, topology, bindings.

CPU numbers are the operating system's, each a hardware thread; a list of them is written as the
kernel does, ``0-7,32-39`` (`exa_cli.sites.cpus`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exa_cli.sites.batch import NAME_FORM, NAME_PATTERN, No, Sourced
from exa_cli.sites.cpus import wrong_with as wrong_cpus
from exa_cli.spec.declare import UNKNOWN, Unknown, key

Detect = Literal["detect"]


@dataclass(frozen=True, kw_only=True)
class Numa(Sourced):
    """A NUMA domain of a node; one without CPUs is memory only, as HBM in flat mode is."""

    domain: int = key(help="Its number.", minimum=0)
    socket: int | Unknown = key(UNKNOWN, help="The socket it belongs to.", minimum=0)
    cpus: str | No | Unknown = key(
        UNKNOWN, help="Its CPUs, SMT threads included; none = memory only.", check=wrong_cpus
    )
    memory: str | Unknown = key(UNKNOWN, help="Kind of its memory, for example DDR5 or HBM.")
    bytes: int | Unknown = key(UNKNOWN, help="Size of its memory.", unit="bytes", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Nic(Sourced):
    """A network card of a node."""

    name: str = key(help="What the node calls it.")
    numa: int | Unknown = key(UNKNOWN, help="NUMA domain it is attached to.", minimum=0)
    bytes_per_s: float | Unknown = key(
        UNKNOWN, help="Its rate in one direction.", unit="bytes/s", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Device(Sourced):
    """A device of a node, as the driver numbers it in the accelerator's default mode."""

    index: int = key(help="Its number.", minimum=0)
    module: int | Unknown = key(
        UNKNOWN, help="The card it is a part of; of a card with one device, that.", minimum=0
    )
    numa: int | Unknown = key(UNKNOWN, help="NUMA domain it is attached to.", minimum=0)
    nic: str | No | Unknown = key(UNKNOWN, help="The NIC nearest to it; none = none in its domain.")


@dataclass(frozen=True, kw_only=True)
class Node(Sourced):
    """One node."""

    model: str | Unknown = key(UNKNOWN, help="What it is.")
    count: int = key(1, help="Nodes of a run that does not say how many.", minimum=1)
    total: int | Unknown = key(UNKNOWN, help="Nodes the site has.", minimum=1)
    hostnames: str | Unknown = key(
        UNKNOWN, help="Pattern of its nodes' names, with letters for what differs."
    )
    ranks_per_node: int = key(
        1, help="Ranks on a node of a run that does not say how many.", minimum=1
    )
    cpus: int | Detect | Unknown = key(
        UNKNOWN, help="Cores of a node for a job; detect = look at this machine.", minimum=1
    )
    sockets: int | Unknown = key(UNKNOWN, help="CPU sockets.", minimum=1)
    threads_per_core: int | Unknown = key(UNKNOWN, help="Hardware threads of a core.", minimum=1)
    smt_offset: int | Unknown = key(UNKNOWN, help="Threads i and i + this share a core.", minimum=1)
    reserved: str | No | Unknown = key(
        UNKNOWN, help="CPUs that the site keeps from jobs; none = none.", check=wrong_cpus
    )
    memory_bytes: int | Unknown = key(
        UNKNOWN, help="Memory a job can use, of all kinds.", unit="bytes", minimum=0
    )
    gpus: int | Unknown = key(UNKNOWN, help="GPUs of a node that a job asks for.", minimum=0)
    virtual: bool = key(False, help="Whether all nodes are this machine and share its cores.")
    numa: tuple[Numa, ...] = key((), help="Its NUMA domains.")
    nic: tuple[Nic, ...] = key((), help="Its network cards.")


@dataclass(frozen=True, kw_only=True)
class Mode(Sourced):
    """A way to divide the cards of a node into devices."""

    name: str = key(help="What it is called.")
    devices: int = key(help="Devices of a node in it.", minimum=1)
    variable: str | None = key(None, help="Variable that chooses it.")
    value: str | None = key(None, help="The variable's value for it.")
    index: str | Unknown = key(UNKNOWN, help="How a device is written in a mask.")
    default: bool = key(False, help="Whether exa uses it: indices of devices are this mode's.")


@dataclass(frozen=True, kw_only=True)
class Peak(Sourced):
    """How fast the device does one thing. A whole node may do less than all of its devices."""

    what: str = key(help="The operation and number format, for example bf16 matmul.")
    unit: str = key("FLOP/s", help="Of the three numbers.")
    nominal: float | Unknown = key(UNKNOWN, help="One device, by its data sheet.", minimum=0)
    measured: float | Unknown = key(UNKNOWN, help="One device alone, as measured.", minimum=0)
    node: float | Unknown = key(
        UNKNOWN, help="All devices of a node together, as measured.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Link(Sourced):
    """How fast two parts of a node talk."""

    between: str = key(help="Which pairs: devices of one module, of different modules, …")
    name: str | Unknown = key(UNKNOWN, help="What the link is.")
    one_way: float | Unknown = key(
        UNKNOWN, help="Rate of a pair in one direction.", unit="bytes/s", minimum=0
    )
    both_ways: float | Unknown = key(
        UNKNOWN, help="Rate of a pair, both directions added.", unit="bytes/s", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Accelerator(Sourced):
    """The device that ranks compute on."""

    name: str | Unknown = key(UNKNOWN, help="What it is.")
    memory_bytes: int | Unknown = key(
        UNKNOWN, help="Memory of one device.", unit="bytes", minimum=0
    )
    memory_bytes_per_s: float | Unknown = key(
        UNKNOWN, help="Rate of that memory.", unit="bytes/s", minimum=0
    )
    select: str | No = key(
        "none",
        help="Variable that shows a rank its own device only; none = a rank sees all of them "
        "and takes its own by its index.",
        pattern=r"[A-Za-z_][A-Za-z0-9_]*",
        form="the name of a variable",
    )
    mode: tuple[Mode, ...] = key((), help="Ways to divide cards into devices.")
    peak: tuple[Peak, ...] = key((), help="What it reaches.")
    link: tuple[Link, ...] = key((), help="What connects devices, hosts and each other.")


@dataclass(frozen=True, kw_only=True)
class Seat(Sourced):
    """Where one rank of a node runs."""

    cpus: str | No | Unknown = key(help="Its CPUs; none = not bound.", check=wrong_cpus)
    device: int | No | Unknown = key(UNKNOWN, help="Its device.", minimum=0)
    numa: int | No | Unknown = key(UNKNOWN, help="NUMA domain of its memory.", minimum=0)
    nic: str | No | Unknown = key(UNKNOWN, help="Its NIC.")


@dataclass(frozen=True, kw_only=True)
class Binding(Sourced):
    """A way to bind the ranks of a node: one seat for each local rank, in order."""

    name: str = key(help="What a run calls it.", pattern=NAME_PATTERN, form=NAME_FORM)
    use: str | None = key(None, help="What it is good for, in a line.")
    default: bool = key(False, help="Whether runs use it that do not say; one at most.")
    permutes: Literal["cpus", "device", "none"] = key(
        "none", help="Which of the two is not in the order of local ranks."
    )
    published: bool = key(
        False, help="Whether the site gives it: then it stays as it is, with a warning if bad."
    )
    rank: tuple[Seat, ...] = key(help="The seat of each local rank.")


@dataclass(frozen=True, kw_only=True)
class Tier(Sourced):
    """A part of the machine, such as a rack."""

    name: str = key(help="What it is: chassis, rack, dragonfly group, …")
    nodes: int | Unknown = key(UNKNOWN, help="Nodes of one.", minimum=1)
    count: int | Unknown = key(UNKNOWN, help="How many of them there are.", minimum=1)
    within: str | None = key(None, help="The tier that one of them lies in.")
    resource: str | No | Unknown = key(
        UNKNOWN, help="Resource by which a job can ask for nodes of one."
    )
    values: str | Unknown = key(UNKNOWN, help="What that resource's values look like.")
