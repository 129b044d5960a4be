"""From a launch record to a trainer: the order in which a rank comes up.

Cheap checks come first, so that a wrong launch ends within a second: place and plan, then MPI,
then torch, then data and model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from exa_train import ending, launch
from exa_train import plan as plans
from exa_train.faults import LaunchFailed
from exa_train.plan import Life, Plan
from exa_train.rise import Rise


def main(launch_file: Path) -> int:
    """Train; the exit code. Does not return from a failure: it ends the process."""
    rise = Rise(launch_file)
    try:
        code = train(rise)
    except BaseException as error:  # noqa: BLE001 - the process ends here, with last words
        fault = ending.last_words(error, launch_file.parent, rise.rank, rise.step)
        ending.leave_failing(rise.comm, fault.code, agreed=getattr(error, "agreed", False))
    ending.leave_together(rise.comm)
    return code


def train(rise: Rise) -> int:
    """Come up and train; the exit code. Raises what `exa_train.faults.classify` reads."""
    at = launch.place(os.environ)
    rise.rank = at.rank if at else 0
    ending.dump_stacks_on_signal(rise.launch_file.parent / "stacks" / f"{rise.rank:06d}.txt")
    plan, life, digest = plans.read(rise.launch_file)
    comm, seen = greet(at, plan, life, digest)
    rise.rank, rise.comm = seen.rank, comm
    launch.agree(comm, seen)
    rise.say(f"{comm.size} ranks agree on the plan of {plan.run}")
    from exa_train import building, loop

    rise.trainer = building.trainer(rise, plan, life)
    rise.say("ready")
    return loop.run(rise.trainer)


def greet(at: launch.Place | None, plan: Plan, life: Life, digest: str) -> tuple[Any, launch.Seen]:
    """MPI_COMM_WORLD, and all that this process sees of the world. Raises LaunchFailed."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchFailed(
            f"mpi4py cannot load an MPI: {str(error).splitlines()[0]}",
            where=sys.executable,
            hint=launch.MPI_HINT,
        ) from error
    comm = MPI.COMM_WORLD
    seen = launch.Seen(
        place=at,
        mpi_rank=comm.rank,
        mpi_size=comm.size,
        mpi_library=MPI.Get_library_version().splitlines()[0].strip("\0 "),
        plan_world=plan.parallel.world,
        listed=len(life.ranks),
        digest=digest,
    )
    return comm, seen
