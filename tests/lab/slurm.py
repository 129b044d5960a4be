"""A lab cluster by hand:  python tests/lab/slurm.py up|down|status|env|fault …

    .venv/bin/python tests/lab/slurm.py up --nodes 4 --accounting
    eval "$(.venv/bin/python tests/lab/slurm.py env)"; sinfo; srun -p prod -N4 hostname
    .venv/bin/python tests/lab/slurm.py fault node-kill n3
    .venv/bin/python tests/lab/slurm.py down

Two clusters run side by side with different --slot.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

from lab import packages  # noqa: E402
from lab.cluster import Cluster, LabError  # noqa: E402
from lab.spec import Spec  # noqa: E402

NODE_FAULTS = ("node-kill", "node-start", "daemon-kill", "unplug", "plug")
FAULTS = (*NODE_FAULTS, "ctl-stop", "ctl-start", "dbd-stop", "dbd-start", "calm")


def existing(slot: int) -> Cluster:
    """The cluster of a slot as it was brought up."""
    path = Spec(slot=slot).file("spec.json")
    if not path.exists():
        raise LabError(f"slot {slot} has no cluster")
    return Cluster(Spec.load(path.read_text()))


def up(words: argparse.Namespace) -> None:
    if why := packages.unusable(install=True):
        raise LabError(why)
    settings = dict(setting.split("=", 1) for setting in words.set)
    shape = {key: getattr(words, key) for key in ("slot", "nodes", "cpus", "gpus", "accounting")}
    cluster, began = Cluster(Spec(**shape, settings=settings)), time.monotonic()
    if cluster.spec.file("spec.json").exists() and existing(words.slot).spec != cluster.spec:
        raise LabError(
            f"slot {words.slot} has another cluster: take it down, or take another --slot"
        )
    cluster.up()
    print(f"up in {time.monotonic() - began:.1f} s: {cluster.spec.root}", file=sys.stderr)


def status(words: argparse.Namespace) -> None:
    cluster = existing(words.slot)
    states = cluster.states() if cluster.alive("slurmctld") else {}
    for part, state in cluster.status().items():
        print(f"{part:<10} {state} {states.get(part.removeprefix('node-'), '')}".rstrip())
    if not cluster.is_up():
        raise LabError("not all of it runs")


def fault(words: argparse.Namespace) -> None:
    nodes = [words.node] if words.what in NODE_FAULTS else []
    getattr(existing(words.slot), words.what.replace("-", "_"))(*nodes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slot", type=int, default=0, choices=range(50), metavar="0-49")
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = verbs.add_parser("up")
    add.add_argument("--nodes", type=int, default=4)
    add.add_argument("--cpus", type=int, default=4)
    add.add_argument("--gpus", type=int, default=0)
    add.add_argument("--accounting", action="store_true")
    add.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    for verb in ("down", "status", "env"):
        verbs.add_parser(verb)
    add = verbs.add_parser("fault")
    add.add_argument("what", choices=FAULTS)
    add.add_argument("node", nargs="?")
    words = parser.parse_args()
    try:
        if words.verb == "down":
            existing(words.slot).down()
        elif words.verb == "env":
            print(*(f"export {key}={value}" for key, value in existing(words.slot).env.items()))
        else:
            {"up": up, "status": status, "fault": fault}[words.verb](words)
    except LabError as error:
        sys.exit(f"lab: {error}")


if __name__ == "__main__":
    main()
