"""Start a job's script so that it runs only once its process is on record.

The child waits at a gate until the runner has written down which process it is. A runner
killed before that leaves a child that ends without having run anything: so a script that no
record names has never run.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_DEFAULTED = (
    signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT,
    signal.SIGTERM, signal.SIGUSR1, signal.SIGXFSZ,
)  # fmt: skip
"""What Python or a runner blocks or ignores; a program inherits that and may hang of it."""

_NOT_STARTED = 127
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@dataclass(frozen=True)
class Program:
    """What is started: an executable script, where, with what, and where it prints."""

    script: Path
    workdir: str
    environment: dict[str, str]
    output: Path


@dataclass
class Gate:
    """A child that waits to become a program."""

    pid: int
    _go: int
    _fault: int

    def open(self) -> None:
        """Let it run. Raises OSError when it could not become the program; it has ended then."""
        os.write(self._go, b"+")
        self._finish()

    def shut(self) -> None:
        """Let it end without having run."""
        os.close(self._go)
        self._go = -1
        self._finish(quietly=True)

    def _finish(self, quietly: bool = False) -> None:
        """Wait until the program runs or the child has said why not: the pipe ends either way."""
        if self._go >= 0:
            os.close(self._go)
        with os.fdopen(self._fault) as fault:
            said = fault.read()
        if said or quietly:
            os.waitpid(self.pid, 0)
        if said and not quietly:
            code, _, where = said.partition(" ")
            raise OSError(int(code), os.strerror(int(code)), where)


def at_gate(program: Program) -> Gate:
    """Fork a child in a session of its own that waits at its gate."""
    gate, go = os.pipe()
    heard, fault = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.close(heard)
        _become(program, gate, fault)
    os.close(gate)
    os.close(fault)
    return Gate(pid, go, heard)


def _become(program: Program, gate: int, fault: int) -> None:
    """In the child: wait, then be the program. Never returns."""
    try:
        os.setsid()
        if os.read(gate, 1):
            _redirect(((0, os.devnull, os.O_RDONLY), (1, str(program.output), _APPEND)))
            os.dup2(1, 2)
            os.chdir(program.workdir)
            for signum in _DEFAULTED:
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execve(program.script, [str(program.script)], program.environment)
    except OSError as error:
        os.write(fault, f"{error.errno} {error.filename or program.script}".encode())
    except ValueError:
        # A NUL byte in the environment, or "=" in a name.
        os.write(fault, f"{errno.EINVAL} the environment".encode())
    finally:
        os._exit(_NOT_STARTED)


def _redirect(files: Sequence[tuple[int, str, int]]) -> None:
    for target, path, flags in files:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        os.dup2(fd, target)
        os.close(fd)
