from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exa_cli.base.errors import NotFound, Usage
from exa_cli.commands.data import command
from exa_train.data.__main__ import main
from exa_train.data.manifest import load_manifest


def _exa(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The verb in a process of its own: the program it starts writes to real streams."""
    code = "from exa_cli.commands.data import command; command()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_show_without_data_is_not_found(tmp_path: Path) -> None:
    assert isinstance(_invoke("show", tmp_path).exception, NotFound)


def test_an_empty_directory_name_is_not_the_working_directory(tmp_path: Path) -> None:
    assert isinstance(_invoke("prepare", tmp_path, "-o", "", "--vocab", 300).exception, Usage)


def test_the_program_s_error_and_exit_code_come_through(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\xff")
    done = _exa("prepare", tmp_path, "-o", tmp_path / "out", "--vocab", 300)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{tmp_path}/a.txt, byte 1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["h5py", "sentencepiece", "numpy"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, missing: str
) -> None:
    """As on a login node where only exa itself is installed."""
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError('no {missing}')")
    (tmp_path / "a.txt").write_text("text")
    code = "from exa_cli.commands.data import command; command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "prepare", tmp_path / "a.txt", "-o", tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert f"needs the package {missing}" in done.stderr
    assert "pip install 'exa-hpc[train]'" in done.stderr


def test_usage_errors_exit_2(tmp_path: Path) -> None:
    assert _invoke("prepare").exit_code == 2
    assert _invoke("prepare", "a.txt").exit_code == 2
    with pytest.raises(SystemExit) as caught:
        main(["prepare", "a.txt", "--out", str(tmp_path), "--vocab", "many"])
    assert caught.value.code == 2


def test_prepare_prints_data_on_stdout_and_talk_on_stderr(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    options = ["-o", out, "--vocab", 350, "--held-out", 0.3, "--shard-tokens", 900, "--seed", 4]
    first = _exa("prepare", corpus, *options, "--workers", 1, "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    manifest = load_manifest(out)
    assert summary["schema"] == 1
    assert summary["data_id"] == manifest.data_id
    assert summary["tokens"]["train"] == manifest.splits["train"].tokens
    assert (manifest.options["seed"], manifest.options["held_out"]) == (4, 0.3)
    assert manifest.options["shard_tokens"] == 900
    assert f"prepared {out}" in first.stderr and "tokens/s" in first.stderr
    again = _exa("prepare", corpus, *options)
    assert (again.returncode, again.stdout) == (0, "")
    assert "already prepared" in again.stderr


def test_show_tells_what_the_manifest_holds(prepared: Path) -> None:
    shown = _invoke("show", prepared)
    manifest = load_manifest(prepared)
    assert shown.exit_code == 0
    assert manifest.data_id in shown.stdout
    assert f"{manifest.splits['train'].tokens:,} tokens" in shown.stdout
    as_json = json.loads(_invoke("show", prepared, "--json").stdout)
    assert as_json == json.loads(json.dumps(manifest.to_dict()))


def test_verify_names_damage_and_exits_7(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    assert _exa("prepare", corpus, "-o", out, "--vocab", 350, "--workers", 1).returncode == 0
    assert _exa("verify", out).returncode == 0
    (out / "heldout-00000.h5").write_bytes(b"")
    damaged = _exa("verify", out, "--json")
    assert damaged.returncode == 7
    assert [row["file"] for row in json.loads(damaged.stdout)["damaged"]] == ["heldout-00000.h5"]
    assert "heldout-00000.h5: has 0 bytes instead of" in damaged.stderr


def test_baselines_are_printed(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baselines", str(prepared), "--seq-len", "32", "--json"]) == 0
    nats = json.loads(capsys.readouterr().out)["nats_per_token"]
    assert main(["baselines", str(prepared), "--seq-len", "32"]) == 0
    assert f"bigram   {nats['bigram']:.4f} nats/token" in capsys.readouterr().out


def test_a_bug_leaves_a_trace_in_a_file_and_not_on_the_screen(
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("exa_train.data.reader.verify", lambda directory: 1 / 0)
    assert main(["verify", str(prepared)]) == 1
    talk = capsys.readouterr().err
    assert "this is a bug in exa" in talk and "Traceback" not in talk
    (trace,) = (tmp_path / "exa" / "traces").iterdir()
    assert "ZeroDivisionError" in trace.read_text()


def test_the_verb_loads_neither_numpy_nor_the_trainer() -> None:
    code = "import sys, exa_cli.commands.data; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert not {"numpy", "h5py", "exa_train", "torch"} & set(loaded.split())


def test_the_program_loads_no_torch(prepared: Path) -> None:
    names = ["prepare", "reader", "order", "baselines", "__main__"]
    modules = ", ".join(f"exa_train.data.{name}" for name in names)
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
