"""A document becomes a checked table, or every fault in it is named with its place."""

import contextlib
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid, NotFound, Usage
from exa_cli.spec import document, runfile, times, toml
from exa_cli.spec.runfile import RunFile


def faults(text):
    with pytest.raises(Invalid) as caught:
        runfile.read(toml.parse(text, "run.toml"))
    return str(caught.value)


def test_every_fault_is_reported_at_once_with_its_line():
    said = faults('[train]\nstep = 3\nlr = "fast"\nclip = -1\n\n[modle]\nx = 1\n')
    assert "run.toml:2" in said and "run.toml:3" in said and "run.toml:4" in said
    assert "run.toml:6" in said
    assert said.count("\n- ") + 1 >= 4


def test_a_wrong_key_names_the_nearest_one():
    assert "steps" in faults("[train]\nstep = 3\n")


def test_a_wrong_table_names_the_nearest_one():
    assert "model" in faults('[modle]\npreset = "x"\n')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nsteps = true\n", "whole number"),
        ("[train]\nsteps = 1.5\n", "whole number"),
        ("[train]\nsteps = 0\n", "least legal value"),
        ('[train]\nprecision = "fp8"\n', "legal: bf16, fp32"),
        ('[resources]\nwalltime = "90"\n', "HH:MM:SS"),
        ("[resources]\nwalltime = 01:00:00\n", "put it in quotes"),
        ('[resources]\nwalltime = "1:75:00"\n', "HH:MM:SS"),
        ('[train]\nglobal_batch = "some"\n', "'auto'"),
        ('name = "-rf"\n', "a letter"),
        ('[env]\n"A B" = "1"\n', "not a name a shell can export"),
        ("[env]\nA = 1\n", "a table"),
        ("train = 3\n", "a table"),
        ('[train]\nschedule = "wsd"\ndecay_fraction = 0\n', "needs a decay"),
    ],
)
def test_what_is_illegal_is_refused_in_words(text, said):
    assert said in faults(text)


def test_a_syntax_error_has_its_line():
    with pytest.raises(Invalid) as caught:
        toml.parse("[train]\nsteps == 3\n", "run.toml")
    assert caught.value.where == "run.toml:2"


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        toml.load(tmp_path / "none.toml")


def test_a_file_that_is_not_utf8_is_refused_with_the_byte(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(Invalid, match="not UTF-8") as caught:
        toml.load(path)
    assert "byte 8" in caught.value.where


def test_a_setting_overrides_the_file_and_is_named_as_the_origin():
    doc = toml.override(toml.parse("[train]\nsteps = 3\n", "r"), ["train.steps=400", "train.lr=1"])
    run = runfile.read(doc)
    assert (run.train.steps, run.train.lr) == (400, 1.0)
    assert "--set" in doc.where(("train", "steps"))


def test_a_setting_needs_no_quotes_for_text():
    words = ["data.path=/data/my corpus", "resources.walltime=02:00:00"]
    run = runfile.read(toml.override(toml.parse("", "r"), words))
    assert run.data.path == "/data/my corpus"
    assert run.resources.walltime == "02:00:00"


@pytest.mark.parametrize("setting", ["train.steps", "=3"])
def test_a_setting_without_both_sides_is_a_usage_error(setting):
    with pytest.raises(Usage):
        toml.override(toml.parse("", "r"), [setting])


def test_a_setting_does_not_change_the_document_it_started_from():
    doc = toml.parse("[train]\nsteps = 3\n", "r")
    toml.override(doc, ["train.steps=4"])
    assert doc.values["train"]["steps"] == 3


def test_lines_inside_multiline_strings_are_not_keys():
    lines = toml.key_lines('a = """\nsteps = 1\n"""\nsteps = 2\n')
    assert lines[("steps",)] == 4


def test_rows_of_a_table_array_have_their_own_lines():
    lines = toml.key_lines('[[queue]]\nname = "a"\n[[queue]]\nname = "b"\n')
    assert lines[("queue", "0", "name")] == 2 and lines[("queue", "1", "name")] == 4


def test_the_commented_file_parses_to_the_defaults():
    text = document.commented(RunFile, {"train": {"steps": 7}}, "intro")
    assert runfile.read(toml.parse(text, "r")) == RunFile(train=runfile.Train(steps=7))


def test_the_schema_is_a_valid_schema_and_agrees_with_the_reader():
    schema = document.json_schema(RunFile)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"train": {"steps": 3, "global_batch": "auto"}}, schema)
    for wrong in ({"train": {"step": 3}}, {"train": {"steps": 0}}, {"train": {"lr": "x"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
        with pytest.raises(Invalid):
            runfile.read(toml.TomlDoc(wrong))
    json.dumps(schema)


def test_the_reference_names_every_key():
    page = document.reference(RunFile)
    for name in ("walltime", "microbatch", "stop_before", "keep", "preset"):
        assert f"`{name}`" in page


@given(st.integers(0, 9999 * 3600 - 1))
def test_a_time_survives_its_text(seconds):
    assert times.seconds(times.text(seconds)) == seconds


@given(st.recursive(st.integers() | st.text() | st.booleans() | st.floats(allow_nan=False),
                    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(), c, max_size=3),
                    max_leaves=6))  # fmt: skip
def test_no_value_anywhere_makes_the_reader_crash(value):
    for values in ({"train": value}, {"train": {"steps": value}}, {"env": value}, {"name": value}):
        with contextlib.suppress(Invalid):
            runfile.read(toml.TomlDoc(values))


def test_the_reference_page_is_what_the_declarations_say(capsys):
    document.main([])
    page = Path(__file__).resolve().parents[2] / "docs" / "run-file.md"
    assert page.read_text() == capsys.readouterr().out, "python -m exa_cli.spec.document > it"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_number_that_no_json_can_hold_is_refused(text):
    said = faults(f"[train]\nlr = {text}\n")
    assert "finite" in said and "run.toml:2" in said


@pytest.mark.parametrize("key", ["steps", "seed", "seq_len"])
def test_a_whole_number_beyond_64_bits_is_refused(key):
    assert f"train.{key}" in faults(f"[train]\n{key} = {1 << 63}\n")


@pytest.mark.parametrize("text", ["x = " + "[" * 5000 + "]" * 5000, "x = " + "9" * 5000])
def test_what_exhausts_the_parser_is_a_fault_of_the_file(text):
    assert "not valid TOML" in faults(text)


def test_digits_of_other_scripts_are_no_walltime():
    assert "HH:MM:SS" in faults('[resources]\nwalltime = "\u0661:00:00"\n')


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf[train]\r\nsteps = 10\r\n")
    assert runfile.read(toml.load(path)).train.steps == 10


def test_an_array_where_a_table_belongs_is_placed_at_its_line():
    assert "run.toml:2" in faults("\n[[train]]\nsteps = 5\n")
