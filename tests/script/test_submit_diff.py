"""``--diff`` shows what changed in a script since a run's last attempt, and creates nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.login import draft as drafts
from exa_cli.login.draft import Options
from exa_cli.main import run
from exa_cli.runs.rundir import RunDir

SPEC = '[resources]\nwalltime = "01:00:00"\n'


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run file, and a run ``demo-3f9a`` that was submitted from it once."""
    monkeypatch.setenv("EXA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "run.toml"
    path.write_text(SPEC)
    demo = RunDir(tmp_path / "runs" / "demo-3f9a")
    for attempt in ("001", "002"):
        demo.attempt(attempt).mkdir(parents=True)
    script = drafts.scripted(drafts.draft(path, Options("local")), demo, "002")[2]
    (demo.attempt("001") / "script.sh").write_text("an older one\n")
    (demo.attempt("002") / "script.sh").write_text(script.text)
    (demo.path / "plan.json").write_text("{}")
    (demo.path / "journal").mkdir()
    return path


def test_a_run_that_is_not_there_is_not_found(spec: Path) -> None:
    assert run(["submit", str(spec), "--site", "local", "--diff", "nobody"], False) == 6


def test_what_did_not_change_prints_nothing(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(spec.parent.rglob("*"))
    assert run(["submit", str(spec), "--site", "local", "--diff", "demo"], False) == 0
    assert capsys.readouterr().out == ""
    assert sorted(spec.parent.rglob("*")) == before


def test_the_last_attempt_is_compared_line_by_line(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC.replace("01", "02") + '[script]\nprologue = "umask 007"\n')
    assert run(["submit", str(spec), "--site", "local", "--diff", "demo"], False) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["--- demo-3f9a, attempt 002", f"+++ {spec} now"]
    changed = [line for line in out[2:] if line[0] in "+-"]
    assert changed == ["-#EXA walltime=01:00:00", "+#EXA walltime=02:00:00", "+umask 007"]
