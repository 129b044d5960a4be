from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exa_cli.base import files
from exa_cli.base.errors import Damaged, Invalid, NotFound, Unreachable
from exa_train.data import lock, parts, prepare, tokenizer
from exa_train.data.manifest import load_manifest
from exa_train.data.prepare import Outcome
from exa_train.data.reader import stream, verify
from exa_train.data.request import Request

Run = Callable[..., Outcome]


def _snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _not_prepared(directory: Path) -> bool:
    try:
        load_manifest(directory)
    except NotFound:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "content", "what", "place"),
    [
        ("a.txt", b"text\0text", "NUL byte", "a.txt, byte 4"),
        ("a.md", b"caf\xe9", "not valid UTF-8", "a.md, byte 3"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "not a JSON line", "a.jsonl:2"),
        ("a.jsonl", b'{"body": "a"}\n', "no field 'text'", "a.jsonl:1"),
        ("a.jsonl", b'{"text": "a\xff"}\n', "not valid UTF-8", "a.jsonl:1, byte 11"),
        ("a.jsonl.gz", b"plain", "gzip file is damaged", "a.jsonl.gz"),
        ("a.txt", b"", "no text in the input (1 empty)", ""),
        ("a.txt", b" \n\t", "no text in the input (1 empty)", ""),
        ("a.bin", b"text", "no text in the input (1 unknown extension)", ""),
        ("a.txt", b"one document", "one document only", None),
    ],
)
def test_bad_input_is_named_and_nothing_is_left(
    tmp_path: Path, run: Run, name: str, content: bytes, what: str, place: str | None
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(Invalid) as caught:
        run(inputs=(str(folder),))
    assert what in str(caught.value)
    assert place is None or f"at: {folder}{'/' if place else ''}{place}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_several_bad_files_are_named_at_once(tmp_path: Path, run: Run) -> None:
    for number in range(30):
        (tmp_path / f"bad{number:02d}.txt").write_bytes(b"\xff")
    with pytest.raises(Invalid) as caught:
        run(inputs=(str(tmp_path),))
    assert "bad00.txt, byte 0" in str(caught.value)
    assert "bad19.txt, byte 0" in str(caught.value)
    assert "and 10 more files like these" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"vocab": 100_000}, "too large for this text: at most"),
        ({"vocab": 20}, "too small"),
        ({"vocab": None}, "no vocabulary size"),
        ({"held_out": 0.0}, "held-out"),
        ({"held_out": 1.0}, "held-out"),
        ({"workers": 0}, "--workers"),
        ({"shard_tokens": 0}, "--shard-tokens"),
        ({"inputs": ("builtin:nothing",)}, "no built-in corpus"),
    ],
)
def test_impossible_requests_are_refused_and_nothing_is_left(
    tmp_path: Path, run: Run, options: dict[str, object], what: str
) -> None:
    with pytest.raises(Invalid) as caught:
        run(**options)
    assert what in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_an_output_place_that_is_no_directory_is_refused(
    tmp_path: Path, run: Run, place: str
) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(Invalid, match="cannot be written"):
        run(out=tmp_path / place)
    assert (tmp_path / "file").read_text() == "precious"


def test_another_preparation_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    run()
    before = _snapshot(tmp_path / "out")
    with pytest.raises(Invalid, match="other inputs or options"):
        run(vocab=410)
    assert _snapshot(tmp_path / "out") == before


def test_files_of_somebody_else_are_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tokenizer.model").write_text("precious")
    with pytest.raises(Invalid, match="would overwrite"):
        run()
    assert _snapshot(tmp_path / "out") == {"tokenizer.model": b"precious"}


def test_a_damaged_manifest_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    run()
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(Damaged):
        run()


_Usage = namedtuple("_Usage", "total used free")


def test_too_little_space_is_seen_before_work_starts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(10**9, 10**9 - 1000, 1000))
    monkeypatch.setattr(parts, "make", lambda unit: pytest.fail("work started"))
    with pytest.raises(Invalid, match=r"about [\d,]+ bytes are needed, 1,000 are free") as caught:
        run()
    assert caught.value.where == str(tmp_path / "out")
    assert _not_prepared(tmp_path / "out")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["part", "shard", "manifest"])
def test_a_disk_that_fills_up_is_explained_and_the_next_run_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    target = {
        "part": (parts.files, "write_bytes"),
        "shard": (prepare.shards, "_write_shard"),
        "manifest": (prepare.manifest, "write_manifest"),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(*target, full)
        with pytest.raises(Invalid, match="not enough space") as caught:
            run()
    assert caught.value.where == str(tmp_path / "out")
    assert _not_prepared(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".work/shards/*"))
    assert not run().reused
    assert verify(tmp_path / "out") == []


def test_another_fault_of_the_file_system_is_unreachable(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere")

    monkeypatch.setattr(files, "fsync_dir", broken)
    with pytest.raises(Unreachable, match="Input/output error"):
        run()
    assert _not_prepared(tmp_path / "out")


def test_a_part_that_changed_on_disk_is_removed_and_made_again(run: Run, tmp_path: Path) -> None:
    out, write_splits = tmp_path / "out", prepare._write_splits

    def spoil_and_write(*args: Any) -> object:
        (part,) = (out / ".work" / "parts").glob("*.part")
        raw = bytearray(part.read_bytes())
        raw[-1] ^= 1
        part.write_bytes(raw)
        return write_splits(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_write_splits", spoil_and_write)
        with pytest.raises(Damaged, match="changed on disk"):
            run()
    run()
    assert verify(out) == []


def test_the_result_depends_on_inputs_and_options_only(run: Run, tmp_path: Path) -> None:
    """Not on the number of workers, the size of parts, the time or the directory."""
    run(out=tmp_path / "one")
    run(out=tmp_path / "two", workers=2, part_bytes=3000)
    run(out=tmp_path / "three", part_bytes=1)
    one = _snapshot(tmp_path / "one")
    assert set(one) == {"manifest.json", "tokenizer.model", "train-00000.h5", "heldout-00000.h5"}
    assert one == _snapshot(tmp_path / "two") == _snapshot(tmp_path / "three")


@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"vocab": 401}, {"held_out": 0.4}, {"sample_bytes": 5000}]
)
def test_options_that_matter_change_the_id(
    run: Run, tmp_path: Path, options: dict[str, object]
) -> None:
    one = run(out=tmp_path / "one").manifest
    two = run(out=tmp_path / "two", **options).manifest
    assert one.data_id != two.data_id
    assert one.inputs_key != two.inputs_key


def test_preparing_again_finds_it_prepared(run: Run, tmp_path: Path, corpus: Path) -> None:
    first = run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = run(inputs=(f"{corpus}/",), workers=2)
    assert again.reused and again.manifest == first.manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("lost", ["train-00000.h5", "tokenizer.model"])
def test_a_lost_file_is_made_again(run: Run, tmp_path: Path, lost: str) -> None:
    run()
    before = _snapshot(tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    assert not run().reused
    assert _snapshot(tmp_path / "out") == before


def test_stale_shards_of_an_earlier_try_do_not_survive(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / ".work").mkdir(parents=True)
    (tmp_path / "out" / "train-00007.h5").write_text("half a shard")
    run()
    assert not (tmp_path / "out" / "train-00007.h5").exists()


def test_unreadable_documents_can_be_left_out_and_are_counted(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.txt").write_text("some words to learn from, some more words\n" * 9)
    (folder / "bad.txt").write_bytes(b"\xff")
    (folder / "zero.txt").write_bytes(b"a\0b")
    (folder / "lines.jsonl").write_text('{"text": "more words"}\n{"x": 1}\n')
    manifest = run(inputs=(str(folder),), vocab=290, skip_bad=True).manifest
    assert manifest.skipped == {"bad line": 1, "binary": 1, "not UTF-8": 1}
    assert sum(split.documents for split in manifest.splits.values()) == 2


def test_every_document_is_in_exactly_one_split(run: Run, tmp_path: Path, corpus: Path) -> None:
    manifest = run().manifest
    learnt = tokenizer.load(tmp_path / "out" / "tokenizer.model")
    found = []
    for split in ("train", "heldout"):
        (tokens,) = stream(tmp_path / "out", split)
        joined = "".join(
            "\0" if token == manifest.eos else learnt.decode([token]) for token in tokens.tolist()
        )
        # Single tokens cannot show characters that are spelled in several bytes.
        found += [part.replace("�", "") for part in joined.split("\0")[:-1]]
    plain = [path.read_bytes().decode() for path in corpus.glob("part*/*")]
    lines = (corpus / "more.jsonl").read_text().splitlines()
    lines += gzip.decompress((corpus / "more.jsonl.gz").read_bytes()).decode().splitlines()
    plain += [json.loads(line)["text"] for line in lines]
    assert len(found) == len(plain) == 40
    ascii_only = [[c for c in text if c.isascii()] for text in plain]
    assert sorted(ascii_only) == sorted([c for c in text if c.isascii()] for text in found)


def test_a_given_tokenizer_is_used_as_it_is(run: Run, tmp_path: Path) -> None:
    first = run(out=tmp_path / "one").manifest
    model = tmp_path / "one" / "tokenizer.model"
    second = run(out=tmp_path / "two", vocab=None, tokenizer=model).manifest
    assert second.splits == first.splits and second.data_id == first.data_id
    assert (first.tokenizer.trained, second.tokenizer.trained) == (True, False)
    with pytest.raises(Invalid, match="has 400 tokens, not 500"):
        run(out=tmp_path / "three", vocab=500, tokenizer=model)


def test_another_text_field_is_read(tmp_path: Path, run: Run) -> None:
    rows = [{"text": "no", "body": f"number {n} of many words"} for n in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = run(inputs=(str(tmp_path / "a.jsonl"),), vocab=290, text_field="body").manifest
    assert sum(s.bytes_text for s in manifest.splits.values()) == sum(len(r["body"]) for r in rows)


def test_a_large_vocabulary_is_stored_in_32_bits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare.shards, "dtype_for", lambda vocab: "uint32")
    wide = run(out=tmp_path / "wide").manifest
    monkeypatch.undo()
    run(out=tmp_path / "narrow")
    assert wide.dtype == "uint32"
    tokens = [list(map(list, stream(tmp_path / name, "train"))) for name in ("wide", "narrow")]
    assert tokens[0] == tokens[1]


def test_documents_may_be_cut_into_parts_anywhere(run: Run, tmp_path: Path, corpus: Path) -> None:
    request = Request((str(corpus),), tmp_path / "out", vocab=400)
    scanned = prepare.scan_corpus(request)
    held = prepare.split.held_out(scanned.identities, 0.2, 0)
    for limit in (1, 700, 5000, 10**9):
        units = list(parts.plan_units(scanned.scanned, held, limit))
        assert sum(unit.bytes for unit in units) == scanned.bytes
        assert all(unit.bytes >= limit for unit in units[:-1])
        pieces = [piece for unit in units for piece in unit.slices]
        lows = [low for piece in pieces for low in piece.documents["low"].tolist()]
        assert lows == [low for s in scanned.scanned for low in s.documents["low"].tolist()]
        assert [h for piece in pieces for h in piece.held.tolist()] == held.tolist()


def test_two_processes_at_once_the_second_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with lock.only_one(tmp_path / "out"):
        before = _snapshot(tmp_path / "out")
        with pytest.raises(Unreachable, match=f"process {os.getpid()} since") as caught:
            run()
        assert _snapshot(tmp_path / "out") == before
    assert caught.value.where in {str(tmp_path / "out" / name) for name in before}
    assert not run().reused


def test_a_claim_of_another_host_is_respected(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with lock.only_one(out):
        (mine,) = out.glob(lock.PATTERN)
        claim = files.read_json(mine)
    for change in ({"realm": "elsewhere pid:[1]"}, {"process": {**claim["process"], "boot": "x"}}):
        (out / lock.PATTERN.replace("*", "other")).write_text(json.dumps({**claim, **change}))
        with pytest.raises(Unreachable, match="being prepared by a process on"):
            run()
    (out / lock.PATTERN.replace("*", "other")).write_text("{")
    with pytest.raises(Unreachable, match="cannot be read"):
        run()


def test_a_claim_of_a_dead_process_is_removed(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with lock.only_one(out):
        (mine,) = out.glob(lock.PATTERN)
        claim = files.read_json(mine)
    claim["process"]["start"] += 1  # the same pid, given to somebody else since
    (out / lock.PATTERN.replace("*", "other")).write_text(json.dumps(claim))
    assert not run().reused
    assert not list(out.glob(lock.PATTERN))
