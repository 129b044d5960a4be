"""The launch line: the site's launcher, filled in and found."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.sites.launcher import fill
from exa_cli.sites.software import Launcher


def command(
    launcher: Launcher,
    *,
    world: int,
    nodes: int,
    program: Sequence[str],
    cpus_per_rank: int | None = None,
    hostfile: Path | None = None,
    nodelist: Sequence[str] = (),
    seats: str | None = None,
    search: str | None = None,
) -> list[str]:
    """argv that starts ``world`` ranks of ``program``. It is for exec: no shell reads it.

    Args:
        launcher: the profile's table.
        world: ranks in all, the same number on every node.
        nodes: nodes they are spread over.
        program: argv of a rank.
        cpus_per_rank: cores of a rank, None when the site does not say.
        hostfile, nodelist: a file with the nodes' names, and these, where the launcher asks for
            them: not all nodes of a job need to take part.
        seats: each local rank's CPUs, colons between, where ranks are bound.
        search: where the launcher is looked for, joined as in PATH; None = `search_path`.

    Raises:
        Invalid: the ranks do not spread evenly, or the launcher asks for what is not given.
        NotFound: the launcher is not installed here.
    """
    if world % nodes:
        raise Invalid(f"{world} ranks do not spread evenly over {nodes} nodes")
    values = {"ranks": world, "nodes": nodes, "ranks_per_node": world // nodes}
    words = {name: str(value) for name, value in values.items()}
    if cpus_per_rank is not None:
        words["cpus_per_rank"] = str(cpus_per_rank)
    if hostfile:
        words["hostfile"] = str(hostfile)
    if nodelist:
        words["nodelist"] = ",".join(nodelist)
    if seats:
        words["seats"] = seats
    name, *options = fill([*launcher.command, *launcher.options], words)
    return [_located(name, search_path() if search is None else search), *options, *program]


def search_path() -> str:
    """The interpreter's own programs first: an MPI installed beside it is the one that its
    mpi4py was made for, and it need not be on the PATH of a job."""
    beside = str(Path(sys.executable).parent)
    return os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])


def _located(name: str, search: str) -> str:
    found = shutil.which(name, path=search)
    if found is None:
        raise NotFound(
            f"the launcher {name} is not here",
            where=search,
            hint="install an MPI beside exa, or name its path in the profile's launcher.command",
        )
    return found
