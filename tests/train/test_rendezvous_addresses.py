"""Where rank 0's store is reached, and what gloo has to be told, on odd networks too."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from exa_train.faults import LaunchFailed
from exa_train.rendezvous import (
    Host,
    check_wish,
    gloo_interface,
    interfaces,
    store_address,
    this_host,
)

HERE = Host("n0", "boot-a", None, "10.0.0.1", "10.0.0.1")
THERE = Host("n1", "boot-b", None, "10.0.0.2", "10.0.0.2")
INTERFACES = {"lo": "127.0.0.1", "eth0": "192.168.1.5", "hsn0": "10.0.0.1"}


@pytest.mark.parametrize("named", ["10.9.9.9", "127.0.1.1", None])
def test_ranks_of_one_machine_meet_on_loopback_whatever_the_name_resolves_to(
    named: str | None,
) -> None:
    hosts = [dataclasses.replace(HERE, named=named)] * 2
    assert store_address(hosts) == "127.0.0.1"
    assert gloo_interface(hosts, hosts[0], INTERFACES) == "lo"


def test_across_machines_the_hosts_own_address_serves() -> None:
    assert store_address([HERE, THERE]) == "10.0.0.1"
    assert gloo_interface([HERE, THERE], HERE, INTERFACES) is None


def test_equal_host_names_do_not_make_one_machine() -> None:
    """Containers often share a name; the kernel's boot id does not lie."""
    assert store_address([HERE, dataclasses.replace(HERE, machine="boot-b")]) == "10.0.0.1"


def test_the_interface_that_the_user_names_comes_first() -> None:
    chosen = dataclasses.replace(HERE, chosen="192.168.1.5")
    assert store_address([chosen, THERE]) == "192.168.1.5"


@pytest.mark.parametrize("wish", ["ib9", "eth0,ib9"])
def test_an_interface_that_is_not_there_is_named_with_those_that_are(wish: str) -> None:
    with pytest.raises(LaunchFailed, match="names ib9") as raised:
        check_wish(wish, list(INTERFACES))
    assert "lo, eth0, hsn0" in str(raised.value)
    check_wish("eth0,hsn0", list(INTERFACES))
    check_wish("", [])


def test_a_name_that_resolves_to_loopback_is_worked_around_across_machines() -> None:
    """Debian's installer writes such a line into /etc/hosts."""
    debian = dataclasses.replace(HERE, named="127.0.1.1", routed="10.0.0.1")
    assert store_address([debian, THERE]) == "10.0.0.1"
    assert gloo_interface([debian, THERE], debian, INTERFACES) == "hsn0"


def test_a_rank_0_that_nobody_can_reach_is_told_before_anyone_waits() -> None:
    lost = dataclasses.replace(HERE, named="127.0.1.1", routed=None)
    with pytest.raises(LaunchFailed, match="no address") as raised:
        store_address([lost, THERE])
    assert "GLOO_SOCKET_IFNAME" in str(raised.value)


def test_this_machines_loopback_is_found() -> None:
    assert "127.0.0.1" in interfaces().values()


def test_containers_of_one_kernel_are_machines_of_their_own() -> None:
    """They share the boot id, and each has a loopback that the others do not reach."""
    here = this_host(interfaces(), {})
    code = (
        "import os\nfrom exa_train.rendezvous import interfaces, this_host\n"
        "print(this_host(interfaces(), {}).machine)"
    )
    same = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert same.stdout.strip() == here.machine
    alone = ["unshare", "--net", "--map-root-user", sys.executable, "-c", code]
    other = subprocess.run(alone, capture_output=True, text=True)
    if other.returncode:
        pytest.skip(f"no network namespaces for us here: {other.stderr.strip()[-200:]}")
    assert other.stdout.strip() != here.machine
