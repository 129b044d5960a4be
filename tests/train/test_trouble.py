"""What becomes of a step that is not finite: every row of the truth table, and the counting."""

from __future__ import annotations

import pytest

from exa_train.trouble import Back, Case, Sighting, Skips, decide

NAN = "the loss (nan)"


@pytest.mark.parametrize(
    ("case", "bad_step", "action"),
    [
        (Case(None, 1), "skip", "update"),
        (Case(None, 2), "stop", "update"),
        (Case(NAN, 1), "skip", "retry"),
        (Case(NAN, 1), "roll-back", "retry"),
        (Case(NAN, 1), "stop", "retry"),
        (Case(NAN, 2), "stop", "stop"),
        (Case(NAN, 2, sound=False), "stop", "stop"),
        (Case(NAN, 2), "roll-back", "roll-back"),
        (Case(NAN, 2, sound=False), "roll-back", "roll-back"),
        (Case(NAN, 2, sound=False), "skip", "roll-back"),
        (Case(NAN, 2, skipped=0), "skip", "skip"),
        (Case(NAN, 2, skipped=2), "skip", "skip"),
        (Case(NAN, 2, skipped=3), "skip", "stop"),
    ],
)
def test_a_step_becomes_what_the_table_says(case: Case, bad_step: str, action: str) -> None:
    assert decide(case, bad_step, skip_at_most=3) == action


def test_an_update_ends_a_row_of_skips_and_not_their_total() -> None:
    skips = Skips().after("skip").after("skip")
    assert skips == Skips(2, 2)
    assert skips.after("update") == Skips(0, 2)


def test_a_failure_that_comes_again_goes_further_back_each_time() -> None:
    """A deterministic NaN in step 103 ends: there are only so many checkpoints."""
    back = Back()
    assert back.below(103) is None
    back = back.then(103, 100)
    assert back.below(102) == 100, "before the failure was passed: it did not help"
    assert back.below(103) == 100
    assert back.then(103, 90).below(103) == 90
    assert back.below(104) is None, "the run got further than before"


def test_going_back_from_an_earlier_step_does_not_forget_how_far_the_run_had_failed() -> None:
    back = Back().then(103, 100).then(101, 90)
    assert back.below(103) == 90


def test_a_sighting_names_some_tensors_and_counts_the_rest() -> None:
    seen = Sighting("q", (0, 2), tuple(f"t{n}" for n in range(10)))
    assert seen.fields()["tensors"][-2:] == ["t7", "and 2 more"]
    assert seen.fields()["ranks"] == [0, 2]
    assert seen.where == "on ranks 0, 2"
    assert Sighting("q", (), ()).where == "in the sum over ranks"
