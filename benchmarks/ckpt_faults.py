"""Damage to checkpoints: what exa makes of it beside torch DCP, counted in one run.

The same state is written three times: as a checkpoint of exa with parity, as a torch DCP
directory, and as a copy of that with a sidecar of exa's. Each trial damages one file of each:
a flipped bit, a zeroed page, a cut-off tail, a missing file, the file of another step. Then

    exa            `exa ckpt verify` and `repair` on exa's own checkpoint
    DCP            torch loads the DCP directory: an exception counts as detected
    DCP, CRCs      `exa ckpt verify` on that directory as it is, without a sidecar
    DCP, protected `exa ckpt verify` and `repair` on the copy with the sidecar

Detected: reported at all. Located: the damaged file was named, for flips and pages also a range
of bytes that holds the damage. Repaired: afterwards every file is bit for bit what was written.
Silently wrong: torch returned tensors that are not what was saved. Everything is seeded.

    python benchmarks/ckpt_faults.py --flips 200 --mb 20
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException

from exa_cli.checkpoint import folder, manifest, unprotected
from exa_cli.checkpoint.datafile import Identity
from exa_cli.checkpoint.manifest import Manifest, Placed, Tensor
from exa_cli.checkpoint.parity import protect
from exa_cli.checkpoint.repair import repair
from exa_cli.checkpoint.verdict import Damage
from exa_cli.checkpoint.verify import verify
from exa_cli.checkpoint.weigh import verify_foreign
from exa_cli.checkpoint.write import DataFileWriter

WRITERS = 4
COLUMNS = ("exa", "DCP", "DCP, CRCs", "DCP, protected")
PAGE = 4096


def main() -> None:
    args = _arguments()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.dir, prefix="exa-faults-") as place:
        bench = _Bench(Path(place), args.mb, args.seed)
        trials = {"flipped bit": args.flips, "zeroed page": args.others, "cut tail": args.others}
        for kind, count in {**trials, "missing file": WRITERS, "stale file": WRITERS}.items():
            for number in range(count):
                bench.trial(kind, number)
    if args.json:
        print(json.dumps({"schema": 1, "seed": args.seed, "mb": args.mb, **bench.summary()}))
    else:
        _table(bench.summary(), args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=200, help="random single-bit flips")
    parser.add_argument("--others", type=int, default=20, help="zeroed pages, and cut tails")
    parser.add_argument("--mb", type=int, default=20, help="state size in MB (1e6 bytes)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", default="/dev/shm", help="where to write")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def state_of(seed: int, megabytes: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = max(WRITERS, megabytes * 1_000_000 // (8 * 4 * 1024))
    return {f"w{i}": torch.randn(rows, 1024, generator=generator) for i in range(8)}


def write_exa(root: Path, state: dict[str, torch.Tensor], step: int, generation: str) -> Path:
    """What WRITERS ranks would write: each the same share of every tensor's rows."""
    directory = folder.begin(root, step, generation, epoch=1)
    placed: dict[str, list[Placed]] = {name: [] for name in state}
    files = []
    for writer in range(WRITERS):
        file = DataFileWriter(directory, Identity(generation, step, writer), writer)
        for name, value in state.items():
            low, high = (value.shape[0] * w // WRITERS for w in (writer, writer + 1))
            part = memoryview(value[low:high].contiguous().numpy()).cast("B")
            piece = file.append(name, "F32", (low, 0), (high - low, value.shape[1]), part)
            placed[name].append(Placed.of(writer, piece))
        files.append(file.commit())
    tensors = {n: Tensor("F32", tuple(v.shape), tuple(placed[n]), None) for n, v in state.items()}
    blank = Manifest(step, generation, 1, "-", {"world": WRITERS}, (), {}, {}, {})
    manifest.commit(directory, replace(blank, files=tuple(files), tensors=tensors))
    return directory


def write_dcp(directory: Path, state: dict[str, torch.Tensor]) -> Path:
    dcp.save(
        state,
        storage_writer=FileSystemWriter(directory, thread_count=WRITERS),
        no_dist=True,
    )
    return directory


@dataclass
class Count:
    """Of the trials of one kind in one column. None where a column does not do that."""

    trials: int = 0
    detected: int = 0
    located: int | None = 0
    repaired: int | None = 0
    silently_wrong: int | None = None


@dataclass(frozen=True)
class Hit:
    """One damage to one file: which bytes of it, if it is about bytes."""

    name: str
    bytes: range | None


@dataclass
class _Bench:
    place: Path
    megabytes: int
    seed: int
    counts: dict[str, dict[str, Count]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.state = state_of(self.seed, self.megabytes)
        other = state_of(self.seed + 1, self.megabytes)
        self.exa = write_exa(self.place / "exa", self.state, 10, "0123abcd")
        self.exa_stale = write_exa(self.place / "exa-stale", other, 5, "99999999")
        self.dcp = write_dcp(self.place / "dcp", self.state)
        self.dcp_stale = write_dcp(self.place / "dcp-stale", other)
        self.guarded = Path(shutil.copytree(self.dcp, self.place / "guarded"))
        protect(self.exa)
        protect(self.guarded)
        self.whole = {d: snapshot(d) for d in (self.exa, self.dcp, self.guarded)}

    def trial(self, kind: str, number: int) -> None:
        draw = self.chance.random()
        exa_hit = damage(self.exa, "*.exa", kind, number, random.Random(draw), self.exa_stale)
        self._ours("exa", kind, self.exa, exa_hit, verify)
        for directory in (self.dcp, self.guarded):
            hit = damage(directory, "*.distcp", kind, number, random.Random(draw), self.dcp_stale)
        self._by_torch(kind)
        self._by_crc(kind, hit)
        self._ours("DCP, protected", kind, self.guarded, hit, verify_foreign)
        restore(self.dcp, self.whole[self.dcp])

    def _count(self, kind: str, column: str) -> Count:
        count = self.counts.setdefault(kind, {c: Count() for c in COLUMNS})[column]
        count.trials += 1
        return count

    def _ours(
        self, column: str, kind: str, directory: Path, hit: Hit, look: Callable[[Path], Any]
    ) -> None:
        count = self._count(kind, column)
        report = self._timed(f"{column}: verify", lambda: look(directory))
        count.detected += report.verdict != "good"
        count.located = (count.located or 0) + located(report.damaged, hit)
        if report.verdict == "repairable":
            self._timed(f"{column}: repair", lambda: repair(directory))
        same = snapshot(directory) == self.whole[directory]
        count.repaired = (count.repaired or 0) + same
        if not same:
            restore(directory, self.whole[directory])

    def _timed(self, name: str, action: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = action()
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        return result

    def _by_torch(self, kind: str) -> None:
        count = self._count(kind, "DCP")
        count.located = count.repaired = None
        loaded = {name: torch.zeros_like(value) for name, value in self.state.items()}
        wrong = count.silently_wrong or 0
        try:
            dcp.load(loaded, storage_reader=FileSystemReader(self.dcp), no_dist=True)
        except (Exception, CheckpointException):  # noqa: BLE001 - it noticed
            count.detected += 1
        else:
            wrong += any(not torch.equal(loaded[n], v) for n, v in self.state.items())
        count.silently_wrong = wrong

    def _by_crc(self, kind: str, hit: Hit) -> None:
        count = self._count(kind, "DCP, CRCs")
        names = sorted(path.name for path in self.dcp.iterdir())
        found = self._timed("DCP, CRCs: verify", lambda: unprotected.check(self.dcp, names))
        count.detected += bool(found.damaged)
        count.located = (count.located or 0) + located(found.damaged, hit)
        count.repaired = None

    def summary(self) -> dict[str, Any]:
        counts = {k: {c: vars(n) for c, n in of.items()} for k, of in self.counts.items()}
        size = sum(len(data) for name, data in self.whole[self.exa].items() if "data-" in name)
        medians = {name: statistics.median(times) for name, times in self.seconds.items()}
        return {"counts": counts, "median_seconds": medians, "exa_data_bytes": size}


def snapshot(directory: Path) -> dict[str, bytes]:
    """Every file but the log of repairs."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in found
        if path.name != "REPAIR.jsonl"
    }


def restore(directory: Path, whole: dict[str, bytes]) -> None:
    for name, data in whole.items():
        path = directory / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def damage(
    directory: Path, pattern: str, kind: str, number: int, chance: random.Random, stale: Path
) -> Hit:
    """Damage one data file, chosen by its size, or each in turn where a whole file is hit."""
    files = sorted(path for path in directory.glob(pattern))
    sizes = [path.stat().st_size for path in files]
    path = chance.choices(files, weights=sizes)[0]
    data = bytearray(path.read_bytes())
    if kind in ("missing file", "stale file"):
        path = files[number]
        path.unlink()
        if kind == "stale file":
            shutil.copy(stale / path.name, path)
        return Hit(path.name, None)
    if kind == "cut tail":
        os.truncate(path, chance.randrange(len(data)))
        return Hit(path.name, None)
    if kind == "flipped bit":
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
        hit = range(at, at + 1)
    else:
        at = chance.randrange(len(data) // PAGE) * PAGE
        data[at : at + PAGE] = bytes(PAGE)
        hit = range(at, at + PAGE)
    path.write_bytes(data)
    return Hit(path.name, hit)


_BYTES = re.compile(r"bytes (\d+)-(\d+)")


def located(found: tuple[Damage, ...], hit: Hit) -> bool:
    """Whether the damaged file was named, and of damage inside it a range with all of it; a
    footer or a zip directory that is named as a whole counts when it is what was hit."""
    here = [one.reason for one in found if one.file == hit.name]
    if hit.bytes is None or not here:
        return bool(here)
    spans = [tuple(map(int, m.groups())) for one in here for m in _BYTES.finditer(one)]
    inside = [low for low, high in spans if low <= hit.bytes[-1] and hit.bytes[0] <= high]
    return bool(inside) or any("footer" in one or "trailer" in one for one in here)


def _table(found: dict[str, Any], args: argparse.Namespace) -> None:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    size = found["exa_data_bytes"] / 1e6
    print(
        f"{size:.1f} MB in {WRITERS} files, seed {args.seed}, in {args.dir}; torch "
        f"{torch.__version__}, {os.cpu_count()} CPUs, load {load}",
        file=sys.stderr,
    )
    heads = ("trials", "detected", "located", "repaired", "silently wrong")
    print(f"{'damage':<14}{'':<16}" + "".join(f"{head:>15}" for head in heads))
    for kind, columns in found["counts"].items():
        for column, count in columns.items():
            cells = ("-" if n is None else str(n) for n in count.values())
            print(f"{kind:<14}{column:<16}" + "".join(f"{cell:>15}" for cell in cells))
    for name, seconds in found["median_seconds"].items():
        print(f"{name:<26}{seconds * 1e3:>9.1f} ms (median)")


if __name__ == "__main__":
    main()
