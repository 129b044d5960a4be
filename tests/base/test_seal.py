import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base import seal

NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.text() | NUMBER,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODY = st.dictionaries(st.text(), JSON, max_size=4).map(lambda body: {**body, "key": 1})


def sealed(body):
    return {**body, "seal": seal.seal(body)}


@pytest.mark.parametrize(
    "record", [{}, {"key": 1}, {"key": 1, "seal": None}, {"key": 1, "seal": ""}]
)
def test_a_record_without_a_seal_does_not_pass(record):
    assert not seal.check(record)


@given(BODY, JSON)
def test_a_changed_added_or_removed_value_breaks_the_seal(body, other):
    record = sealed({**body, "key": ["was", other]})
    assert not seal.check({**record, "key": other})
    assert not seal.check({**record, "added\0": other})
    assert not seal.check({key: value for key, value in record.items() if key != "key"})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_hold_is_never_sealed_and_never_passes(number):
    with pytest.raises(ValueError):
        seal.seal({"key": number})
    assert not seal.check({**sealed({"key": 1}), "key": number})


@given(BODY)
def test_the_order_and_spelling_of_a_file_do_not_matter(body):
    record = sealed(body)
    again = json.loads(json.dumps(dict(reversed(record.items())), indent=3, ensure_ascii=False))
    assert seal.check(again)
    assert seal.seal(again) == record["seal"]


def test_the_form_is_fixed_because_files_outlive_the_program():
    body = {"b": [1, 2.5, None], "a": "é\n"}
    assert seal.canonical(body) == r'{"a":"\u00e9\n","b":[1,2.5,null]}'
    # printf '%s' '{"a":"\u00e9\n","b":[1,2.5,null]}' | sha256sum
    assert seal.seal(body) == "b57974fb3523b1cdf70c228b5198c9f742901d45861c205dafbac33d1ace7eaa"
