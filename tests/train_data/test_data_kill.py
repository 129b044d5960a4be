"""Preparing is killed for real, at any instant, and ends with the same bytes."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exa_cli.base import clock
from exa_train.data.manifest import load_manifest
from exa_train.data.prepare import prepare
from exa_train.data.reader import verify
from exa_train.data.request import Request


@pytest.fixture(scope="module", params=["many files", "one file"])
def text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred small documents, or one in a hundred pieces: many parts to be killed between."""
    folder = tmp_path_factory.mktemp("text")
    if request.param == "one file":
        (folder / "book.txt").write_text("\n\n".join(_documents(1200)))
        return folder / "book.txt"
    for number, content in enumerate(_documents(400)):
        (folder / f"{number:03d}.txt").write_text(content)
    return folder


def _documents(count: int) -> list[str]:
    rng = random.Random(5)
    words = ["alpha", "beta", "gamma(x)", "delta = 1", "epsilon:", "zeta", "12", "\n    ", "\n"]
    return [" ".join(rng.choices(words, k=120)) + str(number) for number in range(count)]


@pytest.fixture(scope="module")
def expected(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    prepare(Request((str(text),), out, vocab=320, shard_tokens=20_000))
    return {path.name: path.read_bytes() for path in out.iterdir()}


def _start(text: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "exa_train.data", "prepare", str(text), "--out", str(out)]
    command += ["--vocab", "320", "--shard-tokens", "20000", "--part-bytes", "1500"]
    command += ["--workers", str(workers)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=_hears_ctrl_c
    )


def _hears_ctrl_c() -> None:
    """A shell starts what it puts in the background with SIGINT ignored, these tests perhaps."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_for_parts(process: subprocess.Popen[bytes], out: Path, count: int) -> None:
    while len(list(out.glob(".work/parts/*.part"))) < count:
        with pytest.raises(subprocess.TimeoutExpired):  # it must not end before it has parts
            process.wait(0.002)


def _ends(stream_fd: int, seconds: float) -> bool:
    """Whether everybody who holds the other end of a pipe is gone within the time."""
    deadline = clock.monotonic() + seconds
    while (left := deadline - clock.monotonic()) > 0:
        if select.select([stream_fd], [], [], left)[0] and not os.read(stream_fd, 1 << 16):
            return True
    return False


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_instants_it_ends_with_the_same_bytes(
    text: Path, expected: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    out, rng, kills = tmp_path / "out", random.Random(seed), 1
    first = _start(text, out, workers=1)
    _wait_for_parts(first, out, rng.randrange(1, 30))  # one kill for certain, on any machine
    first.kill()
    first.communicate()
    while True:
        process = _start(text, out, workers=1)
        assert process.stderr is not None
        try:
            # From the import of numpy to the last rename; more time each try, so that it ends.
            process.wait(rng.uniform(0.0, 0.25) + 0.1 * kills)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        finally:
            talk = process.stderr.read().decode()
            process.stderr.close()
        break
    assert process.returncode == 0, talk
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    assert verify(out) == []


def test_a_kill_takes_the_workers_along_and_finished_parts_are_used_again(
    text: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = _start(text, out, workers=2)
    assert process.stderr is not None
    _wait_for_parts(process, out, 20)
    process.kill()
    process.wait()
    assert _ends(process.stderr.fileno(), 60), "a worker outlived the process that started it"
    process.stderr.close()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob(".work/parts/*.part")}
    assert len(kept) >= 20
    assert list(out.glob(".preparing-*")), "the killed process left its claim"

    second = _start(text, out, workers=1)
    _, talk = second.communicate(timeout=120)
    assert second.returncode == 0, talk.decode()
    reused = [line for line in talk.decode().splitlines() if "parts were done before" in line]
    assert reused and int(reused[0].split(";")[1].split()[0]) == len(kept)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected


def test_an_interrupt_says_how_to_go_on(text: Path, tmp_path: Path) -> None:
    process = _start(text, tmp_path / "out", workers=2)
    _wait_for_parts(process, tmp_path / "out", 1)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in talk.decode()
    assert "Traceback" not in talk.decode()
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_of_many_started_at_once_none_spoils_the_result(
    text: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    racing = [_start(text, out, workers=1) for _ in range(3)]
    talks = [process.communicate(timeout=120)[1].decode() for process in racing]
    for process, talk in zip(racing, talks, strict=True):
        assert process.returncode in (0, 5), talk
        assert process.returncode == 0 or "is being prepared by" in talk
    if not any(process.returncode == 0 for process in racing):  # each saw another's claim
        last = _start(text, out, workers=1)
        assert last.communicate(timeout=120) and last.returncode == 0
    assert load_manifest(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected


def test_a_killed_worker_is_reported_and_not_waited_for(text: Path, tmp_path: Path) -> None:
    process = _start(text, tmp_path / "out", workers=2)
    _wait_for_parts(process, tmp_path / "out", 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 8, talk.decode()
    assert "a worker process was killed" in talk.decode()
