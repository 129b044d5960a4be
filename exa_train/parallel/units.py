"""Which consecutive blocks are gathered together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MINIMUM_UNIT = 16 << 20
"""Bytes below which a gather is mostly latency: gloo takes about 1.6 ms for any message between
busy cores and moves 1 GB/s, so 16 MiB keeps latency under a tenth. On faster networks both
figures shrink together (20 µs, 20 GB/s: 0.4 MB), so the bound only costs some overlap there."""

KEEP_GATHERED = 1 << 30
"""Bytes of parameters up to which units stay gathered from forward to backward (ZeRO-2): below
that, the memory is cheaper than gathering every unit twice a round."""


def units(sizes: Sequence[int], minimum: int) -> list[range]:
    """Join consecutive blocks into as many units of at least ``minimum`` bytes as come in order.

    Every block is in exactly one unit; what is left over at the end joins the last unit. When
    all blocks together are smaller than ``minimum`` there are no units: they are then gathered
    with the embedding and the head, in one message.

    Args:
        sizes: bytes of each block, in the order they run.
        minimum: smallest unit worth a message of its own.
    """
    ends, held = [], 0
    for index, size in enumerate(sizes):
        held += size
        if held >= minimum:
            ends.append(index + 1)
            held = 0
    if not ends:
        return []
    ends[-1] = len(sizes)
    return [range(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def reshards(total: int) -> bool:
    """Whether ``total`` bytes of parameters are too many to stay gathered until backward."""
    return total > KEEP_GATHERED
