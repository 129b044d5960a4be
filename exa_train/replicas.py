"""Ranks that hold the same tensors must hold the same bits: compare, judge, repair.

Which ranks those are follows from how tensors are spread: all of them under ddp, none under
fsdp2 over one mesh dimension, those with the same shards where a mesh has a replicating one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from exa_train.checkpoint.tensors import flat, raw
from exa_train.parallel.local import local

_MASK = (1 << 64) - 1
_WORDS = 1 << 22
"""Words that a device sums up at a time; each takes 24 bytes meanwhile."""


@dataclass(frozen=True)
class Report:
    """What a rank says of its state: which part of the whole it is, its bits, its soundness."""

    part: int
    digest: int
    sound: bool


@dataclass(frozen=True)
class Finding:
    """What reports come to: diverged rank → the rank it is repaired from, and ranks that no
    other can vouch for."""

    repairs: dict[int, int]
    lost: tuple[int, ...]

    @property
    def well(self) -> bool:
        return not (self.repairs or self.lost)


def judge(reports: Sequence[Report]) -> Finding:
    """Who differs from whom, and who is right. Pure.

    Truth table, for each group of ranks that hold the same part; every row is a test:

    | the group | then |
    |---|---|
    | all sound and alike | well |
    | more than half of the sound ranks are alike | the others are repaired from the first of them |
    | no such majority, or no sound rank | lost: nobody can tell which is right |

    A rank alone with its part is well if it is sound, and else lost.
    """
    repairs: dict[int, int] = {}
    lost: list[int] = []
    for group in groups([report.part for report in reports]):
        right = _majority([reports[rank] for rank in group])
        if right is None:
            lost += group
            continue
        alike = [r for r in group if reports[r].digest == right and reports[r].sound]
        repairs |= {rank: alike[0] for rank in group if rank not in alike}
    return Finding(repairs, tuple(sorted(lost)))


def groups(parts: Sequence[int]) -> list[list[int]]:
    """Ranks by the part they hold. Pure."""
    held: dict[int, list[int]] = {}
    for rank, part in enumerate(parts):
        held.setdefault(part, []).append(rank)
    return list(held.values())


def _majority(reports: Sequence[Report]) -> int | None:
    """The digest of more than half of the sound ones."""
    votes = Counter(report.digest for report in reports if report.sound)
    ((digest, count),) = votes.most_common(1) or [(0, 0)]
    return digest if 2 * count > votes.total() else None


def part_of(found: Mapping[str, Tensor]) -> int:
    """A number for which part of a state this rank holds: equal on ranks that hold the same."""
    places = [(name, *_place(tensor)) for name, tensor in found.items()]
    return xxhash.xxh3_64_intdigest(repr(places).encode())


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where on its mesh a tensor's part lies; copies lie at the same place."""
    if not isinstance(tensor, DTensor):
        return ()
    mesh = tensor.device_mesh
    at: Sequence[int] = mesh.get_coordinate() or ()
    split = [not placement.is_replicate() for placement in tensor.placements]
    return tuple(mesh.shape), [c if cut else None for c, cut in zip(at, split, strict=True)]


def digests(found: Mapping[str, Tensor]) -> dict[str, int]:
    """A checksum of this rank's part of each tensor."""
    return {name: checksum(local(tensor)) for name, tensor in found.items()}


def digest_of(each: Mapping[str, int]) -> int:
    """One number for all of them."""
    return xxhash.xxh3_64_intdigest(b"".join(one.to_bytes(8, "little") for one in each.values()))


def checksum(tensor: Tensor) -> int:
    """64 bits of a tensor's bytes: xxh3 in host memory, else `weighed` where the tensor is."""
    if tensor.device.type != "cpu":
        return weighed(tensor)
    return xxhash.xxh3_64_intdigest(raw(flat(tensor)))


def weighed(tensor: Tensor) -> int:
    """Σ (2i+1)·wordᵢ mod 2^64 over the bytes as 32-bit words, on the tensor's own device.

    An odd factor loses no bit of its word, so any change within one word shows; two words that
    changed places show too, since (x-y)·2(i-j) is no multiple of 2^64 for 32-bit x and y. Integer
    sums do not depend on the order in which a device adds.
    """
    octets = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    words = F.pad(octets, (0, -octets.numel() % 4)).view(torch.int32)
    total = 0
    for at in range(0, words.numel(), _WORDS):
        piece = words[at : at + _WORDS].long()
        factors = torch.arange(at, at + piece.numel(), device=piece.device).mul_(2).add_(1)
        total += int((piece * factors).sum())
    return total & _MASK


def differing(
    every: Sequence[Mapping[str, int]], reports: Sequence[Report], finding: Finding
) -> dict[int, list[str]]:
    """Names of tensors that are not as they should be, by rank. Pure.

    Of a rank to repair those that its source has otherwise; of a group without a majority
    those that are not the same on all of it.
    """
    found = {
        rank: [name for name, one in every[rank].items() if one != every[source][name]]
        for rank, source in finding.repairs.items()
    }
    parts = [report.part for report in reports]
    for group in groups(parts):
        if group[0] in finding.lost:
            names = [n for n in every[group[0]] if len({every[rank][n] for rank in group}) > 1]
            found |= dict.fromkeys(group, names)
    return found


@torch.no_grad()
def repair(
    found: Mapping[str, Tensor],
    finding: Finding,
    names: Mapping[int, Sequence[str]],
    rank: int,
    group: dist.ProcessGroup | None,
) -> None:
    """Send what differs from each healthy rank to those it repairs, over host memory.

    Args:
        names: tensors to send, by the rank that is repaired.
        rank: this one's, in ``group``: a gloo group of all ranks.
    """
    for ill, source in sorted(finding.repairs.items()):
        for name in names[ill]:
            if rank == source:
                dist.send(_octets(flat(local(found[name]))), dst=ill, group=group)
            elif rank == ill:
                part = local(found[name])
                received = torch.empty(part.shape, dtype=part.dtype)
                dist.recv(_octets(received.reshape(-1)), src=source, group=group)
                part.copy_(received)


def _octets(values: Tensor) -> Tensor:
    return values.view(torch.uint8)
