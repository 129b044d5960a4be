"""exa ckpt protect, repair, prune and diff, as they are called."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ckpt_damage import snapshot
from ckpt_maker import Made, flip, make, random_tensor, two_writers

from exa_cli.checkpoint.diff import diff
from exa_cli.job import supervise
from exa_cli.login import observe
from exa_cli.main import run
from exa_cli.runs.rundir import RunDir

SMALL = {"model.a": random_tensor(1, (5, 7)), "optim.b": random_tensor(2, ())}


def exa(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run([str(arg) for arg in args], debug=False)
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any]]:
    code, out, err = exa(capsys, *args, "--json")
    found = json.loads(out)
    assert found["schema"] == 1, err
    return code, found


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A run of one epoch with four checkpoints."""
    folder = tmp_path / "demo-1a2b"
    (folder / "checkpoints" / "epochs").mkdir(parents=True)
    claim = {"schema": 1, "epoch": 1, "attempt": "001", "life": 1, "accepts": []}
    (folder / "checkpoints" / "epochs" / "000001.json").write_text(json.dumps(claim))
    for step in (10, 20, 30, 40):
        make(folder / "checkpoints", SMALL, step=step, generation=f"{step}aaaa")
    return folder


def data(demo: Path, step: int) -> Path:
    return demo / "checkpoints" / f"step-{step:08d}.{step}aaaa" / "data-000000.exa"


def test_protect_damage_verify_repair_verify(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = answer(capsys, "ckpt", "protect", demo)
    assert code == 0
    assert [row["name"][:13] for row in found["protected"]] == [
        f"step-{step:08d}" for step in (40, 30, 20, 10)
    ]
    assert all(row["made"] and row["lasting"] == row["files"] for row in found["protected"])
    whole = snapshot(demo)
    flip(data(demo, 30), 17)
    code, found = answer(capsys, "ckpt", "verify", demo)
    assert code == 9
    assert [one["verdict"] for one in found["checkpoints"]] == [
        "good",
        "repairable",
        "good",
        "good",
    ]
    code, found = answer(capsys, "ckpt", "repair", demo)
    assert code == 0
    (change,) = found["checkpoints"][1]["repaired"]
    assert (change["file"], change["chunk"]) == ("data-000000.exa", 0)
    assert answer(capsys, "ckpt", "verify", demo)[0] == 0
    log = "checkpoints/step-00000030.30aaaa/REPAIR.jsonl"
    assert {n: d for n, d in snapshot(demo).items() if n != log} == whole
    assert exa(capsys, "ckpt", "repair", demo)[0] == 0, "there is nothing to repair"


def test_one_checkpoint_is_named_by_step_latest_or_directory(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wish, step in (("20", 20), ("latest", 40)):
        code, found = answer(capsys, "ckpt", "protect", demo, wish)
        assert (code, [row["name"] for row in found["protected"]]) == (
            0,
            [data(demo, step).parent.name],
        )
    directory = demo / "newest"
    directory.symlink_to(data(demo, 20).parent)
    flip(data(demo, 20), 3)
    code, found = answer(capsys, "ckpt", "verify", directory)
    assert (code, found["checkpoints"][0]["verdict"], found["checkpoints"][0]["counts"]) == (
        9,
        "repairable",
        True,
    )
    assert exa(capsys, "ckpt", "repair", directory)[0] == 0
    assert answer(capsys, "ckpt", "verify", directory)[0] == 0
    assert exa(capsys, "ckpt", "repair", directory, "20")[0] == 2
    assert exa(capsys, "ckpt", "repair", demo, "21")[0] == 6
    assert exa(capsys, "ckpt", "repair", demo, "twenty")[0] == 2


def test_what_is_beyond_repair_exits_7_and_the_rest_is_repaired(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exa(capsys, "ckpt", "protect", demo, "20")
    flip(data(demo, 20), 3)
    flip(data(demo, 30), 3)
    code, found = answer(capsys, "ckpt", "repair", demo)
    assert code == 7
    refused = {row["name"]: row["refused"] for row in found["checkpoints"]}
    assert "has no parity" in refused["step-00000030.30aaaa"]
    assert refused["step-00000020.20aaaa"] is None
    code, _, err = exa(capsys, "ckpt", "verify", demo)
    assert code == 7
    assert "1 of 4 checkpoints damaged: step-00000030.30aaaa" in err


def test_an_incomplete_checkpoint_is_left_alone_unless_it_is_asked_for(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(demo / "checkpoints", SMALL, step=50, generation="50aaaa", commit=False)
    for verb in ("protect", "repair"):
        code, _, err = exa(capsys, "ckpt", verb, demo)
        assert (code, "step-00000050.50aaaa  incomplete, left alone" in err) == (0, True)
        code, _, err = exa(capsys, "ckpt", verb, demo, 50)
        assert (code, "never committed" in err) == (7, True)


def test_an_export_of_a_repairable_checkpoint_says_to_repair_it(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (demo / "plan.json").write_text(json.dumps({"schema": 1, "model": {}}))
    exa(capsys, "ckpt", "protect", demo, "20")
    data(demo, 20).unlink()
    code, _, err = exa(capsys, "ckpt", "export", demo, "20", "-o", tmp_path / "w")
    assert (code, "exa ckpt repair" in err) == (9, True)
    exa(capsys, "ckpt", "repair", demo, "20")
    assert exa(capsys, "ckpt", "export", demo, "20", "-o", tmp_path / "w")[0] == 0


def test_a_run_whose_checkpoints_can_all_be_repaired_never_begins_again_at_step_0(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exa(capsys, "ckpt", "protect", demo)
    for step in (10, 20, 30, 40):
        data(demo, step).unlink()
    run_dir = RunDir(demo)
    assert observe.checkpoint(run_dir) == {"step": 40, "verdict": "repairable"}
    life = SimpleNamespace(run=run_dir, request={})
    claim = SimpleNamespace(accepts=())
    journal = SimpleNamespace(append=lambda *_, **__: None)
    stopped = supervise._without_any(life, claim, journal)
    assert stopped is not None and "exa ckpt repair helps" in stopped.what
    exa(capsys, "ckpt", "repair", demo)
    assert observe.checkpoint(run_dir) == {"step": 40, "verdict": "good"}
    assert supervise._without_any(life, claim, journal) is None


def steps(demo: Path) -> list[int]:
    return sorted(int(p.name[5:13]) for p in (demo / "checkpoints").glob("step-*"))


def test_prune_counts_only_what_it_read_and_found_good(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(data(demo, 40), 17)  # looks good to anything that reads no data
    exa(capsys, "ckpt", "protect", demo, "30")
    flip(data(demo, 30), 17)  # repairable, and still not counted
    code, found = answer(capsys, "ckpt", "prune", demo, "--keep", 3)
    assert (code, found["removed"], len(found["verified"]), steps(demo)) == (
        0,
        [],
        2,
        [10, 20, 30, 40],
    )
    code, out, _ = exa(capsys, "ckpt", "prune", demo, "--keep", 1, "--dry-run")
    assert "step-00000010.10aaaa  would be removed" in out
    assert steps(demo) == [10, 20, 30, 40]
    code, found = answer(capsys, "ckpt", "prune", demo, "--keep", 1)
    assert (code, [row["name"] for row in found["removed"]]) == (0, ["step-00000010.10aaaa"])
    assert steps(demo) == [20, 30, 40]
    exa(capsys, "ckpt", "repair", demo, "30")
    exa(capsys, "ckpt", "prune", demo, "--keep", 1)
    assert steps(demo) == [30, 40]


def test_prune_removes_nothing_of_a_single_directory(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exa(capsys, "ckpt", "prune", data(demo, 10).parent, "--keep", 1)[0] == 2
    assert exa(capsys, "ckpt", "prune", demo, "--keep", 0)[0] == 2


def test_parity_is_made_and_used_without_numpy(demo: Path) -> None:
    path = data(demo, 10)
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None\n"
        "from exa_cli.main import run\n"
        f"assert run(['ckpt', 'protect', {str(demo)!r}, '10'], False) == 0\n"
        f"path = {str(path)!r}; data = open(path, 'rb').read()\n"
        "open(path, 'wb').write(b'x' + data[1:])\n"
        f"assert run(['ckpt', 'repair', {str(demo)!r}, '10'], False) == 0\n"
        "assert open(path, 'rb').read() == data\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def tensor(dtype: str, form: str, *values: float) -> Made:
    packed = struct.pack(f"<{len(values)}{form}", *values)
    shape = (len(values),)
    return Made(dtype, shape, packed, (((0,), shape),))


def test_diff_tells_by_how_much_and_where(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    a = make(
        tmp_path / "a",
        {
            "same": random_tensor(1, (5, 7)),
            "model.w": tensor("F32", "f", 1.0, 2.0, 3.0, float("nan")),
            "model.h": tensor("BF16", "H", 0x3F80, 0x4000),  # 1.0, 2.0
            "optim.i": tensor("I64", "q", 1, 2, 3),
            "only.a": random_tensor(2, ()),
            "shape": random_tensor(3, (4,)),
        },
    )
    b = make(
        tmp_path / "b",
        {
            "same": random_tensor(1, (5, 7)),
            "model.w": tensor("F32", "f", 1.0, 2.5, 3.25, 1.0),
            "model.h": tensor("BF16", "H", 0x3F80, 0x4080),  # 1.0, 4.0
            "optim.i": tensor("I64", "q", 1, 2, 4),
            "only.b": random_tensor(2, ()),
            "shape": random_tensor(3, (2, 2)),
        },
        step=20,
        generation="eeee0000",
    )
    code, found = answer(capsys, "ckpt", "diff", a, b)
    assert code == 9
    rows = {row["name"]: row for row in found["tensors"]}
    assert {n: r["kind"] for n, r in rows.items()} == {
        "same": "same",
        "model.w": "differs",
        "model.h": "differs",
        "optim.i": "differs",
        "only.a": "only in A",
        "only.b": "only in B",
        "shape": "shape",
    }
    w = rows["model.w"]
    assert (w["count"], w["elements"], w["largest"], w["nonfinite"]) == (4, 3, 0.5, 1)
    assert (rows["model.h"]["elements"], rows["model.h"]["largest"]) == (1, 2.0)
    assert (rows["optim.i"]["elements"], rows["optim.i"]["largest"]) == (1, None)
    code, out, _ = exa(capsys, "ckpt", "diff", a, b)
    assert "model.w  3 of 4 elements differ, by 0.5 at most, 1 of them not finite" in out
    assert "same  " not in out


def test_diff_takes_runs_and_steps_and_exits_0_for_equal_tensors(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = exa(capsys, "ckpt", "diff", f"{demo}:10", demo)
    assert (code, out) == (0, "all 2 tensors are the same\n")
    assert exa(capsys, "ckpt", "diff", f"{demo}:11", demo)[0] == 6
    flip(data(demo, 40), 3)
    assert exa(capsys, "ckpt", "diff", f"{demo}:10", demo)[0] == 7


def test_layouts_do_not_matter_to_diff(tmp_path: Path) -> None:
    split = two_writers()
    whole = {
        n: Made(m.dtype, m.shape, m.data, (((0,) * len(m.shape), m.shape),))
        for n, m in split.items()
    }
    a, b = make(tmp_path / "a", split), make(tmp_path / "b", whole)
    assert {one.kind for one in diff(a, b)} == {"same"}


@pytest.mark.parametrize("dtype", ["F8_E5M2", "F8_E4M3"])
def test_eight_bit_floats_have_the_values_torch_gives_them(dtype: str) -> None:
    import numpy
    import torch

    from exa_cli.checkpoint.diff import _table

    kind = {"F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn}[dtype]
    expected = torch.arange(256, dtype=torch.uint8).view(kind).to(torch.float64).numpy()
    found = _table(numpy, dtype)
    finite = numpy.isfinite(expected)
    assert (numpy.isfinite(found) == finite).all()
    assert (found[finite] == expected[finite]).all()
