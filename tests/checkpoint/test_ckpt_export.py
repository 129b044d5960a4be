from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from ckpt_maker import MIB, Made, flip, make, random_tensor, two_writers
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Damaged, Invalid
from exa_cli.checkpoint.convert import convert
from exa_cli.checkpoint.export import export

CONFIG = {"family": "alphaexa", "layers": 2}


def _read(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """All tensors of a safetensors file, through the library's own reader."""
    from safetensors import deserialize

    found = deserialize(path.read_bytes())
    return {n: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in found}


def _columns() -> dict[str, Made]:
    """A tensor cut by rows, one by columns, one in the middle dimension, as three ranks do."""
    return {
        "model.rows": random_tensor(
            1, (7, 5), boxes=[((0, 0), (3, 5)), ((3, 0), (3, 5)), ((6, 0), (1, 5))]
        ),
        "model.columns": random_tensor(
            2, (4, 9), "BF16", boxes=[((0, 0), (4, 3)), ((0, 3), (4, 3)), ((0, 6), (4, 3))]
        ),
        "model.middle": random_tensor(
            3, (2, 6, 3), "I64", boxes=[((0, 0, 0), (2, 4, 3)), None, ((0, 4, 0), (2, 2, 3))]
        ),
        "model.scalar": random_tensor(4, (), "F32"),
        "model.none": Made("F32", (0, 4), b"", (None,)),
        "optim.rows": random_tensor(5, (7, 5)),
    }


def test_damage_under_the_weights_stops_the_export_and_leaves_nothing(tmp_path: Path) -> None:
    directory = make(tmp_path / "checkpoints", two_writers())
    flip(directory / "data-000001.exa", 8 * 5 * MIB)
    with pytest.raises(Damaged, match="chunk 1") as raised:
        export(directory, tmp_path / "out", config=CONFIG)
    assert raised.value.where == "data-000001.exa"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_directory_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    directory = make(tmp_path / "checkpoints", two_writers())
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(Invalid, match="not empty"):
        export(directory, out, config=CONFIG)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_an_uncommitted_checkpoint_and_one_without_weights_are_refused(tmp_path: Path) -> None:
    open_one = make(tmp_path, two_writers(), commit=False)
    with pytest.raises(Damaged, match="never committed"):
        export(open_one, tmp_path / "out", config=CONFIG)
    optim = make(tmp_path, {"optim.a": random_tensor(1, (3,))}, step=20)
    with pytest.raises(Invalid, match="no tensor is named model"):
        export(optim, tmp_path / "out", config=CONFIG)


def test_slices_of_any_cut_are_put_together_and_only_the_model_is_exported(tmp_path: Path) -> None:
    state = _columns()
    directory = make(tmp_path, state)
    made = export(directory, tmp_path / "out", config=CONFIG)
    found = _read(tmp_path / "out" / "model.safetensors")
    expected = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    assert found == {k: (v.dtype, v.shape, v.data) for k, v in expected.items()}
    assert made.tensors == 5
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == CONFIG


def test_an_export_is_the_same_bytes_every_time_and_for_every_cut(tmp_path: Path) -> None:
    cut = _columns()
    whole = {
        k: Made(v.dtype, v.shape, v.data, (((0,) * len(v.shape), v.shape),)) for k, v in cut.items()
    }
    whole["model.none"] = cut["model.none"]
    first = make(tmp_path / "a", cut)
    other = make(tmp_path / "b", dict(reversed(whole.items())), step=99, generation="ffff")
    outs = []
    for i, directory in enumerate((first, first, other)):
        export(directory, tmp_path / f"out{i}", config=CONFIG)
        outs.append((tmp_path / f"out{i}" / "model.safetensors").read_bytes())
    assert outs[0] == outs[1] == outs[2]


def test_large_exports_are_split_by_size_and_indexed(tmp_path: Path) -> None:
    state = {f"model.t{i}": random_tensor(i, (100,)) for i in range(5)}
    state["model.t9"] = random_tensor(9, (900,))
    directory = make(tmp_path, state)
    made = export(directory, tmp_path / "out", config=CONFIG, shard_bytes=1000)
    assert made.files == tuple(f"model-{i:05d}-of-00004.safetensors" for i in (1, 2, 3, 4))
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 5600}
    for name, file in index["weight_map"].items():
        assert _read(tmp_path / "out" / file)[name][2] == state[f"model.{name}"].data
    assert len(index["weight_map"]) == 6


def test_conversion_changes_floats_only(tmp_path: Path) -> None:
    state = {
        "model.w": Made("F32", (3,), struct.pack("<3f", 1.0, -2.5, 3.0), (((0,), (3,)),)),
        "model.h": Made("BF16", (1,), b"\x80\x3f", (((0,), (1,)),)),
        "model.i": random_tensor(1, (2,), "I64"),
    }
    directory = make(tmp_path, state)
    export(directory, tmp_path / "half", config=CONFIG, dtype="bf16")
    export(directory, tmp_path / "full", config=CONFIG, dtype="fp32")
    half = _read(tmp_path / "half" / "model.safetensors")
    assert half["w"] == ("BF16", (3,), bytes.fromhex("803f20c04040"))
    assert half["i"] == ("I64", (2,), state["model.i"].data)
    assert _read(tmp_path / "full" / "model.safetensors")["h"] == ("F32", (1,), b"\0\0\x80\x3f")


def _nearest_bf16(bits: int) -> set[int]:
    """The bfloat16 nearest to a binary32 (given as bits), by comparing both neighbours."""
    value = struct.unpack("<f", struct.pack("<I", bits))[0]
    below = bits >> 16
    above = below + 1
    if value != value:
        return {below | 0x40}
    gap_below, gap_above = bits - (below << 16), (above << 16) - bits
    if gap_below == gap_above:
        return {below if below % 2 == 0 else above}
    return {below if gap_below < gap_above else above}


@given(st.integers(0, 2**32 - 1))
def test_rounding_to_bf16_is_to_nearest_even_and_keeps_nan(bits: int) -> None:
    found = bytes(convert(memoryview(struct.pack("<I", bits)), "F32", "BF16"))
    assert int.from_bytes(found, "little") in _nearest_bf16(bits)


@given(st.integers(0, 2**16 - 1))
def test_bf16_survives_fp32_and_back(bits: int) -> None:
    half = struct.pack("<H", bits)
    there = convert(memoryview(half), "BF16", "F32")
    back = bytes(convert(memoryview(there), "F32", "BF16"))
    quiet_nan = (bits & 0x7FFF) > 0x7F80
    assert back == (struct.pack("<H", bits | 0x40) if quiet_nan else half)
