"""Checksums that see every change, and who is right when replicas differ."""

from __future__ import annotations

import random

import pytest
import torch

from exa_train import replicas
from exa_train.replicas import Finding, Report, differing, judge

A, B, C = (Report(0, digest, sound=True) for digest in (1, 2, 3))
ILL = Report(0, 9, sound=False)


@pytest.mark.parametrize(
    ("reports", "finding"),
    [
        ([A, A, A], Finding({}, ())),
        ([A, B, A], Finding({1: 0}, ())),
        ([B, A, A], Finding({0: 1}, ())),
        ([A, A, B, C, A], Finding({2: 0, 3: 0}, ())),
        ([A, B], Finding({}, (0, 1))),
        ([A, A, B, B], Finding({}, (0, 1, 2, 3))),
        ([A, B, C], Finding({}, (0, 1, 2))),
        ([ILL, A], Finding({0: 1}, ())),
        ([ILL, A, B], Finding({}, (0, 1, 2))),
        ([ILL, ILL], Finding({}, (0, 1))),
        ([ILL], Finding({}, (0,))),
        ([A], Finding({}, ())),
    ],
)
def test_a_majority_of_the_sound_is_right_and_nobody_else(
    reports: list[Report], finding: Finding
) -> None:
    assert judge(reports) == finding


def test_only_ranks_that_hold_the_same_part_are_compared() -> None:
    """Two groups of two shards each, as on a mesh that replicates and shards."""
    left, right = Report(10, 1, sound=True), Report(20, 2, sound=True)
    assert judge([left, right, left, right]).well
    spoilt = Report(20, 5, sound=True)
    assert judge([left, right, left, spoilt, left, right]) == Finding({3: 1}, ())
    assert judge([left, right, left, spoilt]) == Finding({}, (1, 3))


def test_the_tensors_that_differ_are_named() -> None:
    every = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 2}]
    reports = [A, B, A]
    assert differing(every, reports, judge(reports)) == {1: ["b"]}
    assert differing(every[:2], [A, B], judge([A, B])) == {0: ["b"], 1: ["b"]}


@pytest.mark.parametrize("checksum", [replicas.checksum, replicas.weighed])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_checksum_sees_every_flipped_bit_and_every_exchange(checksum, dtype) -> None:  # type: ignore[no-untyped-def]
    draw = torch.Generator().manual_seed(2)
    values = torch.randint(-1000, 1000, (257,), generator=draw).to(dtype)
    right = checksum(values)
    assert checksum(values.clone()) == right
    chance = random.Random(4)
    octets = values.view(torch.uint8)
    for _ in range(300):
        at, bit = chance.randrange(octets.numel()), 1 << chance.randrange(8)
        octets[at] ^= bit
        assert checksum(values) != right
        octets[at] ^= bit
    for _ in range(100):
        one, other = chance.sample(range(257), 2)
        if values[one] != values[other]:
            swapped = values.clone()
            swapped[[one, other]] = values[[other, one]]
            assert checksum(swapped) != right
    assert checksum(values) == right


def test_a_checksum_on_a_device_does_not_depend_on_the_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.randn(10_001)
    whole = replicas.weighed(values)
    monkeypatch.setattr(replicas, "_WORDS", 77)
    assert replicas.weighed(values) == whole
    assert 0 <= whole < 1 << 64
    assert replicas.weighed(torch.empty(0)) == 0


def test_negative_zero_is_not_zero() -> None:
    """Replicas must be the same bits, not only the same numbers."""
    zero = torch.zeros(3)
    assert replicas.checksum(zero) != replicas.checksum(-zero)
    assert replicas.weighed(zero) != replicas.weighed(-zero)


def test_plain_tensors_are_the_same_part_everywhere_and_names_belong_to_it() -> None:
    one = {"a": torch.ones(2), "b": torch.zeros(1)}
    assert replicas.part_of(one) == replicas.part_of({k: v + 1 for k, v in one.items()})
    assert replicas.part_of(one) != replicas.part_of({"a": one["a"]})
