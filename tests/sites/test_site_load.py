"""Profiles are found in one order, checked whole, and frozen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.sites.load import known_sites, load_site, read_frozen, search_path

MINIMAL = """
[site]
title = "{title}"

[scheduler]
kind = "local"

[launcher]
kind = "mpich"
command = ["mpiexec", "-n", "{{ranks}}"]
"""


class Places:
    """An environment with every place a profile can stand in."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home/.config/exa/sites"
        self.first, self.second = folder / "first", folder / "second"
        for place in (self.home, self.first, self.second):
            place.mkdir(parents=True)
        self.env = {
            "HOME": str(folder / "home"),
            "EXA_SITES_PATH": f"{self.first}::{self.second}",
        }

    def put(self, place: Path, name: str, text: str | None = None) -> Path:
        path = place / f"{name}.toml"
        path.write_text(MINIMAL.format(title=place.name) if text is None else text)
        return path

    def faults(self, text: str) -> str:
        with pytest.raises(Invalid) as caught:
            load_site(str(self.put(self.first, "faulty", text)), self.env)
        return str(caught.value)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_every_fault_is_reported_at_once_with_its_line(places: Places) -> None:
    said = places.faults(
        """
[site]
nam = "x"

[scheduler]
kind = "local"
kill_delay_s = -1
poll_s = "often"

[launcher]
command = ["-n", "{ranks}"]

[node]
count = 0
cpus = "all"

[torch]
device = "tpu"

[nodes]
count = 1
"""
    )
    for part in (
        "there is no key site.nam",
        "faulty.toml:3",
        "did you mean name",
        "scheduler.kill_delay_s = -1: the least legal value is 0",
        "faulty.toml:7",
        "scheduler.poll_s must be a number, not 'often'",
        "the key launcher.kind is missing",
        "the first word must be the launcher's program",
        "node.count = 0: the least legal value is 1",
        "node.cpus must be a whole number or 'detect' or 'unknown', not 'all'",
        "legal: cpu, cuda, xpu",
        "there is no table or key nodes",
        "did you mean node",
    ):
        assert part in said


def test_a_profile_without_what_it_must_have_names_what(places: Places) -> None:
    said = places.faults("[site]\nname = 'x'\n")
    assert "the key scheduler is missing" in said
    assert "the key launcher is missing" in said


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("[[queue]]\nname = 'a'\n[[queue]]\nname = 'a'\n", "there are two queues 'a'"),
        (
            "[[queue]]\nname = 'a'\nlimit = [{min_nodes = 4, max_nodes = 2}]\n",
            "2 nodes at most, 4 at least",
        ),
        ("[[queue]]\nname = 'a'\nlimit = [{walltime = '90'}]\n", "HH:MM:SS"),
    ],
)
def test_contradictory_queues_are_refused(places: Places, rows: str, words: str) -> None:
    assert words in places.faults(MINIMAL.format(title="x") + rows)


def test_a_wrong_name_names_the_nearest_and_all_that_are_known(places: Places) -> None:
    places.put(places.first, "polaris")
    with pytest.raises(NotFound) as caught:
        load_site("polari", places.env)
    assert caught.value.hint.startswith("did you mean polaris? known: aurora, ")


@pytest.mark.parametrize("name", ["..", "a b", "x\n", "-"])
def test_what_cannot_name_a_site_is_not_looked_for(places: Places, name: str) -> None:
    with pytest.raises(NotFound):
        load_site(name, places.env)


def test_a_path_that_is_not_there_is_not_found(places: Places) -> None:
    with pytest.raises(NotFound, match="no such file"):
        load_site("./no/such.toml", places.env)


@pytest.mark.parametrize("parent", ["faulty", "b"])
def test_a_circle_of_inheritance_is_refused_with_its_members(places: Places, parent: str) -> None:
    places.put(places.first, "b", 'inherits = "faulty"\n')
    if parent == "faulty":
        places.put(places.second, "faulty", 'inherits = "b"\n')
    said = places.faults(f'inherits = "{parent}"\n')
    assert "inherits itself" in said
    assert "faulty.toml → " in said


def test_a_parent_that_is_not_there_is_named_with_the_line(places: Places) -> None:
    path = places.put(places.first, "a", '# x\ninherits = "locl"\n')
    with pytest.raises(NotFound, match="'locl'") as caught:
        load_site(str(path), places.env)
    assert f"{path}:2" in str(caught.value.where)


def test_a_site_that_is_no_table_is_refused(places: Places) -> None:
    assert "site must be a table, not 'x'" in places.faults('site = "x"\n')


def test_inherits_must_be_a_name(places: Places) -> None:
    assert "must be the name of a site" in places.faults("inherits = 1\n")


def test_a_fault_in_a_parent_is_shown_in_the_parents_file(places: Places) -> None:
    places.put(places.second, "base", MINIMAL.format(title="t") + "[node]\ncount = 0\n")
    said = places.faults('inherits = "base"\n[torch]\ndevice = "abacus"\n')
    assert "second/base.toml:12, key node.count" in said
    assert "first/faulty.toml:3, key torch.device" in said


def test_the_order_of_places(places: Places) -> None:
    places.put(places.second, "s")
    assert load_site("s", places.env).profile.site.title == "second"
    places.put(places.first, "s")
    assert load_site("s", places.env).profile.site.title == "first"
    places.put(places.home, "s")
    assert load_site("s", places.env).profile.site.title == "sites"


def test_the_option_comes_before_the_variable_and_that_before_the_default(places: Places) -> None:
    places.put(places.first, "asked")
    variable = places.put(places.second, "variable")
    env = {**places.env, "EXA_SITE": "variable"}
    assert load_site("asked", env).profile.site.name == "asked"
    assert load_site(None, env).profile.site.name == "variable"
    assert load_site(None, {**env, "EXA_SITE": str(variable)}).chain == (variable,)
    assert load_site(None, places.env).profile.site.name == "local"
    assert load_site(None, {**places.env, "EXA_SITE": ""}).profile.site.name == "local"


def test_a_profile_without_a_name_is_called_after_its_file(places: Places) -> None:
    path = places.put(places.first, "my-machine")
    assert load_site(str(path), places.env).profile.site.name == "my-machine"


def test_a_users_profile_adds_to_the_one_it_hides(places: Places) -> None:
    """``inherits`` of the own name is the next one behind it, not a circle."""
    mine = places.put(places.home, "local", 'inherits = "local"\n[node]\ncount = 4\n')
    found = load_site("local", places.env)
    assert found.profile.node.count == 4
    assert found.profile.node.ranks_per_node == 1
    assert found.profile.site.name == "local"
    assert found.chain[0] == mine
    assert len(found.chain) == 2


@pytest.mark.parametrize("named", ["", '[site]\nname = "mine"\n', '[site]\ntitle = "x"\n'])
def test_a_child_never_goes_by_its_parents_name(places: Places, named: str) -> None:
    path = places.put(places.first, "mine", f'inherits = "local"\n{named}')
    assert load_site(str(path), places.env).profile.site.name == "mine"


def test_a_frozen_profile_reads_back_and_depends_on_nothing(places: Places, tmp_path: Path) -> None:
    source = places.put(places.first, "mine", 'inherits = "local"\n[node]\ncount = 3\n')
    found = load_site(str(source), places.env)
    frozen = tmp_path / "site.toml"
    frozen.write_text(found.text)
    source.unlink()
    assert read_frozen(frozen) == found.profile
    assert load_site(str(frozen), places.env).profile == found.profile
    assert str(source) in found.text


def test_an_odd_path_does_not_break_the_frozen_file(tmp_path: Path) -> None:
    odd = tmp_path / "a\n[x]"
    odd.mkdir()
    path = odd / "s.toml"
    path.write_text(MINIMAL.format(title="t"))
    frozen = tmp_path / "site.toml"
    frozen.write_text(load_site(str(path), {}).text)
    assert read_frozen(frozen).site.title == "t"


def test_known_sites_are_those_that_would_be_used(places: Places) -> None:
    places.put(places.second, "s")
    first = places.put(places.first, "s")
    hidden = places.put(places.home, "local")
    known = known_sites(places.env)
    assert (known["s"], known["local"]) == (first, hidden)
    assert search_path(places.env)[:3] == [places.home, places.first, places.second]


def test_a_pipe_among_the_profiles_is_none(places: Places) -> None:
    os.mkfifo(places.first / "pipe.toml")
    assert "pipe" not in known_sites(places.env)


def test_egi_is_no_batch_site_and_asking_for_it_says_what_to_use(places: Places) -> None:
    for name in ("egi", "EGI"):
        with pytest.raises(NotFound, match="EGI is a federation of providers") as caught:
            load_site(name, places.env)
        assert caught.value.where == "--site"
        assert "HTCondor-CE, ARC-CE or DIRAC" in str(caught.value.hint)


def test_a_profile_of_one_s_own_may_have_any_name(places: Places) -> None:
    places.put(places.first, "egi")
    assert load_site("egi", places.env).profile.site.name == "egi"
