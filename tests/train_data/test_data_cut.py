"""A corpus of one document is cut, so that some of it can be held out; no other is."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid
from exa_cli.commands import data as verb
from exa_train.data import cut, tokenizer
from exa_train.data.corpus import scan_corpus
from exa_train.data.manifest import load_manifest
from exa_train.data.prepare import Outcome
from exa_train.data.reader import stream, verify
from exa_train.data.request import Request
from exa_train.data.split import held_out

Run = Callable[..., Outcome]

_STANZA = "one\ntwo\nthree\nfour\nfive\n\n"


def _book(chapters: int) -> str:
    """Chapters of about 700 bytes in lines, with blank lines between some; odd characters."""
    words = ["to", "be", "naïve", "café,", "数字", "a\u2581b", "\tx", "12 ", "<s>", "\n", "end\r\n"]
    rng = random.Random("book")
    parts = (" ".join(rng.choices(words, k=120)) for _ in range(chapters))
    return "".join(part + "\n" * (1 + number % 3) for number, part in enumerate(parts))


def _pieces(raw: bytes) -> list[bytes]:
    rows = cut.pieces(raw)[["start", "bytes"]].tolist()
    return [raw[start : start + size] for start, size in rows]


def _documents(directory: Path, split: str) -> list[str]:
    """The documents of a split, from its tokens."""
    learnt = tokenizer.load(directory / "tokenizer.model")
    tokens = np.concatenate(list(stream(directory, split)))
    (ends,) = np.nonzero(tokens == learnt.eos)
    assert tokens[-1] == learnt.eos
    return [learnt.decode(part[part != learnt.eos]) for part in np.split(tokens, ends[:-1] + 1)]


@pytest.mark.parametrize(
    "content",
    [
        "a line and no more " * 5000,
        "four\nlines\nof\ntext\n",
        "the same line\n" * 5000,
        "a\nb \nc\nd\t\nb\nd\n" * 5000 + "\n" * 20_000,
        _STANZA * 1000,
    ],
    ids=["one line", "few lines", "one line repeated", "few lines repeated", "same pieces"],
)
@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_too_few_different_lines_are_refused_and_nothing_is_left(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], content: str, form: str
) -> None:
    book = tmp_path / f"book.{form}"
    book.write_text(content if form == "txt" else f"{json.dumps({'text': content})}\n" * 3)
    with pytest.raises(Invalid, match="one document only") as caught:
        run(inputs=(str(book),))
    assert "different lines" in (caught.value.hint or "")
    assert "cut:" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_documents_are_not_cut_however_large(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text(_book(100))
    request = Request((str(tmp_path),), tmp_path / "out", vocab=310)
    assert scan_corpus(request).pieces > 1
    (tmp_path / "small.txt").write_text("something else\n")
    corpus = scan_corpus(request)
    assert (corpus.pieces, len(corpus.sizes)) == (0, 2)


@given(st.lists(st.sampled_from(["a", "é", "b c", "\n", "\n\n", " ", "\r\n", "\t\n", "x\n"])))
def test_pieces_make_up_the_text_and_begin_with_lines(parts: list[str]) -> None:
    raw = "".join(parts).encode()
    pieces = _pieces(raw)
    assert b"".join(pieces) == raw
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert len(pieces) == 1 or not any(piece.isspace() for piece in pieces)
    assert len(pieces) <= cut.MOST


@given(
    st.lists(st.text("ab é", min_size=1, max_size=9), min_size=6, unique_by=str.strip),
    st.lists(st.integers(1, 9000), min_size=2),
)
def test_any_text_with_enough_lines_is_cut(lines: list[str], gaps: list[int]) -> None:
    """One of the six may be blank. No gap, before, between or after them, prevents it."""
    ends = ["\n" * gaps[number % len(gaps)] for number in range(len(lines))]
    raw = "".join(map("".join, zip(ends, lines, strict=True))) + ends[0]
    assert len(_pieces(raw.encode())) >= 2


@pytest.mark.parametrize("place", [0, 2, 5])
def test_white_space_is_never_a_piece_of_its_own(place: int) -> None:
    lines = [f"line {number}\n" for number in range(5)]
    raw = "".join([*lines[:place], "\n \n" * 9000, *lines[place:]]).encode()
    pieces = _pieces(raw)
    assert b"".join(pieces) == raw
    assert len(pieces) >= 2 and all(b"line" in piece for piece in pieces)


@pytest.mark.parametrize(("chapters", "count"), [(2, 10), (40, 10), (200, 0), (900, 100)])
def test_pieces_are_of_about_equal_size_and_bounded_in_number(chapters: int, count: int) -> None:
    raw = _book(chapters).encode()
    sizes = [len(piece) for piece in _pieces(raw)]
    assert len(sizes) == (count or len(raw) // 4096)
    mean = len(raw) / len(sizes)
    assert 0.5 * mean < min(sizes) and max(sizes) < 1.5 * mean


@pytest.mark.parametrize("blank", ["\n", "\r\n", "  \t\n", "\n\n\n"])
def test_blank_lines_are_preferred_to_other_line_ends(blank: str) -> None:
    paragraph = "first of paragraph {}\nsecond\nthird\nfourth\n".format
    raw = "".join(paragraph(number) + blank for number in range(500)).encode()
    pieces = _pieces(raw)
    assert len(pieces) == 10
    assert all(piece.startswith(b"first") for piece in pieces)


@pytest.mark.parametrize("chapters", [3, 60, 1000])
def test_one_file_is_split_without_loss(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], chapters: int
) -> None:
    """Also when the tokenizer's sample is smaller than the text."""
    book, out = tmp_path / "book.txt", tmp_path / "out"
    book.write_text(_book(chapters), newline="")
    manifest = run(inputs=(str(book),), vocab=320, held_out=0.1, sample_bytes=3000).manifest
    pieces = [piece.decode() for piece in _pieces(book.read_bytes())]
    train, heldout = (_documents(out, split) for split in ("train", "heldout"))
    assert manifest.cut is not None and manifest.cut.pieces == len(pieces)
    assert f"cut: the only document, at line ends into {len(pieces)} pieces" in (
        capsys.readouterr().err
    )
    sides = [piece in set(heldout) for piece in pieces]
    assert [piece for piece, held in zip(pieces, sides, strict=True) if held] == heldout
    assert [piece for piece, held in zip(pieces, sides, strict=True) if not held] == train
    assert train and heldout and not set(train) & set(heldout)
    assert [manifest.splits[name].documents for name in ("train", "heldout")] == [
        len(train),
        len(heldout),
    ]
    assert sum(side.bytes_text for side in manifest.splits.values()) == book.stat().st_size
    assert verify(out) == []


def test_about_the_asked_share_of_a_book_is_held_out() -> None:
    documents = cut.pieces(_book(900).encode())
    for seed in range(50):
        held = held_out(documents["high"] ^ documents["low"], 0.01, seed)
        share = documents["bytes"][held].sum() / documents["bytes"].sum()
        assert 0.005 < share < 0.07  # one piece of a hundred at least


def test_the_cut_depends_on_the_text_only(tmp_path: Path, run: Run) -> None:
    """Not on the number of workers, the size of parts, the file's name or its form."""
    content = _book(120)
    line = json.dumps({"text": content, "id": 7}).encode()
    (tmp_path / "book.txt").write_text(content, newline="")
    (tmp_path / "book.jsonl").write_bytes(line)
    (tmp_path / "book.jsonl.gz").write_bytes(gzip.compress(line))
    bytes_of = {}
    variants: dict[str, dict[str, object]] = {
        "one": {},
        "two": {"workers": 2, "part_bytes": 3000},
        "three": {"workers": 3, "part_bytes": 1},
        "jsonl": {"inputs": (str(tmp_path / "book.jsonl"),)},
        "gz": {"inputs": (str(tmp_path / "book.jsonl.gz"),), "workers": 2, "part_bytes": 9000},
    }
    for name, options in variants.items():
        out = tmp_path / name
        run(**{"inputs": (str(tmp_path / "book.txt"),), "out": out, "vocab": 310, **options})
        bytes_of[name] = {path.name: path.read_bytes() for path in out.iterdir()}
    assert bytes_of["one"] == bytes_of["two"] == bytes_of["three"]
    ids = {load_manifest(tmp_path / name).data_id for name in bytes_of}
    assert len(ids) == 1


def test_preparing_a_cut_book_again_finds_it_prepared(tmp_path: Path, run: Run) -> None:
    (tmp_path / "book.txt").write_text(_book(20))
    first = run(inputs=(str(tmp_path / "book.txt"),), vocab=310)
    again = run(inputs=(str(tmp_path / "book.txt"),), vocab=310, workers=2)
    assert again.reused and again.manifest == first.manifest


def test_another_way_of_cutting_is_another_preparation(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book.txt").write_text(_book(20))
    run(inputs=(str(tmp_path / "book.txt"),), vocab=310)
    monkeypatch.setattr(cut, "FORMAT", cut.FORMAT + 1)
    with pytest.raises(Invalid, match="other inputs or options"):
        run(inputs=(str(tmp_path / "book.txt"),), vocab=310)


def test_copies_of_one_document_are_cut_alike_and_stay_together(tmp_path: Path, run: Run) -> None:
    folder, content = tmp_path / "in", _book(40)
    folder.mkdir()
    for name in ("a.txt", "b.md"):
        (folder / name).write_text(content, newline="")
    (folder / "c.jsonl").write_text(
        "\n" + "".join(json.dumps({"text": content, "id": number}) + "\n" for number in range(2))
    )
    manifest = run(inputs=(str(folder),), vocab=320).manifest
    train, heldout = (_documents(tmp_path / "out", split) for split in ("train", "heldout"))
    expected = Counter(piece.decode() for piece in _pieces(content.encode()))
    assert manifest.cut is not None and manifest.cut.pieces == expected.total()
    assert Counter(train + heldout) == Counter({k: 4 * n for k, n in expected.items()})
    assert not set(train) & set(heldout)
    assert [source.documents for source in manifest.sources] == [10, 10, 20]


def test_equal_pieces_fall_on_the_same_side(tmp_path: Path, run: Run) -> None:
    other = "".join(f"line {number} of another stanza\n" for number in range(60))
    (tmp_path / "poem.txt").write_text(_STANZA * 900 + other)
    for seed in range(4):
        out = tmp_path / str(seed)
        run(inputs=(str(tmp_path / "poem.txt"),), out=out, seed=seed, vocab=290)
        train, heldout = (_documents(out, split) for split in ("train", "heldout"))
        assert len(set(train + heldout)) < len(train + heldout)
        assert not set(train) & set(heldout)


def test_show_says_that_the_document_was_cut(tmp_path: Path, run: Run, prepared: Path) -> None:
    (tmp_path / "book.txt").write_text(_book(20))
    run(inputs=(str(tmp_path / "book.txt"),), vocab=310)
    shown = verb.describe(tmp_path / "out", verb.read_manifest(tmp_path / "out"))
    assert "one document, into 10 pieces" in shown
    assert "pieces" not in verb.describe(prepared, verb.read_manifest(prepared))
