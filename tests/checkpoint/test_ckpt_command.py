from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ckpt_maker import flip, make, random_tensor, two_writers

from exa_cli.main import run

SMALL = {"model.a": random_tensor(1, (5, 7)), "optim.b": random_tensor(2, ())}


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A run with two epochs; the second accepts what the first had committed by then."""
    folder = tmp_path / "demo-1a2b"
    (folder / "checkpoints" / "epochs").mkdir(parents=True)
    _claim(folder, 1, [])
    _claim(folder, 2, ["step-00000010.aaaa0000"])
    make(folder / "checkpoints", SMALL, step=10, generation="aaaa0000", epoch=1)
    make(folder / "checkpoints", SMALL, step=20, generation="bbbb0000", epoch=2)
    (folder / "plan.json").write_text(json.dumps({"schema": 1, "model": {"layers": 2}}))
    return folder


def _claim(folder: Path, epoch: int, accepts: list[str]) -> None:
    record = {"schema": 1, "epoch": epoch, "attempt": "001", "life": epoch, "accepts": accepts}
    path = folder / "checkpoints" / "epochs" / f"{epoch:06d}.json"
    path.write_text(json.dumps(record))


def exa(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run([str(arg) for arg in args], debug=False)
    out, err = capsys.readouterr()
    return code, out, err


def verdicts(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[Any]]:
    code, out, _ = exa(capsys, "ckpt", "verify", *args, "--json")
    answer = json.loads(out)
    assert answer["schema"] == 1
    return code, answer["checkpoints"]


def test_damage_exits_7_and_names_file_and_chunk(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(demo / "checkpoints" / "step-00000020.bbbb0000" / "data-000000.exa", 17)
    code, found = verdicts(capsys, demo)
    assert code == 7
    assert found[0]["verdict"] == "damaged"
    assert found[0]["damaged"] == [
        {
            "file": "data-000000.exa",
            "reason": "chunk 0 (bytes 0-195) is not what was written; it holds model.a, optim.b",
        }
    ]
    assert (found[1]["step"], found[1]["verdict"], found[1]["damaged"]) == (10, "good", [])
    code, out, err = exa(capsys, "ckpt", "verify", demo)
    assert code == 7
    assert "data-000000.exa: chunk 0" in out
    assert "1 of 2 checkpoints damaged: step-00000020.bbbb0000" in err


def test_an_incomplete_one_exits_9_unless_something_is_damaged(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(demo / "checkpoints", SMALL, step=30, generation="cccc0000", epoch=2, commit=False)
    code, found = verdicts(capsys, demo)
    assert (code, found[0]["verdict"]) == (9, "incomplete")
    assert found[0]["damaged"][0]["file"] == "MANIFEST.json"
    flip(demo / "checkpoints" / "step-00000010.aaaa0000" / "MANIFEST.json", 17)
    assert verdicts(capsys, demo)[0] == 7


def test_all_good_exits_0(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = verdicts(capsys, demo)
    assert code == 0
    assert found == [
        {
            "step": step,
            "verdict": "good",
            "damaged": [],
            "name": name,
            "counts": True,
            "protected": False,
        }
        for step, name in ((20, "step-00000020.bbbb0000"), (10, "step-00000010.aaaa0000"))
    ]


def test_a_superseded_copys_checkpoint_is_shown_as_not_counting(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(demo / "checkpoints", SMALL, step=40, generation="dddd0000", epoch=1)
    code, found = verdicts(capsys, demo, "--step", 40)
    assert (code, found[0]["verdict"], found[0]["counts"]) == (0, "good", False)
    assert "does not count: epoch 1 was superseded" in exa(capsys, "ckpt", "verify", demo)[1]


def test_one_step_is_verified_alone(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(demo / "checkpoints" / "step-00000020.bbbb0000" / "data-000000.exa", 17)
    code, found = verdicts(capsys, demo, "--step", 10)
    assert (code, [one["step"] for one in found]) == (0, [10])
    code, _, err = exa(capsys, "ckpt", "verify", demo, "--step", 11)
    assert code == 6
    assert "no checkpoint of step 11" in err


def test_an_unknown_run_exits_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exa(capsys, "ckpt", "ls", tmp_path / "nothing")[0] == 6


def test_a_run_without_checkpoints_is_said_to_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    code, out, err = exa(capsys, "ckpt", "verify", tmp_path, "--json")
    assert (code, json.loads(out)) == (0, {"schema": 1, "checkpoints": []})
    assert "no checkpoints" in err


def test_ls_shows_what_is_there(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(demo / "checkpoints", SMALL, step=30, generation="cccc0000", epoch=2, commit=False)
    code, out, _ = exa(capsys, "ckpt", "ls", demo, "--json")
    assert code == 0
    rows = json.loads(out)["checkpoints"]
    assert [(row["step"], row["structure"], row["epoch"]) for row in rows] == [
        (30, "incomplete", None),
        (20, "good", 2),
        (10, "good", 1),
    ]
    assert rows[1] | {"bytes": 0} == {
        "step": 20,
        "name": "step-00000020.bbbb0000",
        "structure": "good",
        "counts": True,
        "epoch": 2,
        "written": "2026-01-02T03:04:05.678Z",
        "bytes": 0,
        "files": 1,
        "tensors": 2,
        "world": 1,
        "damaged": [],
    }
    lines = exa(capsys, "ckpt", "ls", demo)[1].splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:3] == ["30", "incomplete", "no"]


def test_latest_passes_over_what_cannot_be_used(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make(demo / "checkpoints", SMALL, step=30, generation="cccc0000", epoch=2, commit=False)
    make(demo / "checkpoints", SMALL, step=40, generation="dddd0000", epoch=1)
    out_dir = tmp_path / "weights"
    code, out, err = exa(capsys, "ckpt", "export", demo, "latest", "-o", out_dir)
    assert (code, out.split()) == (0, [str(out_dir / "model.safetensors")])
    assert "exported step-00000020.bbbb0000: 1 tensors" in err
    assert json.loads((out_dir / "config.json").read_text()) == {"layers": 2}


@pytest.mark.parametrize(("step", "code"), [("30", 6), ("31", 6), ("40", 6), ("20", 7)])
def test_an_export_of_what_cannot_be_used_says_why_and_writes_nothing(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, step: str, code: int
) -> None:
    make(demo / "checkpoints", SMALL, step=30, generation="cccc0000", epoch=2, commit=False)
    make(demo / "checkpoints", SMALL, step=40, generation="dddd0000", epoch=1)
    (demo / "checkpoints" / "step-00000020.bbbb0000" / "data-000000.exa").unlink()
    found, _, err = exa(capsys, "ckpt", "export", demo, step, "-o", tmp_path / "weights")
    assert found == code, err
    assert not (tmp_path / "weights").exists()


def test_latest_whose_data_is_damaged_gives_way_to_the_next_with_a_warning(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flip(demo / "checkpoints" / "step-00000020.bbbb0000" / "data-000000.exa", 17)
    code, _, err = exa(capsys, "ckpt", "export", demo, "latest", "-o", tmp_path / "weights")
    assert code == 0
    assert "step-00000020.bbbb0000: data-000000.exa: chunk 0" in err
    assert "exported step-00000010.aaaa0000" in err


def test_damage_found_while_exporting_exits_7(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flip(demo / "checkpoints" / "step-00000020.bbbb0000" / "data-000000.exa", 17)
    code, _, err = exa(capsys, "ckpt", "export", demo, "20", "-o", tmp_path / "weights")
    assert code == 7
    assert "chunk 0" in err


def test_a_run_without_a_plan_cannot_be_exported_and_says_so(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (demo / "plan.json").unlink()
    code, _, err = exa(capsys, "ckpt", "export", demo, "20", "-o", tmp_path / "weights")
    assert code == 3
    assert "plan.json" in err


def test_all_verbs_work_without_torch(demo: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None\n"
        "from exa_cli.main import run\n"
        f"sys.exit(run(['ckpt', 'verify', {str(demo)!r}], False)"
        f" or run(['ckpt', 'export', {str(demo)!r}, '20', '-o', {str(demo / 'w')!r}], False))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_two_writers_are_verified_like_one(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(demo / "checkpoints", two_writers(), step=50, generation="eeee0000", epoch=2)
    assert verdicts(capsys, demo, "--step", 50)[0] == 0
