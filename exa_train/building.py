"""Build everything a rank trains with, in the order that fails earliest."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from exa_cli.arith import families
from exa_train import device as devices
from exa_train import models, optim, rendezvous, yardstick
from exa_train.chronicle import Chronicle
from exa_train.data.reader import TokenSplit
from exa_train.device import Device
from exa_train.faults import LaunchFailed
from exa_train.feed import Feed
from exa_train.loop import Speed, Trainer
from exa_train.outside import Ear
from exa_train.parallel import Engine, spread
from exa_train.plan import Life, Plan, Rank
from exa_train.pulse import Pulse
from exa_train.rise import Rise


def trainer(rise: Rise, plan: Plan, life: Life) -> Trainer:
    """Collective. Raises LaunchFailed, and NotFound, Damaged or Invalid for the data."""
    me = life.ranks[rise.rank]
    pulse = Pulse(me.scratch, rise.rank)
    pulse.beat("start", 0)
    devices.set_up(plan.train.threads)
    here = devices.pick("cpu", me.local_rank)
    rise.say(f"torch {torch.__version__} is loaded")
    train_split, held_out = splits(plan, me)
    rise.say(f"data: {len(train_split)} training windows, {len(held_out)} held out")
    rendezvous.meet(rise.comm, here.backend)
    rise.say(f"ranks have met over {here.backend}")
    engine, optimizer = model(plan, here)
    rise.say(f"the model is built under {plan.parallel.engine}")
    chronicle = Chronicle(life, rise.rank, rise.started)
    if rise.rank == 0:
        chronicle.tell("baselines", **yardstick.baselines(plan, life, me.data_dir, held_out))
    ear = Ear(life, rise.rank)
    ear.listen()
    return Trainer(
        plan=plan,
        life=life,
        rank=rise.rank,
        group=dist.new_group(backend="gloo", timeout=rendezvous.TIMEOUT),
        saving=dist.new_group(backend="gloo", timeout=rendezvous.TIMEOUT),
        device=here,
        engine=engine,
        optimizer=optimizer,
        feed=Feed(train_split, plan, rank=rise.rank, device=here.torch),
        held_out=held_out,
        ear=ear,
        pulse=pulse,
        chronicle=chronicle,
        speed=speed(rise, plan, here),
    )


def splits(plan: Plan, me: Rank) -> tuple[TokenSplit, TokenSplit]:
    """Training and held-out windows of this rank's copy of the data."""
    train, held_out = (
        TokenSplit(me.data_dir, name, plan.train.seq_len) for name in ("train", "heldout")
    )
    if train.manifest.data_id != plan.data_id:
        raise LaunchFailed(
            f"the data is {train.manifest.data_id}, but the plan was made for {plan.data_id}",
            where=str(me.data_dir),
            hint="stage the data of the plan again, or submit a new run for the other data",
        )
    return train, held_out


def model(plan: Plan, here: Device) -> tuple[Engine, torch.optim.AdamW]:
    """The model spread over all ranks, with initial weights and an optimizer."""
    with torch.device("meta"):
        whole = models.build(plan.model)
    looked_up = optim.embeddings(whole)
    if plan.train.compile:
        for block in cast("nn.ModuleList", whole.blocks):
            block.compile()
    mesh = init_device_mesh(here.kind, (plan.parallel.world,), mesh_dim_names=("data",))
    engine = spread(
        whole,
        plan.parallel.engine,
        mesh,
        rounds=plan.rounds,
        device=here.torch,
        seed=plan.train.seed,
    )
    return engine, optim.adamw(engine.params, looked_up, plan.train)


def speed(rise: Rise, plan: Plan, here: Device) -> Speed:
    """What utilisation is stated against, summed over ranks. Collective."""
    flops = families.family_of(plan.model).flops(plan.model, plan.train.seq_len).training
    products = devices.measured_peaks(here, plan.train.precision)
    measured = max(products.values())
    core = devices.believable(
        devices.core_peak(Path("/proc/cpuinfo").read_text(), plan.train.precision),
        measured,
        plan.train.threads,
    )
    every = rise.comm.allgather((measured, core.flops))
    cores = [one * plan.train.threads for _, one in every if one is not None]
    peaks = {
        "measured": sum(one for one, _ in every),
        "core": sum(cores) if len(cores) == len(every) else None,
    }
    rise.say(
        f"{flops / 1e6:.1f} MFLOP a token; matmul peak {peaks['measured'] / 1e9:.0f} GFLOP/s over "
        f"{len(every)} ranks (measured); core peak: {core.why}"
    )
    if measured > products[plan.train.precision]:
        rise.say(devices.slower_words(products))
    return Speed(flops, peaks)
