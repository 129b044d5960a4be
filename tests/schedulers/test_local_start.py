"""A script runs only once its process is on record, and never half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scheduler_kit import wait_end

from exa_cli.base import proc
from exa_cli.schedulers.local.start import Program, at_gate

ROOT = Path(__file__).parents[2]


def program(folder: Path, body: str, **more: str) -> Program:
    script = folder / "script"
    script.write_text(body)
    script.chmod(0o700)
    return Program(script, str(folder), {"PATH": os.environ["PATH"], **more}, folder / "output")


def test_a_shut_gate_runs_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    gate = at_gate(program(tmp_path, "#!/bin/sh\ntouch ran\n"))
    assert proc.identify(gate.pid) is not None
    gate.shut()
    assert proc.stat(gate.pid) is None
    assert not (tmp_path / "ran").exists()


def test_a_runner_killed_before_it_opens_the_gate_has_run_nothing(tmp_path: Path) -> None:
    made = program(tmp_path, "#!/bin/sh\ntouch ran\n")
    code = f"""
import signal
from pathlib import Path
from exa_cli.schedulers.local.start import Program, at_gate
script, output = Path({str(made.script)!r}), Path({str(made.output)!r})
print(at_gate(Program(script, {made.workdir!r}, {{}}, output)).pid, flush=True)
signal.pause()
"""
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        waiting = int(runner.stdout.readline())
        runner.kill()
        runner.wait()
        wait_end(waiting)
    assert not (tmp_path / "ran").exists()


def test_an_open_gate_is_the_same_process_from_the_record_to_the_script(tmp_path: Path) -> None:
    gate = at_gate(program(tmp_path, "#!/bin/sh\necho $$\n"))
    noted = proc.identify(gate.pid)
    gate.open()
    os.waitid(os.P_PID, gate.pid, os.WEXITED | os.WNOWAIT)
    assert proc.identify(gate.pid) == noted
    assert os.waitpid(gate.pid, 0)[1] == 0
    assert (tmp_path / "output").read_text() == f"{gate.pid}\n"


@pytest.mark.parametrize(
    ("body", "workdir", "env", "words"),
    [
        ("#!/no/such/shell\n", "", {}, "No such file"),
        ("no interpreter line\n", "", {}, "Exec format error"),
        ("#!/bin/sh\n", "gone", {}, "gone"),
        ("#!/bin/sh\n", "", {"A": "x\0y"}, "the environment"),
        ("#!/bin/sh\n", "", {"A=B": "x"}, "the environment"),
    ],
)
def test_a_program_that_cannot_be_started_says_why_and_leaves_no_zombie(
    tmp_path: Path, body: str, workdir: str, env: dict[str, str], words: str
) -> None:
    made = program(tmp_path, body, **env)
    gate = at_gate(Program(made.script, str(tmp_path / workdir), made.environment, made.output))
    with pytest.raises(OSError, match=words):
        gate.open()
    assert proc.stat(gate.pid) is None


LIBC_SIGNALS = 0b11 << 31


def test_no_signal_is_blocked_or_ignored_in_a_script(tmp_path: Path) -> None:
    """As after ``nohup``, and as a runner blocks them: either would reach the script."""
    code = """
import os, signal, sys
from pathlib import Path
from exa_cli.schedulers.local.start import Program, at_gate
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD])
script = Path(sys.argv[1])
gate = at_gate(Program(script, str(script.parent), {}, script.parent / "output"))
gate.open()
os.waitpid(gate.pid, 0)
"""
    made = program(tmp_path, "#!/bin/bash\nexec /bin/cat /proc/self/status\n")
    subprocess.run([sys.executable, "-c", code, str(made.script)], cwd=ROOT, check=True)
    status = dict(line.split(":\t", 1) for line in made.output.read_text().splitlines())
    # Signals 32 and 33 are the C library's own: no program of Python or bash can change them.
    assert int(status["SigBlk"], 16) & ~LIBC_SIGNALS == 0
    assert int(status["SigIgn"], 16) & ~LIBC_SIGNALS == 0


def test_a_waiting_child_ignores_no_kill(tmp_path: Path) -> None:
    gate = at_gate(program(tmp_path, "#!/bin/sh\n"))
    os.kill(gate.pid, signal.SIGKILL)
    os.waitid(os.P_PID, gate.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BrokenPipeError):
        gate.open()
    os.waitpid(gate.pid, 0)
