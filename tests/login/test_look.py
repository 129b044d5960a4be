"""What cannot be seen of a filesystem is told apart from what is not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exa_cli.login import preflight
from exa_cli.login.preflight import look_at, staged_bytes


def failing(number: int) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    for path in (tmp_path / "runs", tmp_path / "runs/below/it"):
        assert look_at(path).trouble == f"{tmp_path}/runs is a file"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO, errno.ELOOP])
def test_a_path_that_cannot_be_looked_at_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "stat", failing(number))
    trouble = look_at(tmp_path / "runs").trouble
    assert trouble == f"{tmp_path}/runs: {os.strerror(number)}"


def test_a_dangling_link_is_as_good_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "gone")
    assert look_at(tmp_path / "runs").there == str(tmp_path)


def test_the_nearest_directory_that_exists_stands_for_one_to_be_made(tmp_path: Path) -> None:
    seen = look_at(tmp_path / "a/b/c")
    assert (seen.there, seen.trouble, seen.writable) == (str(tmp_path), None, True)
    assert seen.free_bytes is not None and not (tmp_path / "a").exists()


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSYS, errno.ESTALE])
def test_free_space_that_cannot_be_asked_for_is_unknown_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "statvfs", failing(number))
    seen = look_at(tmp_path)
    assert (seen.free_bytes, seen.free_files) == (None, None)
    assert seen.unseen == f"{tmp_path}: {os.strerror(number)}"


def test_a_filesystem_that_counts_nothing_has_no_room_of_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"f_blocks": 0, "f_bavail": 0, "f_frsize": 4096, "f_files": 0, "f_favail": 0}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**counts))
    seen = look_at(tmp_path)
    assert (seen.free_bytes, seen.free_files, seen.unseen) == (None, None, None)


def test_what_is_free_is_what_is_free_for_us_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {"f_blocks": 9, "f_bfree": 5, "f_bavail": 4, "f_frsize": 512, "f_bsize": 1 << 20}
    counts = {**blocks, "f_files": 9, "f_ffree": 8, "f_favail": 7}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**counts))
    seen = look_at(tmp_path)
    assert (seen.free_bytes, seen.free_files) == (2048, 7)


def test_a_directory_without_write_permission_is_seen_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    seen = look_at(tmp_path)
    assert seen.readable and not seen.writable


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"splits": 3}', '{"splits": {"train": {"shards": [{}]}}}']
)
def test_a_manifest_that_does_not_tell_gives_no_size(tmp_path: Path, text: str) -> None:
    assert staged_bytes(tmp_path) is None
    (tmp_path / "manifest.json").write_text(text)
    assert staged_bytes(tmp_path) is None


def test_what_is_staged_is_every_shard_and_the_manifest(tmp_path: Path) -> None:
    splits = {"train": {"shards": [{"bytes": 5}, {"bytes": 7}]}, "heldout": {"shards": []}}
    text = json.dumps({"splits": splits})
    (tmp_path / "manifest.json").write_text(text)
    assert preflight.staged_bytes(tmp_path) == 12 + len(text)
