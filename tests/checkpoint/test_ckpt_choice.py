"""Which checkpoint is taken and which may go: decisions without files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ckpt_maker import blank
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.checkpoint.names import directory_name
from exa_cli.checkpoint.prune import removals
from exa_cli.checkpoint.select import choose
from exa_cli.checkpoint.verdict import Damage, Report, Verdict


def report(
    step: int, generation: str = "aaaa", epoch: int = 1, verdict: Verdict = "good"
) -> Report:
    name = directory_name(step, generation)
    whole = blank(step, generation, epoch) if verdict != "incomplete" else None
    damaged = () if verdict == "good" else (Damage("data-000000.exa", "is missing"),)
    return Report(name, step, verdict, damaged, whole)


def everything(name: str, epoch: int) -> bool:
    return True


def test_a_damaged_or_incomplete_newest_one_is_skipped_with_the_reason() -> None:
    reports = [report(1), report(3, verdict="incomplete"), report(2, verdict="damaged")]
    choice = choose(reports, everything)
    assert choice.candidates == ("step-00000001.aaaa",)
    assert [(one.name, one.reason) for one in choice.skipped] == [
        ("step-00000003.aaaa", "incomplete: data-000000.exa: is missing"),
        ("step-00000002.aaaa", "damaged: data-000000.exa: is missing"),
    ]


def test_what_a_superseded_copy_committed_is_never_a_candidate() -> None:
    choice = choose([report(9, epoch=1), report(5, epoch=2)], lambda name, epoch: epoch == 2)
    assert choice.candidates == ("step-00000005.aaaa",)
    assert "epoch 1 was superseded" in choice.skipped[0].reason


def test_the_newest_step_wins_then_the_later_epoch_then_the_name() -> None:
    reports = [
        report(100, "bbbb", 1),
        report(100, "aaaa", 2),
        report(20, "ffff", 9),
        report(100, "cccc", 1),
    ]
    assert choose(reports, everything).candidates == (
        "step-00000100.aaaa",
        "step-00000100.cccc",
        "step-00000100.bbbb",
        "step-00000020.ffff",
    )


def _names(found: list[Report]) -> list[str]:
    return [one.name for one in found]


def test_nothing_goes_while_fewer_than_keep_are_verified() -> None:
    reports = [report(step) for step in (1, 2, 3, 4)]
    assert removals(reports, keep=2, verified=_names(reports[3:]), accepts=everything) == []


def test_keep_verified_ones_stay_and_all_older_go() -> None:
    reports = [report(1, verdict="damaged"), report(2), report(3), report(4), report(5)]
    verified = ["step-00000005.aaaa", "step-00000003.aaaa"]
    going = removals(reports, keep=2, verified=verified, accepts=everything)
    assert [one.name for one in going] == ["step-00000001.aaaa", "step-00000002.aaaa"]


def test_a_verified_one_that_is_damaged_now_does_not_count_as_kept() -> None:
    reports = [report(1), report(2), report(3, verdict="damaged")]
    going = removals(reports, keep=2, verified=_names(reports), accepts=everything)
    assert going == []


def test_a_superseded_copys_checkpoint_neither_counts_nor_stays() -> None:
    reports = [report(1), report(2, epoch=1), report(3, epoch=2), report(4, epoch=1)]
    going = removals(
        reports,
        keep=1,
        verified=_names(reports),
        accepts=lambda name, epoch: epoch == 2 or name == "step-00000001.aaaa",
    )
    assert [one.name for one in going] == ["step-00000001.aaaa", "step-00000002.aaaa"]


def test_keeping_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        removals([], keep=0, verified=[], accepts=everything)


REPORTS = st.lists(
    st.builds(
        report,
        step=st.integers(1, 12),
        generation=st.sampled_from(["aaaa", "bbbb"]),
        epoch=st.integers(1, 3),
        verdict=st.sampled_from(["good", "good", "damaged", "incomplete"]),
    ),
    unique_by=lambda one: one.name,
    max_size=12,
)


@given(REPORTS, st.integers(1, 4), st.sets(st.integers(0, 11)), st.integers(1, 3))
def test_no_pruning_breaks_the_promise(
    reports: list[Report], keep: int, picked: set[int], newest_epoch: int
) -> None:
    def accepts(name: str, epoch: int) -> bool:
        return epoch == newest_epoch

    verified = {one.name for i, one in enumerate(reports) if i in picked}
    gone = {one.name for one in removals(reports, keep=keep, verified=verified, accepts=accepts)}
    safe = [
        one
        for one in reports
        if one.name in verified and one.verdict == "good" and one.epoch == newest_epoch
    ]
    assert not gone or len([one for one in safe if one.name not in gone]) >= keep
    for one in reports:
        if one.name in gone:
            assert one.verdict != "incomplete"
            assert one.age < max(each.age for each in safe)
    kept = [one for one in reports if one.name not in gone]
    again = removals(kept, keep=keep, verified=verified, accepts=accepts)
    assert again == [], "pruning twice removes nothing more"
    assert choose(kept, accepts).candidates[:keep] == choose(reports, accepts).candidates[:keep]


def test_reports_sort_without_a_manifest_too() -> None:
    assert replace(report(3), manifest=None).age == (3, 0, "step-00000003.aaaa")
