"""exa model: what it prints, and that it needs no torch for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.commands.model import command


def run(*args: str) -> Result:
    return CliRunner().invoke(command, list(args))


def test_unknown_preset_raises_what_main_turns_into_exit_6() -> None:
    found = run("show", "alphaexa-1bb").exception
    assert isinstance(found, NotFound)
    assert found.code == 6
    assert "alphaexa-1b" in str(found.hint)


def test_a_wrong_override_says_which_option() -> None:
    found = run("show", "alphaexa-ci", "--set", "vocab=0").exception
    assert isinstance(found, Invalid)
    assert "--set vocab" in str(found)


def test_a_sequence_of_no_tokens_is_refused() -> None:
    assert run("show", "alphaexa-ci", "--seq", "0").exit_code == 2


def test_250b_prints_its_integers_and_its_differences() -> None:
    text = run("show", "alphaexa-250b").stdout
    for figure in ("249,725,468,672", "86,615,277,568", "88,664,195,072", "4,096 tokens"):
        assert figure in text
    assert "543,850,856,448" in text
    assert "16 B/parameter      3,995,607,498,752" in text
    assert "12 B/parameter      2,996,705,624,064" in text
    assert "how and why this differs from the design notes" in text


def test_an_overridden_preset_claims_neither_purpose_nor_differences() -> None:
    text = run("show", "alphaexa-250b", "--set", "moe_period=1").stdout
    assert "changed by --set" in text
    assert "differs from the design notes" not in text


def test_json_and_text_hold_the_same_integers() -> None:
    found = json.loads(run("show", "alphaexa-small", "--seq", "512", "--json").stdout)
    text = run("show", "alphaexa-small", "--seq", "512").stdout
    parts = found["parameters"]["parts"]
    assert found["schema"] == 1
    assert sum(part["total"] for part in parts) == found["parameters"]["total"] == 35_430_912
    integers = [part["total"] for part in parts] + list(found["bytes"].values())
    integers += [found["flops_per_token"]["causal"], found["flops_per_token"]["palm"]]
    for integer in integers:
        assert f"{integer:,}" in text


def test_a_dense_model_shows_no_experts() -> None:
    text = run("show", "alphaexa-ci", "--set", "moe_period=0").stdout
    assert "12, all dense" in text
    assert "of width" not in text


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_list_names_every_preset(options: list[str]) -> None:
    text = run("list", *options).stdout
    for size in ("ci", "small", "1b", "7b", "250b"):
        assert f"alphaexa-{size}" in text


def test_showing_a_model_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys; from exa_cli.commands.model import command; "
        "command(['show', 'alphaexa-250b'], standalone_mode=False); "
        "sys.exit(1 if {'torch', 'numpy', 'rich'} & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
