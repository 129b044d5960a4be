"""Events survive; torn tails are not events; damage in the middle is never passed over."""

import errno
import os

import pytest

from exa_cli.base.errors import Damaged
from exa_cli.runs import journal
from exa_cli.runs.journal import Journal


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "journal").mkdir()
    return tmp_path


def test_a_line_cut_off_by_a_kill_is_not_an_event(run_dir):
    with Journal(run_dir, "login-1") as writer:
        writer.append("intent", attempt="001")
        writer.append("accepted", attempt="001")
    path = run_dir / "journal" / "login-1.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole.split(b"\n")[0]) + 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert [e.kind for e in journal.read(run_dir)] == ["intent"]


def test_a_bad_line_that_is_not_the_last_is_damage(run_dir):
    path = run_dir / "journal" / "login-1.jsonl"
    path.write_bytes(b'{"broken\n{"t":"2026-01-01T00:00:00Z","n":1,"event":"x"}\n')
    with pytest.raises(Damaged, match="journal line") as caught:
        journal.read(run_dir)
    assert caught.value.where.endswith(":1")


def test_where_no_run_can_be_there_are_no_events(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    assert journal.read(tmp_path / "runs" / "mine") == []


def test_a_file_in_a_journals_place_is_not_an_empty_journal(tmp_path):
    (tmp_path / "journal").write_text("")
    with pytest.raises(NotADirectoryError):
        journal.read(tmp_path)


def test_two_writers_never_share_a_file(run_dir):
    with Journal(run_dir, "login-1"), pytest.raises(FileExistsError):
        Journal(run_dir, "login-1")


def test_events_keep_their_fields_and_order(run_dir):
    with Journal(run_dir, journal.writer_name("login")) as writer:
        for step in range(20):
            writer.append("committed", step=step, text='ü\n"')
    events = journal.read(run_dir)
    assert [e.fields["step"] for e in events] == list(range(20))
    assert events[0].fields["text"] == 'ü\n"'


def test_a_run_without_a_journal_has_no_events(tmp_path):
    assert journal.read(tmp_path) == []


def test_an_event_that_a_full_disk_took_half_of_leaves_nothing_and_the_next_is_whole(
    run_dir, monkeypatch
):
    real, room = os.write, [60]

    def nearly_full(fd, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = real(fd, bytes(data)[: room[0]])
        room[0] -= taken
        return taken

    with Journal(run_dir, "job-001-1-00") as writer:
        monkeypatch.setattr(os, "write", nearly_full)
        with pytest.raises(OSError, match="No space"):
            writer.append("life", text="x" * 100)
        monkeypatch.setattr(os, "write", real)
        writer.append("done", step=1)
    assert [(e.kind, e.n) for e in journal.read(run_dir)] == [("done", 0)]
