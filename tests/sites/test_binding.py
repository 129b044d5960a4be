"""Bindings: each rule is broken once and found; what keeps them all passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid
from exa_cli.sites.binding import Hardware, choose, findings, threads
from exa_cli.sites.cpus import written
from exa_cli.sites.machine import Binding, Device, Node, Numa, Seat

# Two sockets of four cores with two threads each, memory without CPUs, a device a socket.
NODE = Node(
    smt_offset=8,
    reserved="0,8",
    numa=(
        Numa(domain=0, socket=0, cpus="0-3,8-11"),
        Numa(domain=1, socket=1, cpus="4-7,12-15"),
        Numa(domain=2, socket=0, cpus="none"),
    ),
)
DEVICES = (Device(index=0, numa=1, nic="hsn1"), Device(index=1, numa=0, nic="none"))
HARDWARE = Hardware(NODE, DEVICES)
GOOD = (
    Seat(cpus="4-6,12-14", device=0, numa=1, nic="hsn1"),
    Seat(cpus="1-3,9-11", device=1, numa=0, nic="none"),
)


def binding(*seats: Seat, **more: object) -> Binding:
    return Binding(name=str(more.pop("name", "b")), rank=seats, **more)  # type: ignore[arg-type]


def test_a_binding_that_keeps_every_rule_has_no_finding():
    assert findings(binding(*GOOD), HARDWARE) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpus": "4-6,11"}, "straddle sockets 0, 1"),
        ({"cpus": "4,16"}, "the node has no CPU 16"),
        ({"cpus": "0", "device": "none", "numa": 0, "nic": "none"}, "core 0 is reserved"),
        ({"cpus": "8", "device": "none", "numa": 0, "nic": "none"}, "core 0 is reserved"),
        ({"cpus": "3", "device": "none", "numa": 0, "nic": "none"}, "ranks 0 and 1 share core 3"),
        ({"cpus": "11", "device": "none", "numa": 0, "nic": "none"}, "ranks 0 and 1 share core 3"),
        ({"device": 1}, "ranks 0 and 1 share device 1"),
        ({"device": 7}, "there is no device 7"),
        ({"numa": 0}, "CPUs 4-6,12-14 are not in its NUMA domain, 0"),
        ({"numa": 0}, "device 0 is in NUMA domain 1, not 0"),
        ({"numa": 9}, "the node has no NUMA domain 9"),
        ({"nic": "hsn0"}, "device 0 has the NIC hsn1, not hsn0"),
        ({"device": 1, "numa": "unknown"}, "are not in the NUMA domain of device 1, 0"),
    ],
)
def test_each_rule_that_is_broken_is_found(change, said):
    found = findings(binding(replace(GOOD[0], **change), GOOD[1]), HARDWARE)
    assert any(said in line for line in found), found


def test_what_a_site_does_not_state_accuses_nobody():
    blank = Hardware(Node(), ())
    assert findings(binding(*GOOD), blank) == ()
    silent = (Device(index=0), Device(index=1))
    assert findings(binding(*GOOD), Hardware(NODE, silent)) == ()
    memory_only = Seat(cpus="1", device="none", numa=2, nic="unknown")
    assert findings(binding(memory_only), HARDWARE) == ()


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.data())
def test_cores_cut_evenly_pass_and_a_core_in_two_seats_is_found(domains, each, ranks, data):
    cores = domains * each
    numa = tuple(
        Numa(domain=d, socket=d, cpus=written(c + t for t in (0, cores) for c in _of(d, each)))
        for d in range(domains)
    )
    hardware = Hardware(Node(smt_offset=cores, numa=numa), ())
    cut = max(1, each // ranks)
    parts = [
        _of(d, each)[at : at + cut] for d in range(domains) for at in range(0, each - cut + 1, cut)
    ]
    seats = [Seat(cpus=written(part)) for part in parts]
    assert findings(binding(*seats), hardware) == ()
    if len(parts) > 1:
        stolen = data.draw(st.sampled_from(parts[1])) + cores
        seats[0] = Seat(cpus=written([*parts[0], stolen]))
        assert any("share core" in line for line in findings(binding(*seats), hardware))


def _of(domain: int, each: int) -> list[int]:
    return list(range(domain * each, (domain + 1) * each))


ONE = Seat(cpus="1")
BINDINGS = (
    binding(ONE, name="bad", published=True),
    binding(*[ONE] * 4, name="four", default=True),
    binding(*[ONE] * 2, name="two"),
    binding(*[ONE] * 3, name="three", published=True),
)


@pytest.mark.parametrize(
    ("ranks", "asked", "name", "seats"),
    [
        (4, "auto", "four", 4),
        (2, "auto", "two", 2),
        (3, "auto", "four", 3),
        (1, "auto", "four", 1),
        (8, "auto", None, 0),
        (4, "none", None, 0),
        (3, "three", "three", 3),
        (1, "bad", "bad", 1),
    ],
)
def test_which_binding_a_run_gets(ranks, asked, name, seats):
    found = choose(BINDINGS, ranks, asked)
    assert (found.name, len(found.seats)) == (name, seats)
    assert found.reason


def test_a_binding_that_is_not_there_or_too_small_is_refused_with_what_fits():
    with pytest.raises(Invalid, match="no binding 'fuor'") as caught:
        choose(BINDINGS, 4, "fuor")
    assert "did you mean four" in str(caught.value)
    with pytest.raises(Invalid, match="two has 2 seats, for 4 ranks") as caught:
        choose(BINDINGS, 4, "two")
    assert "or use four" in str(caught.value)
    assert choose((), 4, "auto").name is None


def test_threads_are_the_cores_of_the_smallest_seat_not_its_hardware_threads():
    bound = choose((binding(GOOD[0], Seat(cpus="1-2,9-10"), default=True),), 2, "auto")
    assert threads(bound, HARDWARE) == 2
    assert threads(choose((), 2, "auto"), HARDWARE) is None
