"""Can these ranks work, and talk? Run under the launcher, one process per rank, before training.

``python -m exa_cli.job.probe LAUNCH.json OUT.json``: every rank looks at its own node, all of
them exchange what they saw, and rank 0 writes it down. It finds a wrong MPI, a missing torch or
a full local disk on any node in about a second, before ranks wait for each other in vain.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from exa_cli.base.files import write_json
from exa_cli.base.requires import RANKS
from exa_cli.job.rank import bind


def look(scratch: Path, run_dir: Path, needed: tuple[str, ...] = tuple(RANKS)) -> dict[str, Any]:
    """What one rank sees from its node."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    has_torch = importlib.util.find_spec("torch") is not None
    return {
        "host": platform.node(),
        "told_node": os.environ.get("SLURMD_NODENAME"),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch") if has_torch else None,
        "missing": missing,
        "scratch_error": _write_error(scratch),
        "run_dir_error": _write_error(run_dir),
        "scratch_free": _free(scratch),
    }


def _write_error(folder: Path) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"exa")
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _seat_error(me: dict[str, Any]) -> str | None:
    try:
        bind(me)
    except ValueError as error:
        return str(error)
    return None


def main() -> None:
    launch_file, out = sys.argv[1:]
    launch = json.loads(Path(launch_file).read_bytes())
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    me = launch["ranks"][world.rank % len(launch["ranks"])]
    seat_error = _seat_error(me)
    needed = () if launch["program"] else tuple(RANKS)
    seen = look(Path(me["scratch"]), Path(launch["run_dir"]), needed)
    seen |= {
        "seat_error": seat_error,
        "rank": world.rank,
        "size": world.size,
        "told": os.environ.get(launch["rank_variable"]),
    }
    # An allreduce, not only a gather: it fails where ranks can send but not hear each other.
    total = world.allreduce(world.rank + 1)
    everyone = world.gather(seen, root=0)
    if world.rank == 0:
        record = {"schema": 1, "ranks": everyone, "sum": total}
        write_json(Path(out), record)


if __name__ == "__main__":
    main()
