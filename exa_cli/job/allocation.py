"""What one life has to work with: its plan, site, nodes, folders and time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import Damaged
from exa_cli.base.files import read_json
from exa_cli.job import layout
from exa_cli.job.watch import Limits
from exa_cli.runs.rundir import RunDir
from exa_cli.sites.load import read_frozen
from exa_cli.sites.paths import own_folder
from exa_cli.sites.schema import SiteProfile
from exa_cli.staging.copy import Item, Staged, stage


@dataclass(frozen=True)
class Allocation:
    """One life's surroundings. ``base`` is the node-local folder, below which each node has one."""

    run: RunDir
    attempt: str
    life: int
    plan: dict[str, Any]
    request: dict[str, Any]
    site: SiteProfile
    nodes: tuple[str, ...]
    base: Path
    began: float

    @property
    def folder(self) -> Path:
        return self.run.life(self.attempt, self.life)

    @property
    def world(self) -> int:
        world: int = self.plan["parallel"]["world"]
        return world

    @property
    def tag(self) -> str:
        return self.run.tag(self.attempt)

    @property
    def ranks(self) -> list[dict[str, Any]]:
        return layout.place_ranks(
            self.plan, list(self.nodes), self.base, self.run, self.attempt, self.life
        )

    def scratch(self, node: str) -> Path:
        return layout.scratch(self.base, node, self.run, self.attempt, self.life)

    @property
    def segments(self) -> Path:
        """The record of shared memory this life was seen to use on the first node."""
        return self.scratch(self.nodes[0]) / "segments.json"

    def older_scratch(self) -> Iterator[Path]:
        """Scratch folders of this run's other lives on this machine."""
        own = {self.scratch(node) for node in self.nodes}
        for node in self.nodes:
            folder = self.scratch(node).parent
            if folder.is_dir():
                yield from (path for path in folder.iterdir() if path not in own)

    def limits(self) -> Limits:
        """When the scheduler kills, and when to save and stop before that."""
        end = self.began + self.request["walltime_s"]
        return Limits(end, max(self.began, end - self.plan["policy"]["stop_before_s"]))

    def stage(self, node: str) -> Staged:
        """Put the run's data on a node. Raises Damaged or Invalid."""
        target = layout.data_folder(self.base, node, self.plan["data"]["data_id"])
        return stage(Path(self.plan["data"]["dir"]), target, self.data_items())

    def data_items(self) -> tuple[Item, ...]:
        """What is staged of the prepared data."""
        return data_items(Path(self.plan["data"]["dir"]))


def data_items(folder: Path) -> tuple[Item, ...]:
    """What ranks read of prepared data: its shards, then its manifest. Raises Damaged."""
    from exa_cli.staging.copy import checksum

    path = folder / "manifest.json"
    try:
        manifest = read_json(path)
        items = [Item(f["file"], f["bytes"], f["xxh3_128"]) for f in _shards(manifest)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"the data's manifest cannot be read: {error}",
            where=str(path),
            hint="prepare the data again with exa data prepare",
        ) from error
    return (*items, Item(path.name, path.stat().st_size, checksum(path)))


def _shards(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [shard for split in manifest["splits"].values() for shard in split["shards"]]


def open_allocation(run: RunDir, attempt: str, life: int) -> Allocation:
    """Read the frozen files and find the nodes this life was given."""
    plan, request = run.plan(), run.request(attempt)
    site = read_frozen(run.path / "site.toml")
    count = plan["parallel"]["nodes"]
    return Allocation(
        run=run,
        attempt=attempt,
        life=life,
        plan=plan,
        request=request,
        site=site,
        nodes=tuple(f"n{number}" for number in range(count)),
        base=own_folder(site.local_storage.path, tempfile.gettempdir()),
        began=clock.now(),
    )
