"""The data that comes with exa is found in a checkout and in an installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.base import resources
from exa_cli.base.errors import Damaged


def installed(folder: Path) -> Path:
    package = folder / "exa_cli"
    package.mkdir(parents=True)
    return package


def test_a_foreign_folder_of_the_name_beside_the_package_is_not_taken(tmp_path: Path) -> None:
    package = installed(tmp_path / "site-packages")
    (package.parent / "sites").mkdir()
    with pytest.raises(Damaged, match="this installation of exa has no sites"):
        resources.folder("sites", package)


def test_an_installation_has_them_inside(tmp_path: Path) -> None:
    package = installed(tmp_path / "site-packages")
    (package / "_sites").mkdir()
    (package.parent / "sites").mkdir()
    assert resources.folder("sites", package) == package / "_sites"


def test_a_checkout_has_them_beside(tmp_path: Path) -> None:
    package = installed(tmp_path / "clone")
    (package.parent / "pyproject.toml").write_text("")
    (package.parent / "sites").mkdir()
    assert resources.folder("sites", package) == package.parent / "sites"


def test_this_exa_has_them() -> None:
    assert (resources.folder("sites") / "local.toml").is_file()
    assert resources.read("templates", "local/job.sh.j2").startswith("#!/bin/bash")
