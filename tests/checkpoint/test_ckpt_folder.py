from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ckpt_maker import make, random_tensor

from exa_cli.base.errors import Invalid
from exa_cli.checkpoint import folder
from exa_cli.checkpoint.verify import inspect, survey, verify

SMALL = {"model.a": random_tensor(1, (5, 7)), "optim.b": random_tensor(2, ())}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it, nothing cleans up after it."""


@contextlib.contextmanager
def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the block just before the ``call``-th change to the filesystem."""
    left = [call]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        for name in ("open", "rename", "replace", "fsync"):
            patch.setattr(os, name, counted(getattr(os, name)))
        for name in ("mkdir", "unlink", "rmdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            yield
        except Killed:
            return


def test_a_checkpoint_removed_halfway_is_incomplete_and_never_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = 0
    while True:
        root = tmp_path / str(call)
        directory = make(root, SMALL, epoch=3)
        with killed_at(call, monkeypatch):
            folder.remove(root, directory.name)
        if not directory.exists():
            break
        assert verify(directory).verdict == ("good" if call == 0 else "incomplete")
        assert call == 0 or _is_swept_or_empty(root, directory)
        call += 1
    assert call >= 5, "removing takes several calls, each a point to be killed at"


def _is_swept_or_empty(root: Path, directory: Path) -> bool:
    if not any(directory.iterdir()):
        return True
    return folder.sweep_incomplete(root, 4) == [directory.name] and not directory.exists()


def test_beginning_killed_anywhere_leaves_an_owner_or_nothing_that_looks_like_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in range(40):
        root = tmp_path / str(call)
        with killed_at(call, monkeypatch):
            folder.begin(root, 10, "abcd1234", 3)
        for report in survey(root):
            assert report.why == "MANIFEST.json: never committed; opened by epoch 3"
        assert folder.sweep_incomplete(root, 3) == [], "its own epoch may still be alive"
        folder.sweep_incomplete(root, 4)
        assert not root.exists() or list(root.iterdir()) == []


def test_a_directory_is_never_opened_twice(tmp_path: Path) -> None:
    folder.begin(tmp_path, 10, "abcd1234", 3)
    with pytest.raises(FileExistsError, match="never written twice"):
        folder.begin(tmp_path, 10, "abcd1234", 4)
    with pytest.raises(ValueError, match="not a checkpoint name"):
        folder.begin(tmp_path, 10, "../../x", 4)


def test_a_sweep_takes_only_what_earlier_epochs_left_open(tmp_path: Path) -> None:
    old = make(tmp_path, SMALL, step=10, epoch=1, commit=False)
    mine = make(tmp_path, SMALL, step=20, epoch=2, commit=False)
    later = make(tmp_path, SMALL, step=30, epoch=3, commit=False)
    whole = make(tmp_path, SMALL, step=40, epoch=1)
    ownerless = make(tmp_path, SMALL, step=50, epoch=1, commit=False)
    (ownerless / "OPEN.json").write_text("{}")
    (tmp_path / "epochs").mkdir()
    assert folder.sweep_incomplete(tmp_path, 2) == [old.name]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["epochs", mine.name, later.name, whole.name, ownerless.name]
    )
    assert inspect(whole).verdict == "good"


def test_a_sweep_of_nothing_is_no_error(tmp_path: Path) -> None:
    assert folder.sweep_incomplete(tmp_path / "missing", 5) == []


def test_a_directory_that_is_still_written_to_does_not_stop_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = make(tmp_path, SMALL, step=10, epoch=1, commit=False)
    idle = make(tmp_path, SMALL, step=20, epoch=1, commit=False)
    rmdir = Path.rmdir

    def write_first(path: Path) -> None:
        if path == busy:
            (busy / ".data-000001.exa.tmp").write_bytes(b"late")
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", write_first)
    assert folder.sweep_incomplete(tmp_path, 2) == [idle.name]
    assert busy.exists()


@pytest.mark.parametrize("name", ["..", ".", "", "epochs", "step-00000001.abcd/../../x", "/etc"])
def test_nothing_but_a_checkpoint_of_the_folder_is_removed(tmp_path: Path, name: str) -> None:
    root = tmp_path / "checkpoints"
    make(root, SMALL)
    (root / "epochs").mkdir()
    (tmp_path / "x").mkdir()
    with pytest.raises(Invalid, match="no checkpoint directory"):
        folder.remove(root, name)
    assert (tmp_path / "x").exists()


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", SMALL)
    root = tmp_path / "checkpoints"
    root.mkdir()
    (root / elsewhere.name).symlink_to(elsewhere)
    with pytest.raises(Invalid):
        folder.remove(root, elsewhere.name)
    assert verify(elsewhere).verdict == "good"
