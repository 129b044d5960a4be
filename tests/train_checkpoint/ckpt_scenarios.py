"""What a rank does in the tests of exa_train.checkpoint. Runs in forked gloo ranks only."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from exa_cli.base.errors import ExaError
from exa_train.checkpoint import Keeper, Saved, load, save

Result = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a rank is."""

    folder: Path
    rank: int
    world: int
    group: dist.ProcessGroup

    @property
    def root(self) -> Path:
        return self.folder / "checkpoints"


def whole(step: int, scale: int = 1) -> dict[str, torch.Tensor]:
    """The state at ``step``: shapes that shard unevenly or not at all, one of several chunks."""
    draw = torch.Generator().manual_seed(step)
    return {
        "model.w": torch.randn(10, 6, generator=draw),
        "model.big": torch.randn(1537 * scale, 1024, generator=draw),
        "model.bf16": torch.randn(7, 5, 3, generator=draw).bfloat16(),
        "model.row": torch.randn(1, 3, generator=draw),
        "model.none": torch.empty(0, 4),
        "model.mask": torch.rand(3, generator=draw) > 0.5,
        "optim.count": torch.randint(1 << 40, (5,), generator=draw),
        "optim.half": torch.randn(9, 2, generator=draw).half(),
        "optim.step": torch.tensor(float(step)),
    }


def spread(state: dict[str, torch.Tensor], how: str, world: int) -> dict[str, torch.Tensor]:
    """The state as this rank holds it: ``plain``, ``rows``, ``columns``, ``hsdp`` or ``mixed``."""
    if how == "plain":
        return {fqn: value.clone() for fqn, value in state.items()}
    if how == "hsdp":
        mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
    else:
        mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("dp",))
    spread_state = {}
    for number, (fqn, value) in enumerate(state.items()):
        places: list[Any] = [Shard(0)]
        if how == "columns" and value.dim() > 1:
            places = [Shard(1)]
        if how == "hsdp":
            places = [Replicate(), Shard(0)]
        if how == "mixed" and number % 2:
            places = [Replicate()]
        plain = value.dim() == 0
        spread_state[fqn] = value.clone() if plain else distribute_tensor(value, mesh, places)
    return spread_state


def local(value: torch.Tensor) -> torch.Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Whether this rank's parts are equal, bit for bit."""
    return all(
        local(ours[fqn]).dtype == local(theirs[fqn]).dtype
        and torch.equal(local(ours[fqn]), local(theirs[fqn]))
        for fqn in theirs
    )


def blank(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {fqn: torch.zeros_like(value) for fqn, value in state.items()}


def refused(action: Callable[[], object]) -> Result:
    """How ``action`` failed."""
    began = time.monotonic()
    try:
        action()
    except ExaError as error:
        return {
            "error": type(error).__name__,
            "cause": getattr(error, "cause", None),
            "words": str(error),
            "seconds": time.monotonic() - began,
        }
    return {"error": None}


def saved(
    place: Place, how: str = "rows", step: int = 10, epoch: int = 1, scale: int = 1, **more: Any
) -> Result:
    state = spread(whole(step, scale), how, place.world)
    made = _save(place, state, step, epoch, **more)
    return {"name": made.name, "bytes": made.bytes}


def _save(
    place: Place, state: dict[str, torch.Tensor], step: int, epoch: int = 1, **more: Any
) -> Saved:
    meta = {"data": {"next_sequence": step * 4}}
    return save(
        state, root=place.root, step=step, epoch=epoch, meta=meta, group=place.group, **more
    )


def loaded(
    place: Place, candidates: list[str], how: str = "rows", scale: int = 1, **more: Any
) -> Result:
    """Load and compare with what the checkpoint's step must be."""
    state = blank(spread(whole(0, scale), how, place.world))
    found = load(state, root=place.root, candidates=candidates, group=place.group, **more)
    if found is None:
        return {"name": None}
    right = same(state, spread(whole(found.step, scale), how, place.world))
    return {
        "name": found.name,
        "step": found.step,
        "meta": found.meta,
        "right": right,
        "bytes": found.bytes,
        "nonfinite": list(found.nonfinite),
        "skipped": [[one.name, one.reason] for one in found.skipped],
    }


def loaded_with_a_check(place: Place, candidates: list[str], rank: int) -> Result:
    """One rank finds a fault in its part of step 20, which it can only see once it was read."""
    state = blank(spread(whole(0), "rows", place.world))
    newer = spread(whole(20), "rows", place.world)

    def check(found: Any, meta: dict[str, Any]) -> list[str]:
        assert meta["data"]["next_sequence"] in (40, 80)
        return ["model.w is odd"] if place.rank == rank and same(found, newer) else []

    found = load(state, root=place.root, candidates=candidates, group=place.group, check=check)
    assert found is not None
    right = same(state, spread(whole(found.step), "rows", place.world))
    skipped = [[one.name, one.reason] for one in found.skipped]
    return {"name": found.name, "right": right, "skipped": skipped}


def replicas_on_a_mesh(place: Place, ill: int) -> Result:
    """Three copies of two shards; a bit of two tensors of one rank is flipped, and mended."""
    from exa_train import replicas
    from exa_train.checkpoint.agree import Group
    from exa_train.replicas import Report

    mesh = init_device_mesh("cpu", (3, 2), mesh_dim_names=("replicate", "shard"))
    state = {
        fqn: value if value.dim() == 0 else distribute_tensor(value, mesh, [Replicate(), Shard(0)])
        for fqn, value in whole(1).items()
    }
    if place.rank == ill:
        for fqn in ("model.big", "model.bf16"):
            local(state[fqn]).reshape(-1).view(torch.uint8)[-1] ^= 1
    team = Group(place.group)

    def look() -> tuple[dict[str, int], list[Report]]:
        each = replicas.digests(state)
        mine = Report(replicas.part_of(state), replicas.digest_of(each), sound=True)
        return each, team.gather(mine)

    each, reports = look()
    finding = replicas.judge(reports)
    names = replicas.differing(team.gather(each), reports, finding)
    replicas.repair(state, finding, names, place.rank, place.group)
    return {
        "groups": replicas.groups([report.part for report in reports]),
        "repairs": sorted(finding.repairs.items()),
        "lost": list(finding.lost),
        "names": sorted(names.items()),
        "well": replicas.judge(look()[1]).well,
    }


def load_refused(place: Place, candidates: list[str], how: str = "rows") -> Result:
    state = blank(spread(whole(0), how, place.world))
    return refused(lambda: load(state, root=place.root, candidates=candidates, group=place.group))


def save_of_odd_state(place: Place, what: str, allow: bool = False) -> Result:
    """A state or meta that only rank 1 has wrong."""
    state: dict[str, Any] = spread(whole(20), "rows", place.world)
    meta: dict[str, Any] = {}
    if place.rank == 1:
        if what == "scalar":
            state["optim.lr"] = 0.1
        elif what == "complex":
            state["model.c"] = torch.zeros(3, dtype=torch.complex64)
        elif what == "meta":
            meta = {"x": float("nan")}
        elif what in ("nan", "inf"):
            local(state["model.bf16"])[0, 0, 0] = float(what)
    return refused(
        lambda: save(
            state,
            root=place.root,
            step=20,
            epoch=1,
            meta=meta,
            group=place.group,
            allow_nonfinite=allow,
        )
    )


def failing_disk(place: Place, rank: int, call: str, error: str, after: int) -> Result:
    """A save during which the ``after``-th call of ``os.CALL`` on one rank fails."""
    state = spread(whole(20), "rows", place.world)
    real = getattr(os, call)
    left = [after]

    def failing(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] <= 0:
            number = getattr(errno, error)
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    if place.rank == rank:
        setattr(os, call, failing)
    result = refused(lambda: _save(place, state, 20))
    setattr(os, call, real)
    again = _save(place, state, 20)
    return {**result, "again": again.name}


def limited_file_size(place: Place, limit: int) -> Result:
    """The kernel takes a part of a write and refuses the next one."""
    state = spread(whole(20), "rows", place.world)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        return refused(lambda: _save(place, state, 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def no_room(place: Place, free_blocks: int) -> Result:
    """A filesystem that says it has little room, and must then not be written to."""
    state = spread(whole(20), "rows", place.world)
    real_statvfs, real_write = os.statvfs, os.write
    written = [0]

    class Status:
        f_bavail, f_frsize = free_blocks, 4096

    def counted(fd: int, data: Any) -> int:
        written[0] += 1
        return real_write(fd, data)

    os.statvfs = lambda path: Status()  # type: ignore[assignment, return-value]
    os.write = counted
    result = refused(lambda: _save(place, state, 20))
    os.statvfs, os.write = real_statvfs, real_write
    return {**result, "writes": written[0]}


def commit_not_durable(place: Place) -> Result:
    """The manifest is renamed into place, and then its directory cannot be synced."""
    from exa_cli.base import files

    real = files.fsync_dir

    def failing(path: Path) -> None:
        if (path / "MANIFEST.json").exists():
            raise OSError(errno.EIO, "Input/output error", str(path))
        real(path)

    files.fsync_dir = failing
    result = refused(lambda: _save(place, spread(whole(20), "rows", place.world), 20))
    files.fsync_dir = real
    return result


def peer_ends_mid_save(place: Place, end: int) -> Result:
    """Rank 1 is killed or stopped at its first write; the others must not wait for ever."""
    state = spread(whole(20), "rows", place.world)
    if place.rank == 1:
        os.write = lambda fd, data: os.kill(os.getpid(), end) or 0  # type: ignore[func-returns-value]
    result = refused(lambda: _save(place, state, 20))
    if place.rank == 0 and end == signal.SIGSTOP:
        _end_stopped()
    return result


def _end_stopped() -> None:
    """Kill the stopped sibling, which is a child of the same parent."""
    parent = os.getppid()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] == "T" and int(fields[1]) == parent:
                os.kill(int(entry.name), signal.SIGKILL)


def killed_at_random(place: Place, seed: int) -> Result:
    """Save steps 20, 30, … until a random change to the filesystem on a random rank kills it."""
    chance = random.Random(seed)
    victim, point = chance.randrange(place.world), chance.randrange(40)
    if place.rank == victim:
        die_at(point, torn=chance.random() < 0.5)
    for step in (20, 30):
        result = refused(
            lambda step=step: _save(place, spread(whole(step), "rows", place.world), step)
        )  # type: ignore[misc]
        if result["error"]:
            return result
    return {"error": None}


def die_at(point: int, *, torn: bool) -> None:
    """Make the ``point``-th change to the filesystem this process's last; a write may be torn."""
    from exa_cli.base import files

    left = [point]

    def counted(real: Callable[..., Any], is_write: bool) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                if is_write and torn:
                    real(args[0], args[1][: max(1, len(args[1]) // 2)])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return wrapper

    def write_file(path: Path, data: bytes) -> None:
        """`files._write_all` in steps that can be counted."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)

    files._write_all = write_file
    for name in ("open", "write", "fsync", "close", "replace", "rename", "mkdir", "unlink"):
        setattr(os, name, counted(getattr(os, name), name == "write"))


def sweep_kill_points(place: Place) -> Result:
    """Kill a process at each change to the filesystem that a save and a pruning make, torn and
    not; after each, take up the folder as the next life would."""
    from exa_cli.checkpoint.folder import sweep_incomplete
    from exa_cli.checkpoint.select import choose
    from exa_cli.checkpoint.verify import survey, verify

    chosen: list[list[Any]] = []
    for torn in (False, True):
        point = 0
        while True:
            root = place.folder / f"sweep-{torn}-{point}"
            status = _forked(
                lambda root=root, point=point, torn=torn: _two_saves(root, point, torn)
            )  # type: ignore[misc]
            reports = survey(root, verify)
            damaged = [report.why for report in reports if report.verdict == "damaged"]
            candidates = list(choose(reports, lambda name, epoch: True).candidates)
            state = {fqn: torch.zeros_like(v) for fqn, v in _small(0).items()}
            found = load(state, root=root, candidates=candidates)
            step = found.step if found else 0
            right = found is None or same(state, _small(step))
            sweep_incomplete(root, 99)
            left = len(list(root.iterdir())) - len(candidates) if root.exists() else 0
            chosen.append([torn, point, step, right, damaged, left])
            if status == 0:
                break
            point += 1
    return {"chosen": chosen}


def _small(step: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(step)
    return {
        "model.w": torch.randn(1100, 1000, generator=draw),
        "optim.m": torch.randn(30, generator=draw),
    }


def _two_saves(root: Path, point: int, torn: bool) -> None:
    keeper = Keeper(root, keep=1, accepts=lambda name, epoch: True)
    die_at(point, torn=torn)
    for step in (10, 20):
        keeper.after_save(save(_small(step), root=root, step=step, epoch=1, meta={}))


def _forked(action: Callable[[], None]) -> int:
    """Run ``action`` alone in a process; the signal that ended it, or 0."""
    pid = os.fork()
    if pid == 0:
        dist.is_initialized = lambda: False
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def order_of_calls(place: Place) -> Result:
    """Every fsync and rename of a save, with the moment it was finished or begun."""
    calls: list[list[Any]] = []
    real_fsync, real_replace, real_rename = os.fsync, os.replace, os.rename

    def fsync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        real_fsync(fd)
        calls.append(["fsync", path, time.monotonic_ns()])

    def replace(src: Any, dst: Any) -> None:
        calls.append(["rename", str(src), time.monotonic_ns(), str(dst)])
        real_replace(src, dst)

    os.fsync, os.replace, os.rename = fsync, replace, replace
    made = _save(place, spread(whole(20), "rows", place.world), 20)
    os.fsync, os.replace, os.rename = real_fsync, real_replace, real_rename
    return {"calls": calls, "directory": str(place.root / made.name)}


def save_twice(place: Place) -> Result:
    """The same step again, with other content, then back to back with a third."""
    names = [
        _save(place, spread(whole(seed), "rows", place.world), 10).name for seed in (10, 11, 12)
    ]
    state = blank(spread(whole(0), "rows", place.world))
    right = []
    for seed, name in zip((10, 11, 12), names, strict=True):
        load(state, root=place.root, candidates=[name], group=place.group)
        right.append(same(state, spread(whole(seed), "rows", place.world)))
    return {"names": names, "right": right}


def no_pickle(place: Place) -> Result:
    """Save and load with torch's picklers taken away."""

    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("torch.save or torch.load was called")

    torch.save = torch.load = forbidden
    made = _save(place, spread(whole(10), "mixed", place.world), 10)
    return loaded(place, [made.name], "mixed")


def keeping(place: Place, keep: int, spoil: int | None = None) -> Result:
    """Save five times; after each, what is left. The save of step ``spoil`` loses a bit."""
    keeper = Keeper(place.root, keep=keep, accepts=lambda name, epoch: True, group=place.group)
    left, faults = [], []
    for step in (10, 20, 30, 40, 50):
        made = _save(place, spread(whole(step), "rows", place.world), step)
        if step == spoil and place.rank == 1:
            flip(place.root / made.name / "data-000001.exa", 8000)
        faults.append(list(keeper.after_save(made).faults))
        left.append(sorted(int(path.name[5:13]) for path in place.root.iterdir()))
        dist.barrier(place.group)
    return {"left": left, "faults": faults}


def fsdp_saved(place: Place) -> Result:
    """A model under fully_shard with AdamW, three steps, saved as torch flattens it."""
    model, optimizer = _model_under_fsdp()
    _train(model, optimizer, 3)
    made = _save(place, _flattened(model, optimizer), 3)
    _train(model, optimizer, 2)
    return {"name": made.name, "sum": _digest(model)}


def fsdp_loaded(place: Place, name: str, sharded: bool) -> Result:
    """The same, from another start, in another layout: then it must go on as the first did."""
    model, optimizer = _model_under_fsdp() if sharded else _plain_model()
    _train(model, optimizer, 1)
    state = _flattened(model, optimizer)
    found = load(state, root=place.root, candidates=[name], group=place.group)
    assert found is not None
    _restore(model, optimizer, state)
    _train(model, optimizer, 2)
    return {"sum": _digest(model)}


def _plain_model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(5)
    model = torch.nn.Sequential(
        torch.nn.Linear(12, 7), torch.nn.LayerNorm(7), torch.nn.Linear(7, 3, bias=False)
    )
    return model, torch.optim.AdamW(model.parameters(), lr=0.05)


def _model_under_fsdp() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    from torch.distributed.fsdp import fully_shard

    model, _ = _plain_model()
    fully_shard(model[0])
    fully_shard(model)
    return model, torch.optim.AdamW(model.parameters(), lr=0.05)


def _train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Every rank sees the same samples, so any number of ranks does the same arithmetic."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 12, generator=draw)).square().mean().backward()
        optimizer.step()


def _flattened(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(flatten_optimizer_state_dict=True)
    weights, moments = get_state_dict(model, optimizer, options=options)
    tensors = {f"model.{fqn}": value for fqn, value in weights.items()}
    return tensors | {f"optim.{k}": v for k, v in moments.items() if isinstance(v, torch.Tensor)}


def _restore(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, torch.Tensor]
) -> None:
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_state_dict,
        set_state_dict,
    )

    options = StateDictOptions(flatten_optimizer_state_dict=True)
    _, moments = get_state_dict(model, optimizer, options=options)
    scalars = {k: v for k, v in moments.items() if not isinstance(v, torch.Tensor)}
    set_state_dict(
        model,
        optimizer,
        model_state_dict={
            k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")
        },
        optim_state_dict=scalars
        | {k.removeprefix("optim."): v for k, v in state.items() if k.startswith("optim.")},
        options=options,
    )


def _digest(model: torch.nn.Module) -> list[float]:
    full = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
    return [float(value) for p in full for value in p.detach().flatten()]


def load_flipped(place: Place, name: str, older: str, flips: list[list[Any]]) -> Result:
    """Flip one bit, load, flip it back, and so on."""
    steps, right = [], []
    state = spread(whole(0), "plain", place.world)
    expected = {step: whole(step) for step in (10, 20)}
    for file, bit in flips:
        path = place.root / name / file
        flip(path, bit)
        found = load(state, root=place.root, candidates=[name, older], group=place.group)
        flip(path, bit)
        steps.append(found.step if found else None)
        right.append(found is not None and same(state, expected[found.step]))
    return {"steps": steps, "right": right}


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def load_other_model(place: Place, name: str, what: str, partial: bool = False) -> Result:
    """Load into a state that differs from the one that was saved."""
    state = blank(spread(whole(0), "rows", place.world))
    if what == "more":
        state["model.new"] = torch.zeros(3)
    elif what == "fewer":
        del state["optim.half"]
    elif what == "meta":
        state["model.w"] = torch.empty(10, 6, device="meta")
    else:
        state["model.w"] = {"shape": torch.zeros(6, 10), "dtype": torch.zeros(10, 6).bfloat16()}[
            what
        ]
    result = refused(
        lambda: load(state, root=place.root, candidates=[name], group=place.group, partial=partial)
    )
    touched = any(bool(local(v).any()) for v in state.values() if v.device.type != "meta")
    return {**result, "untouched": not touched}
