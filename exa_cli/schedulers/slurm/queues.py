"""What ``sinfo -N`` prints of cores and threads. Pure: text in, nodes out; nothing raises.

`nodes` reads what a job can ask for; a profile wants to know what a CPU is, too. A node stands
there once for each of its partitions, and its name is what tells that it is the same one.
"""

from __future__ import annotations

from exa_cli.schedulers.queues import whole
from exa_cli.schedulers.shapes import Nodes, Shape, counted
from exa_cli.schedulers.slurm.nodes import gpus

QUESTION = ("sinfo", "-a", "-h", "-N", "-o", "%N|%X|%Y|%Z|%G")
"""Name, sockets, cores of a socket, threads of a core, generic resources (sinfo(1))."""


def nodes(text: str) -> Nodes:
    """The nodes; a line that is not of our format is left out."""
    rows = ([word.strip() for word in line.split("|")] for line in text.splitlines())
    by_name = {row[0]: _shape(row[1:]) for row in rows if len(row) == 5 and row[0]}
    return counted(by_name.values())


def _shape(row: list[str]) -> Shape:
    sockets, cores, threads = (whole(word) or None for word in row[:3])
    both = sockets * cores if sockets and cores else None
    return Shape(cores=both, threads=threads, gpus=gpus(row[3]), words=row[3])
