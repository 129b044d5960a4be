"""From an exception to a cause, an exit code and three sentences."""

from __future__ import annotations

import errno

import pytest

from exa_cli.base.errors import Damaged, Invalid
from exa_train.checkpoint.errors import CheckpointFailed
from exa_train.checkpoint.errors import Fault as CheckpointFault
from exa_train.faults import BadNumbers, LaunchFailed, NothingToLoad, Superseded, classify


def failed_save(cause: str, what: str = "it failed") -> CheckpointFailed:
    return CheckpointFailed.because(CheckpointFault(cause, what))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (LaunchFailed("no"), 71, "launch-failed"),
        (BadNumbers("nan"), 72, "bad-numbers"),
        (NothingToLoad("none"), 74, "stopped"),
        (Superseded("newer"), 1, "stopped"),
        (failed_save("disk-full"), 73, "disk-full"),
        (failed_save("bad-numbers"), 72, "bad-numbers"),
        (failed_save("unknown"), 1, "unknown"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 73, "disk-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), 73, "disk-full"),
        (OSError(errno.EACCES, "Permission denied", "/x"), 1, "rank-failure"),
        (MemoryError(), 1, "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "out-of-memory"),
        (RuntimeError("[../gloo/tcp/pair.cc:547] Connection closed by peer"), 1, "rank-failure"),
        (Damaged("a token shard is damaged"), 1, "rank-failure"),
        (Invalid("no window"), 1, "rank-failure"),
        (ZeroDivisionError("division by zero"), 1, "rank-failure"),
        (KeyboardInterrupt(), 1, "rank-failure"),
    ],
)
def test_each_failure_has_its_code_and_cause(error: BaseException, code: int, cause: str) -> None:
    fault = classify(error, 5)
    assert (fault.code, fault.cause, fault.step) == (code, cause, 5)
    assert fault.what


def test_a_full_disk_is_found_behind_what_it_caused() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x")
        except OSError as error:
            raise RuntimeError("writing failed") from error
    except RuntimeError as error:
        fault = classify(error, 5)
    assert fault.code == 73
    assert fault.where == "/scratch/x"


def test_who_only_noticed_another_ranks_end_is_an_echo() -> None:
    assert classify(RuntimeError("Connection reset by peer"), 5).echo
    assert classify(failed_save("rank-failure", "another rank did not answer: x"), 5).echo
    assert not classify(ZeroDivisionError("division by zero"), 5).echo


def test_the_record_is_what_the_supervisor_reads() -> None:
    record = classify(LaunchFailed("what", where="where", hint="hint"), None).record()
    assert record == {
        "cause": "launch-failed",
        "what": "what",
        "where": "where",
        "hint": "hint",
        "step": None,
        "echo": False,
    }
