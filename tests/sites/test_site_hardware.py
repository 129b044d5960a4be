"""A profile whose tables of hardware contradict each other is refused with each place."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.sites.load import load_site
from exa_cli.sites.schema import SiteProfile

BASE = """
[site]
title = "a machine"
[scheduler]
kind = "slurm"
[launcher]
kind = "srun"
[node]
cpus = 8
ranks_per_node = 2
gpus = 2
reserved = "0"
numa = [{ domain = 0, cpus = "0-3" }, { domain = 1, cpus = "4-7" }]
nic = [{ name = "hsn0", numa = 1 }]
"""
DEVICES = """
[[device]]
index = 0
numa = 0
nic = "hsn0"
"""
GOOD = '[{ cpus = "1-3", device = 0 }, { cpus = "4-7", device = 1 }]'
RESERVED = '[{ cpus = "0-3", device = 0 }, { cpus = "4-7", device = 1 }]'


def binding(name: str, rank: str = GOOD, **said: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in said.items())
    return f'[[binding]]\nname = "{name}"\n{lines}rank = {rank}\n'


def load(tmp_path: Path, text: str) -> SiteProfile:
    path = tmp_path / "machine.toml"
    path.write_text(BASE + text)
    return load_site(str(path), {"HOME": str(tmp_path)}).profile


@pytest.mark.parametrize(
    ("text", "said", "at"),
    [
        (DEVICES + "[[device]]\nindex = 0\n", "two devices 0", "index = 0"),
        (DEVICES.replace("numa = 0", "numa = 7"), "there is no NUMA domain 7", "numa = 7"),
        (DEVICES.replace("hsn0", "hsn1"), "there is no NIC 'hsn1'", 'nic = "hsn1"'),
        (binding("a") + binding("a"), "two bindings 'a'", 'name = "a"'),
        (
            binding("a", default="true") + binding("b", default="true"),
            "a and b cannot both be the default binding",
            "default = true",
        ),
        (binding("own", RESERVED), "the binding own: ", "rank = "),
        (
            binding("usual", RESERVED, default="true", published="true"),
            "the binding usual: ",
            "rank = ",
        ),
    ],
)
def test_a_contradiction_is_refused_where_it_stands(
    tmp_path: Path, text: str, said: str, at: str
) -> None:
    with pytest.raises(Invalid) as caught:
        load(tmp_path, text)
    lines = (BASE + text).splitlines()
    line = max(number for number, each in enumerate(lines, 1) if each.startswith(at))
    assert said in str(caught.value)
    assert f"machine.toml:{line}" in str(caught.value)


def test_every_contradiction_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        load(tmp_path, DEVICES * 2 + binding("a") + binding("a"))
    told = [part.what for part in caught.value.parts]
    assert "there are two devices 0" in told and "there are two bindings 'a'" in told


def test_what_the_site_itself_publishes_is_kept_though_it_breaks_a_rule(tmp_path: Path) -> None:
    theirs = binding("theirs", RESERVED, published="true")
    profile = load(tmp_path, binding("usual", default="true") + theirs)
    assert [each.name for each in profile.binding] == ["usual", "theirs"]
