"""Start what runs under the launcher: the probe, then the ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import exa_cli
from exa_cli.arith import families
from exa_cli.base import proc
from exa_cli.base.errors import ExaError, Unreachable
from exa_cli.base.files import read_json, write_json, write_text
from exa_cli.checkpoint import select, verify
from exa_cli.job import health
from exa_cli.job import program as programs
from exa_cli.job.allocation import Allocation, data_items
from exa_cli.job.nodes import Agents, Here, Nodes
from exa_cli.policy.cause import Health
from exa_cli.runs.claims import counts, read_claims
from exa_cli.runs.rundir import RunDir
from exa_cli.script.launcher import command
from exa_cli.sites.binding import listed
from exa_cli.sites.software import Launcher
from exa_cli.spec.model import ModelConfig

PROBE_TIMEOUT_S = 180


def choice(run: RunDir) -> select.Choice:
    """The run's checkpoints that may be loaded, newest first, and why others may not."""
    claims = read_claims(run.path)
    reports = verify.survey(run.checkpoints)
    return select.choose(reports, lambda name, epoch: counts(claims, name, epoch))


def write_record(here: Allocation, epoch: int, candidates: Sequence[str]) -> None:
    """launch.json: all that a rank has to know of this life beside the plan."""
    record = {
        "schema": 1,
        "run_dir": str(here.run.path),
        "attempt": here.attempt,
        "life": here.life,
        "tag": here.tag,
        "epoch": epoch,
        "candidates": list(candidates),
        "rank_variable": here.site.launcher.rank_variable,
        "threads": here.plan["train"]["threads"],
        "virtual": here.site.node.virtual,
        "ranks": here.ranks,
        "layout": None if here.own_program else here.layout,
        "program": programs.record(here) if here.own_program else None,
    }
    write_json(here.folder / "launch.json", record)


def environment(here: Allocation) -> dict[str, str]:
    """Every process of a run carries its directory and its tag."""
    own = {
        **here.plan["env"],
        "EXA_RUN_DIR": str(here.run.path),
        "EXA_TAG": here.tag,
        "OMP_NUM_THREADS": str(here.plan["train"]["threads"]),
        "PYTHONUNBUFFERED": "1",
    }
    if here.plan.get("image"):
        own["PYTHONPATH"] = os.pathsep.join(filter(None, [EXA, os.environ.get("PYTHONPATH")]))
    return {**os.environ, **own}


def under_launcher(here: Allocation, module: str, *args: str) -> list[str]:
    """argv of a Python module, once per rank, by the site's launcher, in the site's container."""
    return _launch_line(here, _bound(here), here.world, module, *args, python=_boxed(here))


def _launch_line(
    here: Allocation,
    launcher: Launcher,
    world: int,
    module: str,
    *args: str,
    python: Sequence[str] = (),
) -> list[str]:
    return command(
        launcher,
        world=world,
        nodes=len(here.nodes),
        program=[*(python or [sys.executable]), "-m", module, *args],
        cpus_per_rank=here.cpus_per_rank,
        hostfile=None if here.site.node.virtual else here.folder / "hosts",
        nodelist=() if here.site.node.virtual else here.nodes,
        seats=_seat_list(here),
    )


EXA = str(Path(exa_cli.__file__).parents[1])
"""Where exa's own packages lie; in a container they are the same."""


def _boxed(here: Allocation) -> list[str]:
    """What runs Python where ranks run: in a container, if the run has an image."""
    image, box = here.plan.get("image"), here.site.container
    if not image:
        return []
    data = here.plan.get("data") or here.plan["program"]
    folders = (here.run.path, data.get("dir") or data["directory"], here.base, EXA, *box.binds)
    shown = [word.replace("{path}", str(f)) for f in dict.fromkeys(folders) for word in box.bind]
    words: list[str] = []
    for word in box.command:
        words += shown if word == "{binds}" else [word.replace("{image}", image)]
    return [*words, box.python]


def _seat_list(here: Allocation) -> str | None:
    """Each local rank's CPUs, colons between; None where ranks are not bound to any."""
    lists = [seat.cpus for seat in here.seats if listed(seat.cpus)]
    return ":".join(lists) if lists and len(lists) == len(here.seats) else None


def _bound(here: Allocation) -> Launcher:
    """The ranks' launcher: where exa binds them itself, told not to."""
    launcher = here.site.launcher
    if _seat_list(here) is None:
        return launcher
    return replace(launcher, options=(*launcher.options, *(launcher.bound or ())))


def nodes_of(here: Allocation) -> Nodes:
    """The life's nodes: by agents where the site says how to start them, else this machine."""
    for part in ("ranks", "stacks"):
        (here.folder / part).mkdir(parents=True, exist_ok=True)
    if not here.site.node.virtual:
        write_text(here.folder / "hosts", "".join(f"{node}\n" for node in here.nodes))
    launcher = here.site.launcher
    if here.site.node.virtual or launcher.agents is None:
        return Here(here.posts(), here.folder)
    # The options are the ranks': an agent needs no MPI, no GPU and no binding.
    plain = replace(launcher, command=launcher.agents, options=())

    def start_agents(posts: Path) -> subprocess.Popen[bytes]:
        argv = _launch_line(here, plain, len(here.nodes), "exa_cli.job.agent", str(posts))
        return _started(here, argv, "agents.log")

    return Agents(here.posts(), here.folder, start_agents)


def rank_argv(here: Allocation) -> list[str]:
    return under_launcher(here, "exa_cli.job.rank", str(here.folder / "launch.json"))


def probe(here: Allocation) -> Health | None:
    """Run the health probe on every rank's place; what stands against launching, or None."""
    out = here.folder / "health.json"
    argv = under_launcher(here, "exa_cli.job.probe", str(here.folder / "launch.json"), str(out))
    try:
        ended = proc.run(argv, timeout=PROBE_TIMEOUT_S, env=environment(here), cwd=here.run.path)
        words = " ".join((ended.err or ended.out).split())[-600:] or f"status {ended.code}"
    except Unreachable as error:
        words = str(error)
    seen = read_json(out) if out.exists() else None
    bad = health.verdict(seen, here.world, words, _local_bytes(here), here.places)
    return bad or _run_space(here)


def _local_bytes(here: Allocation) -> int:
    if here.own_program:
        return 0
    return sum(item.bytes for item in data_items(Path(here.plan["data"]["dir"])))


def _run_space(here: Allocation) -> Health | None:
    """Refuse to start when the run's disk cannot take one more checkpoint than is kept."""
    import shutil

    free = shutil.disk_usage(here.run.path).free
    need = 0 if here.own_program else checkpoint_bytes(here)
    if free >= need:
        return None
    text = f"{here.run.path}: {free / 1e9:.3f} GB free, a checkpoint needs {need / 1e9:.3f} GB"
    return Health("space", text, "disk-full")


def checkpoint_bytes(here: Allocation) -> int:
    """Bytes of one checkpoint of this run's model."""
    config = ModelConfig.from_dict(here.plan["model"])
    stored: int = families.family_of(config).state_bytes(config).stored
    return stored


def start(here: Allocation) -> subprocess.Popen[bytes]:
    """Start the ranks."""
    return _started(here, rank_argv(here), "launcher.log")


def _started(here: Allocation, argv: list[str], log_name: str) -> subprocess.Popen[bytes]:
    """A launcher at work.

    It ends with the supervisor: without it, it would run on unseen. SIGTERM is blocked in it:
    batch systems send it to every process of a job, and a launcher that obeys ends its ranks
    while they save. (srun takes a SIGTERM that is blocked, too; Slurm's own notices never go to
    srun: recordings, slurm/INDEX 19 and 22.)
    """
    with open(here.folder / log_name, "ab") as log:
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=here.run.path,
                env=environment(here),
                preexec_fn=_shielded(),
            )
        except OSError as error:
            raise _no_launcher(argv[0], error) from error


def _shielded() -> Callable[[], None]:
    end_with_us = proc.die_with_parent()

    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        end_with_us()

    return in_child


def _no_launcher(program: str, error: OSError) -> ExaError:
    return Unreachable(
        f"cannot start the launcher: {error.strerror}",
        where=program,
        hint="the site profile's [launcher] names it; is its MPI installed in this environment?",
    )
