"""Processes are known again, and never mistaken for others."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exa_cli.base import proc
from exa_cli.base.proc import Process

TAG = "exa-proc-test-001"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Children to be ended with the test."""
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()


def sleeper(started: list[subprocess.Popen[bytes]], **env: str) -> Process:
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, **env})
    started.append(child)
    found = proc.identify(child.pid)
    assert found is not None
    # The environment is the sleeper's own once the program runs.
    while b"sleep" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
        time.sleep(0.001)
    return found


def wait_end(pid: int) -> None:
    """Wait for the end of any process of ours, by its pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], 60)[0], f"process {pid} did not end"
    os.close(fd)


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(proc.TimedOut, match=r"sh did not answer within 0\.5 s"):
        proc.run(["sh", "-c", script], timeout=0.5)
    wait_end(int((tmp_path / "pid").read_text()))


def test_a_helper_that_keeps_the_output_open_does_not_delay_the_answer(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; echo answer"
    finished = proc.run(["sh", "-c", script], timeout=60)
    helper = int((tmp_path / "pid").read_text())
    try:
        assert finished.out == "answer\n"
        found = proc.identify(helper)
        assert found is not None
        assert proc.alive(found), "run() waited for the helper, or killed it"
    finally:
        os.kill(helper, signal.SIGKILL)


def test_a_program_that_is_not_there_did_nothing_and_says_so() -> None:
    with pytest.raises(proc.NotStarted, match="cannot start no-such-qsub"):
        proc.run(["no-such-qsub"], timeout=5)


def test_exit_signal_input_and_bad_utf8_are_reported_as_they_are() -> None:
    assert proc.run(["sh", "-c", "exit 7"], timeout=60).code == 7
    assert proc.run(["sh", "-c", "kill -9 $$"], timeout=60).code == -signal.SIGKILL
    assert proc.run(["cat"], timeout=60, stdin="grüße").out == "grüße"
    assert proc.run(["printf", r"\377"], timeout=60).out == "\N{REPLACEMENT CHARACTER}"


def test_waiting_works_on_kernels_without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    assert proc.run(["sh", "-c", "exit 3"], timeout=60).code == 3
    with pytest.raises(proc.TimedOut):
        proc.run(["sleep", "600"], timeout=0.2)


def test_another_process_with_the_same_pid_is_never_signalled(
    started: list[subprocess.Popen[bytes]],
) -> None:
    now = sleeper(started)
    earlier = replace(now, start=now.start - 1)
    assert not proc.alive(earlier)
    assert not proc.send(earlier, signal.SIGKILL)
    assert proc.alive(now)
    assert proc.send(now, signal.SIGKILL)
    wait_end(now.pid)


def test_nothing_of_an_earlier_boot_is_alive(started: list[subprocess.Popen[bytes]]) -> None:
    now = sleeper(started)
    assert not proc.alive(replace(now, boot="another-boot"))


def test_a_zombie_is_not_alive_but_still_known(started: list[subprocess.Popen[bytes]]) -> None:
    child = sleeper(started, EXA_TAG=TAG)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert proc.identify(child.pid) == child
    assert not proc.alive(child)
    assert proc.tagged(TAG) == []


def test_signals_reach_the_process_on_kernels_without_pidfd(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = sleeper(started)
    real = os.pidfd_open

    def missing(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    assert not proc.send(replace(child, start=child.start + 1), signal.SIGKILL)
    assert proc.send(child, signal.SIGKILL)
    monkeypatch.setattr(os, "pidfd_open", real)
    wait_end(child.pid)
    started[-1].wait()
    assert not proc.send(child, signal.SIGKILL)


def test_a_process_may_have_any_name(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    odd = tmp_path / "x) R 1 ("
    shutil.copy(shutil.which("sleep") or "/bin/sleep", odd)
    child = subprocess.Popen([str(odd), "600"])
    started.append(child)
    found = proc.stat(child.pid)
    assert found is not None
    assert found.parent == os.getpid()
    assert found.session == os.getsid(child.pid)


def test_only_the_whole_tag_counts_and_never_the_caller(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = sleeper(started, EXA_TAG=TAG)
    sleeper(started, EXA_TAG=TAG + "0")
    sleeper(started, EXA_TAG=TAG[:-1])
    other = sleeper(started, NOT_EXA_TAG=TAG)
    sleeper(started)
    assert proc.tagged(TAG) == [wanted]
    assert proc.marked(lambda env: env.get("NOT_EXA_TAG") == TAG) == [other]
    code = "import sys; from exa_cli.base import proc; print(len(proc.tagged(sys.argv[1])))"
    finished = proc.run(
        [sys.executable, "-c", code, TAG],
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "EXA_TAG": TAG},
    )
    assert finished.out == "1\n", finished.err


def test_a_record_of_a_process_reads_back() -> None:
    me = proc.myself()
    assert me.pid == os.getpid()
    assert Process.from_dict(me.to_dict()) == me
    assert proc.alive(me)


def test_a_session_holds_its_members_and_no_others(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    os.mkfifo(tmp_path / "ready")
    script = f"sleep 600 & echo $! > {tmp_path}/ready; wait"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    started.append(leader)
    inside = int((tmp_path / "ready").read_text())
    outside = sleeper(started)
    members = {process.pid for process in proc.session_members(leader.pid)}
    os.kill(inside, signal.SIGKILL)
    assert members == {leader.pid, inside}
    assert outside.pid not in members


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "child")
    code = """
import subprocess, sys
from exa_cli.base import proc
child = subprocess.Popen(["sleep", "600"], preexec_fn=proc.die_with_parent())
open(sys.argv[1], "w").write(str(child.pid))
child.wait()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "child")], cwd=Path(__file__).parents[2]
    )
    child = int((tmp_path / "child").read_text())
    parent.kill()
    parent.wait()
    wait_end(child)


def test_a_child_whose_parent_died_before_it_asked_ends_itself() -> None:
    code = """
import os
from exa_cli.base import proc
hook = proc.die_with_parent()
middle = os.fork()
if middle == 0:
    inner = os.fork()
    if inner == 0:
        hook()  # its parent is not the process that made the hook
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) % 256)
print(os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]) - 256)
"""
    finished = proc.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[2])
    assert finished.out == f"{-signal.SIGKILL}\n", finished.err


def test_orphans_are_adopted_and_reaped() -> None:
    code = """
import os, subprocess
from exa_cli.base import proc
proc.adopt_orphans()
out = subprocess.run(["sh", "-c", "sleep 600 >/dev/null & echo $!"], stdout=subprocess.PIPE)
orphan = int(out.stdout)
assert proc.children() == [orphan], proc.children()
os.kill(orphan, 9)
os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
proc.reap(orphan)
proc.reap(orphan)
print(proc.children())
"""
    finished = proc.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[2])
    assert finished.out == "[]\n", finished.err
