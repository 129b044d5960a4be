import pytest
from kit import Exa, corpus


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Prepared data that all tests of this session share."""
    home = tmp_path_factory.mktemp("data")
    exa = Exa(home, None)
    exa("data", "prepare", corpus(home / "text"), "-o", home / "prepared", "--vocab", "320")
    return home / "prepared"


@pytest.fixture
def exa(tmp_path, prepared):
    made = Exa(tmp_path, prepared)
    yield made
    for run in (p for p in tmp_path.glob("runs/*") if not p.name.startswith(".")):
        made("cancel", run, expect=0)
        made.settle(run.name)
