"""A node-local directory is ours alone, or it is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.sites import paths
from exa_cli.sites.paths import expand, make_private, own_folder, wrong_with


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory everybody can write, as /tmp is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def test_a_link_laid_under_our_name_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir(mode=0o700)
    (shared / "exa").symlink_to(tmp_path / "trap")
    for path in (shared / "exa", shared / "exa" / "below"):
        with pytest.raises(Invalid, match="not ours"):
            make_private(path)
    assert list((tmp_path / "trap").iterdir()) == []


def test_a_directory_of_somebody_else_is_refused(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared / "exa").mkdir(mode=0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(Invalid, match="not ours") as caught:
        make_private(shared / "exa")
    assert "TMPDIR" in str(caught.value.hint)


def test_a_file_in_the_way_is_refused(shared: Path) -> None:
    (shared / "exa").write_text("")
    for path in (shared / "exa", shared / "exa" / "below"):
        with pytest.raises((Invalid, NotADirectoryError)):
            make_private(path)


def test_what_is_made_is_for_us_only_whatever_the_umask(shared: Path) -> None:
    before = os.umask(0)
    try:
        made = make_private(shared / "exa" / "run" / "n0")
    finally:
        os.umask(before)
    for folder in (made, made.parent, made.parent.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert shared.stat().st_mode & 0o7777 == 0o1777


def test_a_directory_of_ours_that_others_could_enter_is_closed(shared: Path) -> None:
    (shared / "exa").mkdir()
    (shared / "exa").chmod(0o777)
    assert make_private(shared / "exa").stat().st_mode & 0o777 == 0o700
    make_private(shared / "exa")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("/x/{run}", "{run} is not known; there are: tmp, uid"),
        ("/x/$HOME", "at every $ and {"),
        ("/x/${HOME", "at every $ and {"),
        ("/x/${A:-${B}}", "at every $ and {"),
        ("/x/{}", "at every $ and {"),
    ],
)
def test_a_template_that_cannot_be_filled_in_says_why(template: str, words: str) -> None:
    assert words in str(wrong_with(template))


def test_a_variable_without_a_value_or_default_is_refused_by_name() -> None:
    assert wrong_with("${SCRATCH}/exa") is None
    with pytest.raises(Invalid, match=r"\$SCRATCH is not set"):
        expand("${SCRATCH}/exa", {}, {"SCRATCH": ""})


@pytest.mark.parametrize("value", ["relative", "", "/a/../b"])
def test_a_path_that_could_lie_anywhere_is_refused(value: str) -> None:
    with pytest.raises(Invalid):
        expand("${A}", {}, {"A": value})


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{tmp}/exa-{uid}", "/t/exa-7"),
        ("${LOCAL:-/tmp}/exa", "/tmp/exa"),
        ("${HOME:-/tmp}/exa", "/home/u/exa"),
        ("${EMPTY:-/e}/x", "/e/x"),
        ("${HOME}/${HOME}", "/home/u/home/u"),
    ],
)
def test_templates_are_filled_in_as_a_shell_would(template: str, path: str) -> None:
    env = {"HOME": "/home/u", "EMPTY": ""}
    assert wrong_with(template) is None
    assert expand(template, {"tmp": "/t", "uid": "7"}, env) == Path(path)


def test_values_are_not_templates_themselves() -> None:
    assert expand("${A}", {"uid": "7"}, {"A": "/{uid}/${A}"}) == Path("/{uid}/${A}")


def test_the_folder_of_a_user(shared: Path) -> None:
    assert own_folder("{tmp}/exa-{uid}", str(shared)) == shared / f"exa-{os.getuid()}"
    assert own_folder("${W}/x", "/t", {"W": str(shared)}) == shared / "x"
    assert paths.PLACES == ("tmp", "uid")
