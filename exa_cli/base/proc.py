"""Processes: run a command with a time limit; know a process again; find those with a tag.

A pid alone names nobody: pids are used again. Here a process is its pid, its start time and
the boot it belongs to, and signals go through a pidfd, so they never hit a successor.
Linux only: the facts come from ``/proc``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from exa_cli.base import clock, marks
from exa_cli.base.errors import Unreachable

PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Finished:
    """A command that ended. ``code`` is negative for a signal, as in `subprocess`."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float


class TimedOut(Unreachable):
    """A command gave no answer in its time and was killed: what it did is unknown."""


class NotStarted(Unreachable):
    """A command could not be started at all: it did nothing."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> Finished:
    """Run a command to its end, at most ``timeout`` seconds.

    Output goes through files, not pipes: the end of the command is the end of its process,
    even when a helper it left behind (qsub's does, for a minute) keeps the output open. It
    runs in a session of its own, so that a time-out ends its children too and Ctrl-C at the
    terminal does not reach it.

    Raises:
        TimedOut: no answer in time. NotStarted: no such program, or no permission.
    """
    begin = clock.monotonic()
    with contextlib.ExitStack() as stack:
        out, err, source = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        source.write(stdin.encode())
        source.seek(0)
        child = _start(argv, cwd=cwd, env=env, stdin=source, stdout=out, stderr=err)
        try:
            if not _ends_within(child, timeout):
                raise TimedOut(
                    f"{argv[0]} did not answer within {timeout:g} s", where=" ".join(argv)
                )
        finally:
            _end_session(child)
        seconds = clock.monotonic() - begin
        return Finished(tuple(argv), child.returncode, _text(out), _text(err), seconds)


def _start(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(list(argv), start_new_session=True, **options)
    except OSError as error:
        raise NotStarted(
            f"cannot start {argv[0]}: {error.strerror}",
            where=str(error.filename or argv[0]),
            hint="is it on the PATH of this machine?",
        ) from error


def _ends_within(child: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait for the end, at the instant it comes: ``Popen.wait`` looks every 50 ms only."""
    try:
        fd = os.pidfd_open(child.pid)
    except OSError:
        return _ends_within_by_polling(child, timeout)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(timeout * 1000)
    finally:
        os.close(fd)
    return child.poll() is not None


def _ends_within_by_polling(child: subprocess.Popen[bytes], timeout: float) -> bool:
    """For kernels before 5.3, which have no pidfd."""
    try:
        child.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """Kill a command that is still there. What it left behind on purpose is left alone."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")


@dataclass(frozen=True)
class Process:
    """Which process: ``start`` in clock ticks since boot (proc_pid_stat(5), field 22)."""

    pid: int
    start: int
    boot: str

    def to_dict(self) -> dict[str, Any]:
        return {"pid": self.pid, "start": self.start, "boot": self.boot}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Process:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError."""
        return cls(int(raw["pid"]), int(raw["start"]), str(raw["boot"]))


@dataclass(frozen=True)
class Stat:
    """What of proc_pid_stat(5) is used here."""

    state: str
    parent: int
    session: int
    start: int


@cache
def boot_id() -> str:
    """The kernel's name for this boot; another one means that nothing from before runs."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def stat(pid: int) -> Stat | None:
    """A process's state, or None when there is no such process."""
    try:
        raw = (PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself hold some: the last one closes it.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))


def waiting(pid: int) -> str:
    """What the kernel says a process does now: its state, and where in the kernel it waits, as
    far as we may read that (proc_pid_status(5), proc_pid_wchan(5), proc_pid_syscall(5))."""
    told = []
    for name in ("wchan", "syscall", "status"):
        try:
            told.append(f"{name}: {(PROC / str(pid) / name).read_text().strip()}")
        except OSError as error:
            told.append(f"{name}: {error.strerror}")
    return "\n".join(told) + "\n"


def identify(pid: int) -> Process | None:
    """Which process has this pid now, or None. A zombie is still that process."""
    found = stat(pid)
    return Process(pid, found.start, boot_id()) if found else None


def myself() -> Process:
    found = identify(os.getpid())
    if found is None:
        raise Unreachable("/proc does not show this process", where=str(PROC))
    return found


def alive(process: Process) -> bool:
    """Whether it still runs. A zombie does not: it can do nothing any more."""
    found = stat(process.pid)
    return (
        found is not None
        and found.state not in ("Z", "X")
        and found.start == process.start
        and process.boot == boot_id()
    )


def send(process: Process, signum: int) -> bool:
    """Signal exactly this process; False when it is gone.

    Raises PermissionError for another user's. The pidfd holds the pid between the look and
    the signal, so a process that got the number in between is never hit.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return _send_by_pid(process, signum)
    try:
        if not alive(process):
            return False
        signal.pidfd_send_signal(fd, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def _send_by_pid(process: Process, signum: int) -> bool:
    """For kernels before 5.3, which have no pidfd."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, signum)
    except ProcessLookupError:
        return False
    return True


def environment(pid: int) -> dict[str, str]:
    """A process's environment as it was when its program started.

    Empty for one that is gone, is a zombie or belongs to somebody else.
    """
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        # ESRCH, ENOENT: it ended. EACCES, EPERM: not ours, so not of our run either.
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def pids() -> list[int]:
    """Every pid on this machine that we can see."""
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def marked(by: Callable[[Mapping[str, str]], bool]) -> list[Process]:
    """All live processes with such an environment (`environment`), never the caller itself."""
    found = []
    for pid in pids():
        # Taken before the environment is read, so that it names the process that was read.
        process = identify(pid) if pid != os.getpid() else None
        env = environment(pid) if process else {}
        if process and by(env) and alive(process):
            found.append(process)
    return found


def tagged(tag: str) -> list[Process]:
    """All live processes with ``EXA_TAG=tag``, never the caller itself."""
    return marked(lambda env: env.get(marks.TAG) == tag)


def session_members(session: int) -> list[Process]:
    """All live processes of a session. Only sound while its leader is alive or not yet reaped:
    after that the kernel may give the number to somebody else."""
    return [process for pid in pids() if (process := _member(pid, session))]


def _member(pid: int, session: int) -> Process | None:
    found = stat(pid)
    if found is None or found.session != session or found.state in ("Z", "X"):
        return None
    return Process(pid, found.start, boot_id())


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int) -> None:
    if _libc().prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl")


def die_with_parent(signum: int = signal.SIGKILL) -> Callable[[], None]:
    """A ``preexec_fn`` after which the child gets ``signum`` when the thread that started it
    dies, whatever kills that (prctl(2), PR_SET_PDEATHSIG).

    The setting survives exec but not a further fork: each level asks for itself. A parent
    that died before the call is noticed by the changed parent pid.
    """
    parent = os.getpid()
    _libc()

    def in_child() -> None:
        _prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:
            os.kill(os.getpid(), signum)

    return in_child


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Pids of our children, zombies included."""
    mine = os.getpid()
    return [pid for pid in pids() if (found := stat(pid)) and found.parent == mine]


def reap(pid: int) -> None:
    """Collect one child if it has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
