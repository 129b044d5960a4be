"""One profile over another: what is replaced, what is added, and where each key is from."""

from __future__ import annotations

from exa_cli.sites.merge import merged
from exa_cli.spec.toml import parse


def test_tables_merge_key_by_key_and_scalars_are_replaced() -> None:
    lower = parse("a = 1\n[t]\nx = 1\ny = 1\n[t.u]\nv = 1\n", "lower")
    upper = parse("a = 2\n[t]\ny = 2\n[w]\nz = 2\n", "upper")
    assert merged(lower, upper).values == {
        "a": 2,
        "t": {"x": 1, "y": 2, "u": {"v": 1}},
        "w": {"z": 2},
    }


def test_rows_with_names_merge_by_name_and_keep_their_order() -> None:
    lower = parse("[[q]]\nname='a'\nx=1\n[[q]]\nname='b'\nx=1\ny=1\n", "lower")
    upper = parse("[[q]]\nname='c'\n[[q]]\nname='b'\nx=2\n", "upper")
    both = merged(lower, upper)
    rows = [{"name": "a", "x": 1}, {"name": "b", "x": 2, "y": 1}, {"name": "c"}]
    assert both.values == {"q": rows}
    assert both.where(("q", "1", "x")) == "upper:5, key q.1.x"
    assert both.where(("q", "1", "y")) == "lower:7, key q.1.y"
    assert both.where(("q", "2", "name")) == "upper:2, key q.2.name"


def test_rows_without_names_and_lists_are_replaced_whole() -> None:
    lower = parse("l = [1, 2]\nr = [{x = 1}, {x = 2}]\n", "lower")
    upper = parse("l = [3]\nr = [{x = 3}]\n", "upper")
    assert merged(lower, upper).values == {"l": [3], "r": [{"x": 3}]}


def test_rows_that_share_a_name_are_never_merged_away() -> None:
    """The check that refuses two queues of a name must still see both."""
    lower = parse("[[q]]\nname='a'\n[[q]]\nname='a'\n", "lower")
    upper = parse("[[q]]\nname='a'\nx=1\n", "upper")
    assert merged(upper, lower).values == {"q": [{"name": "a"}, {"name": "a"}]}


def test_an_empty_list_empties() -> None:
    lower = parse("[[q]]\nname='a'\n", "lower")
    assert merged(lower, parse("q = []\n", "upper")).values == {"q": []}


def test_a_table_over_a_scalar_replaces_it() -> None:
    lower, upper = parse("a = 1\n", "lower"), parse("[a]\nx = 1\n", "upper")
    assert merged(lower, upper).values == {"a": {"x": 1}}
    assert merged(upper, lower).values == {"a": 1}


def test_a_missing_key_is_looked_for_in_the_uppers_file() -> None:
    both = merged(parse("[t]\nx = 1\n", "lower"), parse("[t]\ny = 1\n", "upper"))
    assert both.where(("gone",)) == "upper, key gone"
    assert both.where(("t", "x")) == "lower:2, key t.x"
