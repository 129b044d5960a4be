"""Lists of CPUs: what is read is what was written, and nonsense is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.sites.cpus import cpus, written, wrong_with


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no CPU"),
        ("3-1", "ends before it begins"),
        ("0-3,2", "twice"),
        ("1;2", "is no CPU"),
        ("-4", "is no CPU"),
        ("٣", "is no CPU"),
    ],
)
def test_what_is_no_list_of_cpus_is_refused_with_the_part_that_is_wrong(text, words):
    assert words in wrong_with(text)


def test_a_list_keeps_its_order():
    assert cpus("24-26,56,3") == (24, 25, 26, 56, 3)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_written_list_reads_as_the_same_cpus(numbers):
    text = written(numbers)
    assert set(cpus(text)) == numbers
    assert wrong_with(text) is None
