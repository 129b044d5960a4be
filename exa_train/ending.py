"""How a rank ends: its stacks on demand, its last words in a file, and never a waiting peer."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from exa_cli.base.errors import ExaError
from exa_cli.base.files import write_json
from exa_train.faults import Fault, classify


def dump_stacks_on_signal(path: Path) -> None:
    """SIGUSR1 appends every thread's stack to ``path``, even while the rank hangs in a call."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Open for as long as the process lives: a signal handler cannot open files.
    out = open(path, "ab")  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1, out, all_threads=True, chain=False)


def last_words(error: BaseException, folder: Path, rank: int, step: int | None) -> Fault:
    """Write ``ranks/RRRRRR.error.json`` under the life's folder, and say the same on stderr.

    A disk that is full takes no file; then stderr is all there is.
    """
    fault = classify(error, step)
    if not isinstance(error, ExaError):
        traceback.print_exception(error, file=sys.stderr)
    told = ExaError(fault.what, where=fault.where, hint=fault.hint)
    print(f"exa: rank {rank}: {fault.cause}: {told}", file=sys.stderr, flush=True)
    try:
        (folder / "ranks").mkdir(parents=True, exist_ok=True)
        write_json(folder / "ranks" / f"{rank:06d}.error.json", fault.record())
    except OSError as failure:
        print(f"exa: rank {rank}: cannot record it: {failure}", file=sys.stderr, flush=True)
    return fault


def leave_failing(comm: Any, code: int, *, agreed: bool) -> NoReturn:
    """End this process and take the peers along: they may wait in a collective for ever.

    When all ranks fail alike they wait for each other first, so that every one has written its
    last words; otherwise the first to leave ends the rest.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if comm is not None:
        if agreed:
            comm.Barrier()
        comm.Abort(code)
    os._exit(code)


def leave_together(comm: Any) -> None:
    """After a common end: no rank's exit may find another one at work.

    The process group is torn down before the interpreter is: gloo's threads would otherwise
    outlive what they use. mpi4py finalises MPI at exit.
    """
    import torch.distributed as dist

    sys.stdout.flush()
    comm.Barrier()
    if dist.is_initialized():
        dist.destroy_process_group()
