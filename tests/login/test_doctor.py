"""exa doctor: a fault is what must be mended, silence is no fault, and nothing is left behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from exa_cli.base.errors import Findings, NotFound
from exa_cli.login import doctor
from exa_cli.login.doctor import Probe
from exa_cli.main import run
from exa_cli.plan.preflight import Place

ALL = {
    "torch": "2.13.0+cpu", "mpi4py": "4.1.2", "numpy": "2.0.0", "h5py": "3.16.0",
    "sentencepiece": "0.2.3", "safetensors": "0.8.0", "tensorboard": "2.21.0",
}  # fmt: skip
HERE = Place(path="/runs", there="/", free_bytes=10**12, free_files=10**6)


@pytest.mark.parametrize(
    ("name", "version", "good"),
    [
        ("torch", None, False),
        ("torch", "2.7.1", False),
        ("torch", "2.8.0", True),
        ("torch", "2.14.0", False),
        ("torch", "2.13.0a0+gitabc", True),
        ("numpy", "1.26.4", True),
        ("numpy", "1.25", False),
        ("mpi4py", "strange", False),
    ],
)
@pytest.mark.parametrize("needed", [True, False])
def test_packages_are_held_to_what_ranks_need(name, version, good, needed):
    (found,) = (c for c in doctor.packages(ALL | {name: version}, needed=needed) if c.name == name)
    assert found.verdict == ("ok" if good else "fault" if needed else "warning")
    assert good or found.hint


@pytest.mark.parametrize(
    ("place", "probe", "verdict"),
    [
        (HERE, None, "ok"),
        (HERE, Probe(None, 4.0), "ok"),
        (HERE, Probe("a file cannot be made there: No space left on device"), "fault"),
        (HERE, Probe(None, -30.0), "warning"),
        (Place(path="/runs", there="/", trouble="/ is a file"), None, "fault"),
        (Place(path="/runs", there="/", writable=False), None, "fault"),
        (Place(path="/runs", there="/", free_bytes=10, free_files=10**6), None, "warning"),
        (Place(path="/runs", there="/", free_bytes=10**12, free_files=5), None, "warning"),
        (Place(path="/runs", there="/", free_bytes=None, free_files=None), None, "ok"),
    ],
)
def test_a_folder_that_cannot_be_written_is_a_fault_and_a_full_one_a_warning(place, probe, verdict):
    (found,) = doctor.folder("runs", place, probe)
    assert found.verdict == verdict


@pytest.mark.parametrize(("files", "verdict"), [(-1, "ok"), (1024, "ok"), (256, "warning")])
def test_low_limits_are_named_with_the_command_that_lifts_them(files, verdict):
    found, _ = doctor.limits(files, -1)
    assert found.verdict == verdict
    assert verdict == "ok" or found.hint == "ulimit -n 1024"


@pytest.mark.parametrize(("name", "verdict"), [("utf-8", "ok"), ("ascii", "warning")])
def test_another_encoding_than_utf8_is_a_warning(name, verdict):
    (found,) = doctor.encoding(name)
    assert found.verdict == verdict


def test_the_probe_leaves_nothing_behind(tmp_path):
    assert doctor.write_probe(tmp_path).trouble is None
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").touch()
    assert "Not a directory" in str(doctor.write_probe(tmp_path / "file").trouble)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("EXA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("EXA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    return tmp_path


def rows(capsys, *words):
    code = run(["doctor", "--json", *words], False)
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, {row["name"]: row for row in checks}


def put(machine, names, body):
    for name in names.split():
        path = machine / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


def test_a_site_whose_commands_are_not_here_cannot_be_used_from_here(machine, capsys):
    code, found = rows(capsys, "--site", "perlmutter")
    assert (code, found["batch system"]["verdict"]) == (Findings.code, "fault")
    assert (found["profile"]["verdict"], found["launcher"]["verdict"]) == ("ok", "warning")


@pytest.mark.parametrize("body", ["exec /bin/sleep 600", "echo refused >&2; exit 255"])
def test_a_batch_system_that_does_not_answer_is_no_fault(machine, capsys, body):
    put(machine, "qsub qstat qselect qdel qsig aprun", body)
    site = machine / "mine.toml"
    site.write_text('inherits = "polaris"\n[scheduler]\ntimeout_s = 1.0\n')
    code, found = rows(capsys, "--site", str(site))
    assert (code, found["batch system"]["verdict"]) == (0, "warning")
    assert "did not answer" in found["batch system"]["says"]


def test_every_fault_of_a_profile_is_listed_and_the_machine_is_looked_at(machine, capsys):
    site = machine / "mine.toml"
    site.write_text('inherits = "slurm"\n')
    code, found = rows(capsys, "--site", str(site))
    assert (code, found["profile"]["verdict"]) == (Findings.code, "fault")
    assert found["interpreter"]["says"].endswith(sys.executable)
    assert run(["doctor", "--site", "nowhere"], False) == NotFound.code


def test_a_file_where_runs_should_be_is_a_fault(machine, capsys):
    Path("runs").touch()
    code, found = rows(capsys)
    assert (code, found["runs"]["verdict"]) == (Findings.code, "fault")


def test_nothing_is_made(machine, capsys):
    rows(capsys)
    assert sorted(path.name for path in machine.iterdir()) == ["bin"]


def test_nothing_heavy_is_imported(machine):
    import subprocess

    code = (
        "import sys; from exa_cli.main import run; run(['doctor'], False)\n"
        "sys.exit(bool({'torch', 'mpi4py', 'rich', 'numpy'} & set(sys.modules)))"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(machine), "PATH": "/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.returncode == 0
