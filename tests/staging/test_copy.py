"""A staged folder is whole and verified, or it is not there."""

import pytest

from exa_cli.base.errors import Damaged, Invalid
from exa_cli.staging import copy
from exa_cli.staging.copy import Item, checksum, stage


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name, size in (("a.h5", 9 << 20), ("b.h5", 1000), ("empty", 0)):
        (folder / name).write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    return folder


def items(folder):
    return tuple(Item(p.name, p.stat().st_size, checksum(p)) for p in sorted(folder.iterdir()))


def test_a_damaged_source_is_refused_and_leaves_nothing(source, tmp_path):
    listed = items(source)
    (source / "b.h5").write_bytes(b"x" * (source / "b.h5").stat().st_size)
    with pytest.raises(Damaged, match="another checksum"):
        stage(source, tmp_path / "node" / "data", listed)
    assert list((tmp_path / "node").iterdir()) == []


def test_a_missing_source_file_is_refused_and_leaves_nothing(source, tmp_path):
    listed = items(source)
    (source / "b.h5").unlink()
    with pytest.raises(Invalid, match="cannot stage"):
        stage(source, tmp_path / "node" / "data", listed)
    assert list((tmp_path / "node").iterdir()) == []


def test_no_space_is_noticed_before_a_byte_is_copied(source, tmp_path):
    (item, *_) = items(source)
    huge = Item(item.name, 1 << 60, item.xxh3_128)
    with pytest.raises(Invalid, match="needed") as caught:
        stage(source, tmp_path / "node" / "data", (huge,))
    assert "free space" in caught.value.hint


def test_a_verified_copy_is_not_copied_again(source, tmp_path):
    target = tmp_path / "node" / "data"
    assert stage(source, target, items(source)).copied
    before = {p.name: p.stat().st_ino for p in target.iterdir()}
    again = stage(source, target, items(source))
    assert not again.copied
    assert {p.name: p.stat().st_ino for p in target.iterdir()} == before


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_a_copy_that_rotted_is_replaced(source, tmp_path, how):
    target = tmp_path / "node" / "data"
    stage(source, target, items(source))
    victim = target / "a.h5"
    content = bytearray(victim.read_bytes())
    if how == "flip":
        content[5_000_000 % len(content)] ^= 1
        victim.write_bytes(content)
    elif how == "truncate":
        victim.write_bytes(content[:-1])
    else:
        victim.unlink()
    assert stage(source, target, items(source)).copied
    assert copy.is_whole(target, items(source))
    assert [p.name for p in target.parent.iterdir()] == ["data"]
