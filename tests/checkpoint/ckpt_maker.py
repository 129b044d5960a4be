"""Builds checkpoints for tests, without torch: what the ranks of a run would have written."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from exa_cli.checkpoint import folder, manifest
from exa_cli.checkpoint.boxes import runs
from exa_cli.checkpoint.datafile import FileRecord, Identity
from exa_cli.checkpoint.dtypes import ITEM_BYTES
from exa_cli.checkpoint.manifest import Manifest, Placed, Tensor
from exa_cli.checkpoint.write import DataFileWriter

Box = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Made:
    """A tensor to write: ``boxes[w]`` is the part of writer w, None when it has none."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    boxes: Sequence[Box | None] = field(default=())

    def part(self, box: Box) -> bytes:
        item = ITEM_BYTES[self.dtype]
        spans = runs(self.shape, *box)
        return b"".join(self.data[at * item : (at + n) * item] for at, n in spans)


def random_tensor(
    seed: int, shape: tuple[int, ...], dtype: str = "F32", boxes: Sequence[Box | None] = ()
) -> Made:
    """Random bytes; whole and written by writer 0 unless ``boxes`` says otherwise."""
    data = random.Random(seed).randbytes(math.prod(shape) * ITEM_BYTES[dtype])
    return Made(dtype, shape, data, boxes or (((0,) * len(shape), shape),))


def write_files(
    directory: Path, generation: str, step: int, tensors: dict[str, Made]
) -> tuple[tuple[FileRecord, ...], dict[str, Tensor]]:
    placed: dict[str, list[Placed]] = {fqn: [] for fqn in tensors}
    records = []
    for writer in range(max(len(made.boxes) for made in tensors.values())):
        file = DataFileWriter(directory, Identity(generation, step, writer), writer)
        for fqn, made in tensors.items():
            box = made.boxes[writer] if writer < len(made.boxes) else None
            if box is not None:
                data = memoryview(made.part(box))
                piece = file.append(fqn, made.dtype, box[0], box[1], data)
                placed[fqn].append(Placed.of(writer, piece))
        records.append(file.commit())
    table = {
        fqn: Tensor(made.dtype, made.shape, tuple(placed[fqn]), None)
        for fqn, made in tensors.items()
    }
    return tuple(records), table


def blank(step: int, generation: str, epoch: int = 1) -> Manifest:
    return Manifest(
        step=step,
        generation=generation,
        epoch=epoch,
        written="2026-01-02T03:04:05.678Z",
        layout={"world": 1, "meshes": []},
        files=(),
        tensors={},
        meta={"data": {"position": 7}},
        versions={"exa": "0"},
    )


def make(
    root: Path,
    tensors: dict[str, Made],
    *,
    step: int = 10,
    generation: str = "0123abcd",
    epoch: int = 1,
    commit: bool = True,
) -> Path:
    """A checkpoint directory; without its manifest unless ``commit``."""
    directory = folder.begin(root, step, generation, epoch)
    files, table = write_files(directory, generation, step, tensors)
    if commit:
        whole = replace(blank(step, generation, epoch), files=files, tensors=table)
        manifest.commit(directory, whole)
    return directory


MIB = 1 << 20


def two_writers(seed: int = 0) -> dict[str, Made]:
    """A state of two files of about 9 MiB: three chunks each, small tensors between large."""
    rows = 1152
    halves: list[Box] = [((0, 0), (rows, 2048)), ((rows, 0), (rows, 2048))]
    return {
        "model.norm": random_tensor(seed, (100,)),
        "model.big": random_tensor(seed + 1, (2 * rows, 2048), boxes=halves),
        "model.half": random_tensor(seed + 2, (33,), "BF16", boxes=(None, ((0,), (33,)))),
        "optim.step": random_tensor(seed + 3, ()),
        "model.none": Made("F32", (0, 4), b"", (None,)),
    }


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))
