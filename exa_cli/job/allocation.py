"""What one life has to work with: its plan, site, nodes, folders and time."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Damaged, Invalid
from exa_cli.base.files import read_json
from exa_cli.job import layout
from exa_cli.job.node import Post
from exa_cli.job.watch import Limits
from exa_cli.plan import relayout
from exa_cli.policy import suspects
from exa_cli.runs import journal
from exa_cli.runs.rundir import RunDir
from exa_cli.runs.state import place
from exa_cli.schedulers import inside
from exa_cli.sites.binding import choose
from exa_cli.sites.detect import cpus_per_rank
from exa_cli.sites.load import read_frozen
from exa_cli.sites.machine import Seat
from exa_cli.sites.paths import own_folder
from exa_cli.sites.schema import SiteProfile
from exa_cli.staging.copy import Item


@dataclass(frozen=True)
class Allocation:
    """One life's surroundings.

    Attributes:
        nodes: names, in the order in which ranks fill them.
        spares: the allocation's other nodes that are good for another life.
        base: the node-local folder of this user, the same path on every node; below it, each
            node has one of its own.
        end: when the batch system ends the job, in seconds since the epoch.
    """

    run: RunDir
    attempt: str
    life: int
    plan: dict[str, Any]
    request: dict[str, Any]
    site: SiteProfile
    nodes: tuple[str, ...]
    spares: tuple[str, ...]
    base: Path
    began: float
    end: float

    @property
    def folder(self) -> Path:
        return self.run.life(self.attempt, self.life)

    @property
    def world(self) -> int:
        world: int = self.plan["parallel"]["world"]
        return world

    @property
    def layout(self) -> dict[str, int]:
        """What of the plan depends on how many nodes there are now; ranks read it so."""
        return {"world": self.world, "microbatch": self.plan["train"]["microbatch"]}

    @property
    def own_program(self) -> bool:
        """Whether a program of the user's own runs in place of the trainer."""
        return "program" in self.plan

    @property
    def tag(self) -> str:
        return self.run.tag(self.attempt)

    @property
    def ranks(self) -> list[dict[str, Any]]:
        placed = layout.place_ranks(
            self.plan, list(self.nodes), self.base, self.run, self.attempt, self.life
        )
        return layout.bound(placed, self.seats, self.site.accelerator.select)

    @property
    def places(self) -> tuple[str, ...] | None:
        """The node of each rank; None where all nodes are one machine and cannot be told apart."""
        return None if self.site.node.virtual else tuple(rank["node"] for rank in self.ranks)

    @property
    def cpus_per_rank(self) -> int | None:
        """CPUs of a rank as the batch system counts them, None when the site does not say."""
        return cpus_per_rank(self.site, self.plan["parallel"]["ranks_per_node"])

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Where each local rank runs; none where ranks are not bound."""
        name = self.plan["parallel"].get("binding")
        ranks = self.plan["parallel"]["ranks_per_node"]
        return choose(self.site.binding, ranks, name).seats if name else ()

    def can_lose(self, count: int) -> bool:
        """Whether another life has the nodes it needs when so many of this one's are lost."""
        left = len(self.nodes) + len(self.spares) - count
        shrinks = self.plan["policy"].get("shrink") and relayout.shrunk(self.plan, left)
        return left >= len(self.nodes) or bool(left and shrinks)

    def limits(self, needed_s: float = 0.0) -> Limits:
        """When the scheduler kills, and when to save and stop before that: as the plan says, and
        earlier where that takes ``needed_s`` seconds and thus longer."""
        stop_at = self.end - max(self.plan["policy"]["stop_before_s"], needed_s)
        return Limits(self.end, max(self.began, stop_at))

    def posts(self) -> tuple[Post, ...]:
        """Every node's part. Raises Damaged when the data's manifest cannot be read."""
        data, ranks = self.plan.get("data"), self.ranks
        source = Path(data["dir"]) if data else self.run.path
        items = data_items(source) if data else ()
        kept_as = data["data_id"] if data else "none"
        return tuple(
            Post(
                node=node,
                run_dir=self.run.path,
                base=self.base,
                scratch=layout.scratch(self.base, node, self.run, self.attempt, self.life),
                ranks=tuple(rank["rank"] for rank in ranks if rank["node"] == node),
                source=source,
                target=layout.data_folder(self.base, node, kept_as),
                items=items,
            )
            for node in self.nodes
        )


def data_items(folder: Path) -> tuple[Item, ...]:
    """What ranks read of prepared data: its shards, then its manifest. Raises Damaged."""
    from exa_cli.staging.copy import checksum

    path = folder / "manifest.json"
    try:
        manifest = read_json(path)
        items = [Item(f["file"], f["bytes"], f["xxh3_128"]) for f in _shards(manifest)]
        return (*items, Item(path.name, path.stat().st_size, checksum(path)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"the data's manifest cannot be read: {error}",
            where=str(path),
            hint="prepare the data again with exa data prepare",
        ) from error


def _shards(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [shard for split in manifest["splits"].values() for shard in split["shards"]]


def open_allocation(run: RunDir, attempt: str, life: int) -> Allocation:
    """Read the frozen files; find the nodes and the time this life was given.

    Raises Damaged, or Invalid when the allocation is not what the plan wants.
    """
    plan, request, began = run.plan(), run.request(attempt), clock.now()
    site = read_frozen(run.path / "site.toml")
    kind = site.scheduler.kind
    plan = relayout.relaid(plan, request.get("layout", plan["parallel"]["nodes"]))
    named = suspects.last(_nodes(site, request["nodes"]), _avoided(run))
    good = without(named, evicted(run, attempt))
    plan = fitted(plan, good, evicted(run, attempt))
    wanted = plan["parallel"]["nodes"]
    asked = began + request["walltime_s"]
    told = inside.end(kind, os.environ, began)
    return Allocation(
        run=run,
        attempt=attempt,
        life=life,
        plan=plan,
        request=request,
        site=site,
        nodes=good[:wanted],
        spares=good[wanted:],
        base=own_folder(site.local_storage.path, tempfile.gettempdir()),
        began=began,
        end=asked if told is None else min(asked, told),
    )


def _avoided(run: RunDir) -> list[str]:
    """Nodes that the run has lost not long ago, in other jobs too."""
    return [each.node for each in suspects.suspects(journal.read(run.path), clock.now())]


def evicted(run: RunDir, attempt: str) -> tuple[str, ...]:
    """Nodes that earlier lives of this attempt lost; they take no part in a later one."""
    ends = [e for e in journal.read(run.path) if e.kind == "ended"]
    mine = [e for e in ends if (where := place(e)) and where[0] == attempt]
    return tuple(dict.fromkeys(node for e in mine for node in e.fields.get("lost", ())))


def without(nodes: tuple[str, ...], lost: tuple[str, ...]) -> tuple[str, ...]:
    """The nodes that are left. Pure."""
    return tuple(node for node in nodes if node not in lost)


def fitted(plan: dict[str, Any], good: tuple[str, ...], lost: tuple[str, ...]) -> dict[str, Any]:
    """The plan as the nodes that are left allow it. Pure. Raises Invalid when they do not."""
    wanted = plan["parallel"]["nodes"]
    if len(good) >= wanted:
        return plan
    smaller = relayout.shrunk(plan, len(good)) if plan["policy"].get("shrink") else None
    if smaller is None:
        raise Invalid(
            f"{len(good)} good nodes are left in the allocation, the plan wants {wanted}",
            where=f"lost: {', '.join(lost)}",
            hint="resources.spares asks for more nodes than the plan needs; policy.shrink = true "
            "lets a run go on with fewer",
        )
    return smaller


def _nodes(site: SiteProfile, count: int) -> tuple[str, ...]:
    if site.node.virtual:
        return tuple(f"n{number}" for number in range(count))
    if site.launcher.agents is None and count > 1:
        raise Invalid(
            f"nothing starts an agent on each of {count} nodes",
            where="launcher.agents in the site's profile",
            hint='one program a node: agents = ["mpiexec", "-n", "{ranks}", …]',
        )
    return inside.nodes(site.scheduler.kind, os.environ, count)
