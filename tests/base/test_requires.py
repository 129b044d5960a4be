"""What ranks need is written twice, for pip and for nodes: the two say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement

from exa_cli.base.requires import RANKS, Range

PROJECT = tomli.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
LINES = [
    *PROJECT["dependencies"],
    *PROJECT["optional-dependencies"]["train"],
    *PROJECT["optional-dependencies"]["local"],
]
DECLARED = {found.name: found.specifier for found in map(Requirement, LINES)}


@pytest.mark.parametrize("name", RANKS)
def test_nodes_take_the_versions_that_pip_takes(name: str) -> None:
    pairs = [(major, minor) for major in range(8) for minor in range(30)]
    versions = [f"{major}.{minor}" for major, minor in pairs]
    assert [RANKS[name].takes(each) for each in versions] == [
        DECLARED[name].contains(each) for each in versions
    ]


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("2.13.0+cpu", True),
        ("2.8.0a0+git1", True),
        ("2.14.0", False),
        ("2.7.9", False),
        ("3", False),
        ("", False),
        ("abc", False),
    ],
)
def test_a_version_is_read_whatever_stands_behind_it(version: str, taken: bool) -> None:
    assert Range((2, 8), (2, 14)).takes(version) is taken
