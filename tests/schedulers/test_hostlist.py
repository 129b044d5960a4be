"""Host lists: what stands in SLURM_JOB_NODELIST, read back to the names it was made of."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import ExaError, Invalid
from exa_cli.schedulers.hostlist import MOST, expand


# The right column is what scontrol show hostnames of Slurm 22.05.8 prints.
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n[001-003,7]", "n001 n002 n003 n7"),
        ("x[1-2]-ib[0-1]", "x1-ib0 x1-ib1 x2-ib0 x2-ib1"),
        ("n[0-2][5-6]", "n05 n06 n15 n16 n25 n26"),
        ("a,b", "a b"),
        ("n[8-010]", "n8 n9 n10"),
        ("n[1,1]", "n1 n1"),
        ("n[1-2],", "n1 n2"),
        (",n1", "n1"),
    ],
)
def test_it_is_read_as_slurm_reads_it(text, names):
    assert list(expand(text)) == names.split()


@pytest.mark.parametrize(
    "text",
    ["", ",", "n[1-3", "n1]", "n[[1]]", "n[]", "n[3-1]", "n[a-b]", "n[1-]", "n[-1]", "n[1,,2]",
     "n[²]", f"n[0-{MOST}]", "n[0-999][0-999]", "n[1-99999999999999]"],
)  # fmt: skip
def test_what_is_no_list_of_a_thinkable_size_is_refused(text):
    with pytest.raises(Invalid, match="no host list"):
        expand(text)


WORD = st.text("abcxyz-.", min_size=1, max_size=6)


@st.composite
def ranges(draw):
    """The inside of a bracket, and the numbers it stands for."""
    texts, numbers = [], []
    for _ in range(draw(st.integers(1, 3))):
        low, length = draw(st.integers(0, 9999)), draw(st.integers(1, 6))
        first = str(low).zfill(draw(st.integers(1, 5)))
        texts.append(first if length == 1 else f"{first}-{low + length - 1}")
        numbers += [str(n).zfill(len(first)) for n in range(low, low + length)]
    return ",".join(texts), numbers


@st.composite
def lists(draw):
    """A host list and its names."""
    texts, names = [], []
    for _ in range(draw(st.integers(1, 3))):
        parts = [(word, [word]) for word in [draw(WORD)]]
        for inside, numbers in draw(st.lists(ranges(), max_size=2)):
            parts.append((f"[{inside}]", numbers))
            if tail := draw(st.one_of(st.just(""), WORD)):
                parts.append((tail, [tail]))
        texts.append("".join(text for text, _ in parts))
        names += ["".join(c) for c in itertools.product(*(values for _, values in parts))]
    return ",".join(texts), names


@given(lists())
def test_a_list_gives_the_names_it_was_made_of_in_their_order(made):
    text, names = made
    assert list(expand(text)) == names


@given(st.text("n019[]-,.x ", max_size=30))
def test_any_text_is_names_or_refused(text):
    try:
        names = expand(text)
    except ExaError:
        return
    assert names and not any(set(name) & set("[],") for name in names)
