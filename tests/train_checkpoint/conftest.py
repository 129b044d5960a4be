from __future__ import annotations

from collections.abc import Iterator

import pytest
from rank_stage import Stage, open_stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Real gloo ranks to play scenarios on."""
    with open_stage() as opened:
        yield opened
