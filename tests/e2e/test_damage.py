"""Damaged checkpoints: an older good one is taken and said so; with none, nothing restarts at 0."""

import json
import signal

import pytest
from kit import processes

from exa_cli.base import proc

pytestmark = pytest.mark.slow


def journal(run, pattern, kind):
    lines = [line for path in (run / "journal").glob(pattern) for line in path.open()]
    return [e for e in map(json.loads, lines) if e["event"] == kind]


def cut_off(exa, parity):
    """A run whose supervisor was killed after two checkpoints; these, oldest first."""
    settings = {"train.steps": 4000, "checkpoint.every": 4, "checkpoint.parity": parity}
    exa.submit("cut", settings=settings)
    run = exa.run_dir("cut")
    saved = "exa-parity/INDEX.json" if parity == "always" else "MANIFEST.json"

    def whole():
        return sorted(p for p in run.glob("checkpoints/step-*") if (p / saved).exists())

    exa.wait_until(lambda: len(whole()) >= 2)
    for process in processes(run, "exa_cli job"):
        proc.send(process, signal.SIGKILL)
    exa.settle("cut")
    return run, whole()


@pytest.fixture
def broken_off(exa):
    """One whose checkpoints have no parity."""
    return cut_off(exa, "never")


def flip_a_bit(folder):
    victim = sorted(folder.glob("data-*.exa"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 0x10
    victim.write_bytes(content)


def loaded(exa, run, attempt):
    return exa.wait_until(lambda: journal(run, f"rank-{attempt}-*", "loaded"))[0]


def test_a_flipped_bit_is_named_and_the_older_checkpoint_is_taken(exa, broken_off):
    run, folders = broken_off
    flip_a_bit(folders[-1])
    verdicts = exa.json("ckpt", "verify", "cut", expect=7)["checkpoints"]
    committed = [v for v in verdicts if v["verdict"] != "incomplete"]
    assert [v["verdict"] for v in committed][:2] == ["damaged", "good"]
    assert committed[0]["damaged"][0]["file"].startswith("data-")
    exa("resume", "cut")
    assert loaded(exa, run, "002")["name"] == folders[-2].name
    skipped = journal(run, "rank-002-*", "skipped")
    assert skipped[0]["name"] == folders[-1].name and skipped[0]["reason"]


def test_when_every_chunk_set_is_damaged_the_run_stops_and_only_force_begins_again(exa, broken_off):
    run, folders = broken_off
    for folder in folders:
        flip_a_bit(folder)
    exa("resume", "cut", "--wait", expect=8)
    status = exa.json("status", "cut")
    assert (status["state"], status["cause"]) == ("failed", "stopped")
    exa("resume", "cut", "--force")
    assert loaded(exa, run, "003")["step"] == 0


def test_when_every_manifest_is_damaged_resume_refuses_and_submits_nothing(exa, broken_off):
    run, folders = broken_off
    for folder in folders:
        (folder / "MANIFEST.json").write_text("{}")
    assert "--force" in exa("resume", "cut", expect=7).stderr
    assert not (run / "attempts/002").exists()


def test_with_parity_a_flipped_bit_is_repaired_before_the_run_goes_on(exa):
    run, folders = cut_off(exa, "always")
    newest = folders[-1]
    before = {p.name: p.read_bytes() for p in newest.glob("data-*.exa")}
    flip_a_bit(newest)
    (found,) = [
        v for v in exa.json("ckpt", "verify", "cut", expect=9)["checkpoints"]
        if v["verdict"] == "repairable"
    ]  # fmt: skip
    assert found["damaged"][0]["file"].startswith("data-")
    exa("resume", "cut")
    assert loaded(exa, run, "002")["name"] == newest.name
    assert {p.name: p.read_bytes() for p in newest.glob("data-*.exa")} == before
    (told,) = journal(run, "job-002-*", "repaired")
    assert told["name"] == newest.name
