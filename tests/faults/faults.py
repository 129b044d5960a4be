"""Faults that a run on the local site meets, each as something done to a live run.

A fault is a function (exa, run) → None. What it needs is in the run's directory and in /proc;
it knows nothing of exa's insides but where files lie.
"""

import os
import random
import signal
import threading

from kit import processes, runner, stop_in_a_step

from exa_cli.base import proc

QUICK = {"policy.hang": '"00:00:10"', "policy.backoff": '"00:00:01"', "policy.retries": 9}
"""A run that notices soon and is patient with its laboratory."""


def _send(found, number=signal.SIGKILL):
    for process in found:
        proc.send(process, number)


def rank_killed(exa, run):
    _send(random.sample(processes(run, "exa_train"), 1))


def rank_stopped(exa, run):
    stop_in_a_step(exa, random.choice(processes(run, "exa_train")))


def all_ranks_killed(exa, run):
    _send(processes(run, "exa_train"))


def launcher_killed(exa, run):
    _send(processes(run, "mpiexec"))


def supervisor_killed(exa, run):
    _send(processes(run, "exa_cli job"))


def supervisor_paused(exa, run):
    """Stopped and let go on: the ranks train meanwhile, and nobody must be blamed."""
    found = processes(run, "exa_cli job")
    _send(found, signal.SIGSTOP)
    goes_on = threading.Timer(3.0, _send, (found, signal.SIGCONT))
    goes_on.start()
    goes_on.join()


def everything_killed(exa, run):
    _send(runner(exa))
    _send(processes(run))


def _protected(exa, run, count=1):
    """The run's committed checkpoints that have their parity, the newest last, once there are so
    many: a fault that finds nothing to harm would prove nothing."""

    def whole():
        found = sorted(run.glob("checkpoints/step-*"))
        found = [p for p in found if (p / "exa-parity/INDEX.json").exists()]
        return found if len(found) >= count else None

    return exa.wait_until(whole)


def _harm(exa, run, change):
    """Change a data file of the newest checkpoint; the caller then brings the run down, so that
    the next life meets it."""
    change(random.choice(sorted(_protected(exa, run)[-1].glob("data-*.exa"))))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _zero_a_page(path):
    content = bytearray(path.read_bytes())
    at = random.randrange(max(1, len(content) // 4096)) * 4096
    content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    path.write_bytes(content)


def bit_flipped(exa, run):
    _harm(exa, run, _flip)
    all_ranks_killed(exa, run)


def page_zeroed(exa, run):
    _harm(exa, run, _zero_a_page)
    all_ranks_killed(exa, run)


def file_truncated(exa, run):
    _harm(exa, run, lambda path: os.truncate(path, path.stat().st_size // 2))
    all_ranks_killed(exa, run)


def file_deleted(exa, run):
    _harm(exa, run, os.unlink)
    supervisor_killed(exa, run)


def manifest_deleted(exa, run):
    (_protected(exa, run)[-1] / "MANIFEST.json").unlink()
    all_ranks_killed(exa, run)


def stale_file(exa, run):
    """An older checkpoint's file in the place of the newest one's."""
    older, newest = _protected(exa, run, 2)[-2:]
    victim = random.choice(sorted(newest.glob("data-*.exa")))
    victim.write_bytes((older / victim.name).read_bytes())
    all_ranks_killed(exa, run)


FAULTS = {
    fault.__name__: fault
    for fault in (
        rank_killed, rank_stopped, all_ranks_killed, launcher_killed, supervisor_killed,
        supervisor_paused, everything_killed, bit_flipped, page_zeroed, file_truncated,
        file_deleted, manifest_deleted, stale_file,
    )
}  # fmt: skip
