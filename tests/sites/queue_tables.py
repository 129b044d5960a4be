"""The queue tables of real sites, as their documents stood on the day each names."""

from __future__ import annotations

from pathlib import Path

from exa_cli.sites.schema import SiteProfile, read
from exa_cli.spec import toml

FOLDER = Path(__file__).parent / "queues"
SITES = ("polaris", "aurora", "frontier", "lumi")

HEAD = """
[site]
name = {name!r}
[scheduler]
kind = "any"
[launcher]
kind = "any"
command = ["run", "{{ranks}}"]
"""


def site(name: str) -> SiteProfile:
    return of(name, (FOLDER / f"{name}.toml").read_text())


def of(name: str, fragment: str) -> SiteProfile:
    return read(toml.parse(HEAD.format(name=name) + fragment, f"{name}.toml"))
