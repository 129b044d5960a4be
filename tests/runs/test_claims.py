"""Only checkpoints of the newest epoch, or listed by a later one, ever count."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged
from exa_cli.runs import claims
from exa_cli.runs.claims import Claim, counts


def claim(epoch, *accepts):
    return Claim(epoch, "001", epoch, accepts)


def test_what_an_older_copy_commits_after_a_newer_claim_never_counts():
    known = (claim(1), claim(2, "step-10.a"))
    assert counts(known, "step-10.a", 1)
    assert not counts(known, "step-20.a", 1)
    assert counts(known, "step-20.b", 2)


def test_a_superseded_checkpoint_stays_superseded_after_further_claims():
    known = (claim(1), claim(2, "step-10.a"), claim(3, "step-10.a", "step-20.b"))
    assert not counts(known, "step-20.a", 1)


def test_nothing_counts_before_the_first_claim():
    assert not counts((), "step-10.a", 1)


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=5))
def test_a_checkpoint_cannot_come_back_once_no_claim_lists_it(lists):
    known = tuple(claim(i + 1, *(f"s{n}" for n in sorted(names))) for i, names in enumerate(lists))
    for n in range(6):
        if not any(f"s{n}" in c.accepts for c in known if c.epoch > 1) and len(known) > 1:
            assert not counts(known, f"s{n}", 1)


def test_many_lives_that_claim_at_once_get_an_epoch_each(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: claims.claim_next(tmp_path, "001", n, tuple), range(24)))
    assert sorted(c.epoch for c in made) == list(range(1, 25))
    assert [c.epoch for c in claims.read_claims(tmp_path)] == list(range(1, 25))


def test_a_claim_lists_what_was_acceptable_after_the_claim_before_it(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    asked = []

    def accepted():
        asked.append(len(claims.read_claims(tmp_path)))
        if len(asked) == 1:
            claims.claim_next(tmp_path, "001", 9, tuple)
        return (f"seen-{len(asked)}",)

    made = claims.claim_next(tmp_path, "001", 1, accepted)
    assert made.epoch == 2 and made.accepts == ("seen-2",)


def test_the_older_holder_finds_itself_fenced(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    first = claims.claim_next(tmp_path, "001", 1, tuple)
    assert not claims.is_fenced(tmp_path, first.epoch)
    claims.claim_next(tmp_path, "001", 2, tuple)
    assert claims.is_fenced(tmp_path, first.epoch)


def test_an_unreadable_claim_is_damage_and_not_an_absence(tmp_path):
    folder = claims.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "000001.json").write_text(json.dumps({"epoch": 1}))
    with pytest.raises(Damaged):
        claims.read_claims(tmp_path)
