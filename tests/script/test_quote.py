"""What is quoted reads back as it was, through a real bash, or is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid
from exa_cli.script import quote
from exa_cli.script.dialects import DIALECTS
from exa_cli.script.directives import Directive, Line
from exa_cli.script.gpulab import GPULAB

NASTY = (
    "",
    " ",
    "'",
    '"',
    "$(id)",
    "`id`",
    "-n",
    "--",
    "a\nb",
    "\\",
    "!x",
    "*",
    "~",
    "é 漢",
    "\r\t",
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


def bash(script: str, tmp_path: Path) -> bytes:
    """What a script prints, run from a file as a batch system does."""
    path = tmp_path / "script.sh"
    path.write_text(script, encoding="utf-8", newline="")
    return subprocess.run(["bash", str(path)], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quote")


@given(st.lists(TEXT, max_size=8))
@example(list(NASTY))
@settings(deadline=None)
def test_words_read_back(folder: Path, values: list[str]) -> None:
    words = " ".join(quote.word(value) for value in values)
    assert "\n" not in words
    out = bash(f"for w in {words}; do printf '%s\\0' \"$w\"; done", folder)
    assert out.decode().split("\0")[:-1] == values


@given(st.lists(TEXT, min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_a_command_gets_its_arguments_as_they_are(folder: Path, values: list[str]) -> None:
    line = quote.command(("printf", r"%s\0", *values))
    assert bash(line, folder).decode().split("\0")[:-1] == values


# What bash itself sets or does not let a script set.
_TAKEN = {"BASHOPTS", "EUID", "PPID", "SHELLOPTS", "UID", "_", "PATH"}


@given(NAMES.filter(lambda name: name not in _TAKEN and not name.startswith("BASH")), TEXT)
@example("A", "a\nb'c\"$(exit 9)")
@settings(deadline=None)
def test_an_exported_variable_has_its_value(folder: Path, name: str, value: str) -> None:
    out = bash(f"{quote.export(name, value)}\nexec /usr/bin/env -0", folder)
    assert f"{name}={value}".encode() in out.split(b"\0")


def as_sbatch_reads(line: str) -> list[str]:
    """The words of a directive line by sbatch's rules: blanks split, # ends, quotes of either
    kind group, and a backslash keeps the next character, inside quotes too. The tests on a real
    Slurm hold these rules to it."""
    words: list[str] = []
    word, quote_, escaped, begun = "", "", False, False
    for char in line:
        if escaped:
            word, escaped = word + char, False
        elif char == "\\":
            escaped = begun = True
        elif quote_:
            word, quote_ = (word, "") if char == quote_ else (word + char, quote_)
        elif char in "\"'":
            quote_, begun = char, True
        elif char == "#":
            break
        elif char.isspace():
            words, word, begun = words + [word] * begun, "", False
        else:
            word, begun = word + char, True
    return words + [word] * begun


def read_back(scheduler: str, line: str) -> str:
    if scheduler == "local":
        return line.removeprefix("#EXA ").strip().partition("=")[2]
    if scheduler == "pbs":
        text = line.removeprefix("#PBS -l account=")
        quoted = text.startswith('"') and text.endswith('"') and len(text) > 1
        assert quoted or not any(char.isspace() for char in text)
        return text[1:-1] if quoted else text
    (word,) = as_sbatch_reads(line.removeprefix("#SBATCH "))
    return word.partition("=")[2]


def _takes(value: str) -> bool:
    """Whether a line can hold it: PBS alone refuses more."""
    try:
        return bool(quote.directive_value(value, "the account"))
    except Invalid:
        return False


@pytest.mark.parametrize("value", ["a b", "home:eagle", "é/ü", "A=1,B=2", "a-b"])
def test_what_people_write_reaches_pbs_as_it_is(value: str) -> None:
    assert quote.qsub_value(value, "it").strip('"') == value


@pytest.mark.parametrize("value", ['a"b', "it's", "a\\b", "$HOME", "`id`", "a;b", "-n", "a#b"])
def test_what_pbs_might_read_as_something_else_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="may read as something else"):
        quote.qsub_value(value, "it")


IN_SCRIPTS = sorted(name for name, dialect in DIALECTS.items() if dialect.document is None)


@given(st.text(max_size=40), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_request_in_json_holds_any_text_as_it_is(description: str, body: str) -> None:
    items = (Directive("description", description, "here"),)
    lines = GPULAB.document(items, (Line(body, "there"),))  # type: ignore[misc]
    made = json.loads("\n".join(line.text for line in lines))
    assert made["description"] == description
    assert made["request"]["docker"]["command"][-1] == body + "\n"


@pytest.mark.parametrize("scheduler", IN_SCRIPTS)
@given(value=st.text(max_size=30) | st.text("\"'\\\\# $`%=-", max_size=12))
@example(value="a\x85b")
@example(value="a\u2028b")
@example(value=" a")
@example(value="")
@example(value="a\"b'c\\\\d # e")
@settings(deadline=None)
def test_a_directive_is_one_line_that_reads_back_or_is_refused(scheduler: str, value: str) -> None:
    try:
        quote.directive_value(value, "the account")
        line = DIALECTS[scheduler].write(Directive("account", value, "here"))
    except Invalid:
        assert scheduler == "pbs" or not _takes(value)
        return
    assert line.splitlines() == [line]
    assert read_back(scheduler, line) == value
    line.encode()


def test_a_value_longer_than_sbatch_has_room_for_is_refused() -> None:
    assert quote.sbatch_value("é" * 2048, "it")
    with pytest.raises(Invalid, match="longer than 4096 bytes"):
        quote.sbatch_value("é" * 2049, "it")


@pytest.mark.parametrize("value", ["a\0b", "\udcff"])
def test_what_no_script_can_hold_is_refused(value: str) -> None:
    for refuse in (
        lambda: quote.word(value),
        lambda: quote.export("A", value),
        lambda: quote.path(Path("/", value)),
        lambda: quote.directive_value(value, "it"),
    ):
        with pytest.raises(Invalid):
            refuse()


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A;id", "Ä", "A\n"])
def test_what_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not the name of a variable"):
        quote.export(name, "x")


@pytest.mark.parametrize("path", ["relative", "-rf", "./x"])
def test_a_path_that_could_be_taken_for_an_option_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="must be absolute"):
        quote.path(Path(path))


@pytest.mark.parametrize("argv", [(), ("-x", "y"), ("",)])
def test_what_is_no_command_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="not a command"):
        quote.command(argv)
