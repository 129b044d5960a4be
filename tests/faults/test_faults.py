"""One fault of each kind: the run finishes by itself, in the same bits, and leaves nothing."""

import pytest
from faults import FAULTS
from trial import trial, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ALWAYS = ("manifest_deleted", "stale_file")
"""In every run of the tests; the others have tests of their own there (tests/e2e: test_keep.py,
test_resume.py, test_damage.py), and are tried like this by --full and `make chaos`."""

_reference = {}


@pytest.fixture
def reference(exa):
    if not _reference:
        _reference["whole"] = undisturbed(exa)
    return _reference["whole"]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, marks=() if f in ALWAYS else pytest.mark.full) for f in FAULTS],
)
def test_a_run_survives_it_and_ends_in_the_same_bits(exa, reference, fault):
    result = trial(exa, "hurt", [fault], reference)
    assert result.good, result


@pytest.mark.full
@pytest.mark.parametrize("pair", [("rank_killed", "supervisor_killed"),
                                  ("bit_flipped", "file_deleted"),
                                  ("rank_stopped", "everything_killed")], ids="+".join)  # fmt: skip
def test_two_of_them_are_survived_too(exa, reference, pair):
    result = trial(exa, "hurt", pair, reference)
    assert result.good, result
