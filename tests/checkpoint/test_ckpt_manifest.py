from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ckpt_maker import blank, make, random_tensor, two_writers
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.datafile import FileRecord
from exa_cli.checkpoint.manifest import Manifest, Placed, Stats, Tensor, decode, encode
from exa_cli.checkpoint.names import directory_name, parse_directory

NAME = "step-00000010.0123abcd"


def _small() -> Manifest:
    placed = Placed(0, (0,), (3,), 0, 12, "raw")
    tensor = Tensor("F32", (3,), (placed,), Stats(3, 2, -1.5, 2.25, 1.875))
    file = FileRecord("data-000000.exa", 0, 700, 12, "0" * 32)
    return replace(blank(10, "0123abcd"), files=(file,), tensors={"model.a": tensor})


def test_every_flipped_bit_of_a_manifest_is_found() -> None:
    data = encode(_small())
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            decode(bytes(changed), NAME)


def test_a_truncated_or_doubled_manifest_is_found() -> None:
    data = encode(_small())
    for broken in (b"", data[: len(data) // 2], data[:-1], data + data, data + b"\n", b"[1]"):
        with pytest.raises(Damaged):
            decode(broken, NAME)


def test_another_spelling_of_the_same_content_is_refused() -> None:
    record = json.loads(encode(_small()))
    with pytest.raises(Damaged, match="seal"):
        decode(json.dumps(record, indent=1).encode(), NAME)


def test_a_directory_under_another_name_does_not_pass_for_that_step() -> None:
    with pytest.raises(Damaged, match="belongs to step 10, generation 0123abcd"):
        decode(encode(_small()), "step-00000011.0123abcd")


def _resealed(**changes: Any) -> bytes:
    """What a careless tool or an attacker would write: wrong content, right seal."""
    record = json.loads(encode(_small()))
    del record["seal"]
    record.update(changes)
    return manifests._canonical({**record, "seal": manifests._seal(record)})


def _tensor_with(**changes: Any) -> dict[str, Any]:
    piece = {"writer": 0, "start": [0], "size": [3], "at": 0, "bytes": 12, "codec": "raw"}
    entry: dict[str, Any] = {"dtype": "F32", "shape": [3], "slices": [piece], "stats": None}
    return {
        "tensors": {"a": {**entry, **changes, "slices": [{**piece, **changes.pop("piece", {})}]}}
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 2}, "schema 2"),
        ({"files": [{"name": "../../etc/passwd", "writer": 0}]}, "contradicts itself"),
        (
            {"files": [{"name": "../x", "writer": 0, "bytes": 1, "data_bytes": 12, "root": ""}]},
            "no name for writer 0",
        ),
        ({"files": []}, "contradicts itself"),
        ({"epoch_": 1}, "contradicts itself"),
    ],
)
def test_a_sealed_manifest_that_makes_no_sense_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Damaged, match=reason):
        decode(_resealed(**changes), NAME)


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        ({"start": [1]}, "outside its shape"),
        ({"start": [-1]}, "outside its shape"),
        ({"start": [0, 0]}, "outside its shape"),
        ({"at": 4}, "outside its file"),
        ({"at": -4}, "outside its file"),
        ({"size": [2]}, "has 12 bytes"),
        ({"size": [2], "bytes": 8}, "do not add up"),
        ({"codec": "zstd"}, "unknown codec 'zstd'"),
        ({"writer": 1}, "contradicts itself"),
    ],
)
def test_slices_that_are_no_part_of_their_tensor_are_refused(
    piece: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Damaged, match=reason):
        decode(_resealed(**_tensor_with(piece=piece)), NAME)


def test_what_was_committed_is_what_is_read(tmp_path: Path) -> None:
    directory = make(tmp_path, two_writers())
    found = manifests.read(directory)
    assert found is not None
    assert decode(encode(found), directory.name) == found
    assert found.meta == {"data": {"position": 7}}
    assert found.bytes == sum(path.stat().st_size for path in directory.glob("data-*"))


def test_no_manifest_means_not_committed_and_is_no_error(tmp_path: Path) -> None:
    directory = make(tmp_path, {"a": random_tensor(1, (3,))}, commit=False)
    assert manifests.read(directory) is None


def test_nonfinite_tensors_are_named() -> None:
    assert _small().nonfinite == ["model.a"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_json_survives_in_meta(meta: dict[str, Any]) -> None:
    whole = replace(_small(), meta=meta)
    assert decode(encode(whole), NAME) == whole


@given(st.integers(0, 10**12), st.text("0123456789abcdef", min_size=4, max_size=32))
def test_directory_names_go_both_ways(step: int, generation: str) -> None:
    assert parse_directory(directory_name(step, generation)) == (step, generation)


@pytest.mark.parametrize(
    "name", ["step-1.abcd", "step-00000001", "step-00000001.xyz1", "epochs", "latest", "../etc", ""]
)
def test_other_names_are_no_checkpoints(name: str) -> None:
    assert parse_directory(name) is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b'{"seal":"x","a":NaN}\n', b'{"seal":1}', b"\xff"]
)
def test_what_is_no_sealed_record_at_all_is_damage_and_no_crash(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode(data, "step-00000010.aaaaaaaa")
