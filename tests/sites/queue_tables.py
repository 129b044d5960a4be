"""The queue tables of the shipped sites, and tables of a test's own."""

from __future__ import annotations

from exa_cli.sites.load import load_site
from exa_cli.sites.schema import SiteProfile, read
from exa_cli.spec import toml

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
    return load_site(name, {}).profile


def of(name: str, fragment: str) -> SiteProfile:
    return read(toml.parse(HEAD.format(name=name) + fragment, f"{name}.toml"))
