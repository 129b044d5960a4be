from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid
from exa_train.data import cut
from exa_train.data.documents import BadDocument, DocumentReader, decode, parse_line, scan
from exa_train.data.inputs import STDLIB, Source, discover, form_of


def _names(root: Path, **options: bool) -> list[str]:
    found = discover([str(root)], **options)
    return [source.name.removeprefix(f"{root}/") for source in found.sources]


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file") as caught:
        discover([str(tmp_path / "nothing")])
    assert caught.value.where == str(tmp_path / "nothing")


def test_a_named_file_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(Invalid, match="extension is not known") as caught:
        discover([str(tmp_path / "table.csv")])
    assert ".jsonl.gz" in (caught.value.hint or "")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(Invalid, match="neither a file nor a folder"):
        discover([str(tmp_path / "pipe.txt")])
    assert discover([str(tmp_path)]).skipped == {"not a file": 1}


def test_an_unknown_builtin_names_the_known_one() -> None:
    with pytest.raises(Invalid) as caught:
        discover(["builtin:wikipedia"])
    assert STDLIB in (caught.value.hint or "")


def test_folders_are_searched_in_name_order_and_clutter_is_passed_over(tmp_path: Path) -> None:
    for name in (
        "b.txt",
        "a.md",
        "z/c.py",
        "z/a/d.rst",
        ".git/e.txt",
        "__pycache__/f.py",
        ".g.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert _names(tmp_path) == ["a.md", "b.txt", "z/c.py", "z/a/d.rst"]
    assert discover([str(tmp_path)]).skipped == {"unknown extension": 1}


def test_symlink_loops_end_and_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "again.txt").symlink_to(tmp_path / "sub" / "a.txt")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nowhere")
    found = discover([str(tmp_path), str(tmp_path / "sub" / "a.txt")])
    assert [Path(source.path).name for source in found.sources] == ["again.txt"]
    assert found.skipped == {"repeated file": 2, "not a file": 1}


def test_undecodable_file_names_become_printable(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "w") as stream:
        stream.write("x")
    (source,) = discover([str(tmp_path)]).sources
    assert source.name.endswith("caf\\xe9.txt")
    assert Path(source.path).read_text() == "x"


def test_the_standard_library_is_without_installed_packages() -> None:
    names = [source.name for source in discover([STDLIB]).sources]
    assert f"{STDLIB}/json/decoder.py" in names
    assert not [name for name in names if "site-packages" in name or not name.endswith(".py")]


@pytest.mark.parametrize(
    ("name", "form"),
    [("A.TXT", "text"), ("a.jsonl", "jsonl"), ("a.jsonl.gz", "jsonl.gz"), ("a.gz", None)],
)
def test_form_follows_the_longest_extension(name: str, form: str | None) -> None:
    assert form_of(name) == form


@pytest.mark.parametrize(
    ("raw", "what", "place"),
    [
        (b"abc\0def", "NUL byte", "f.txt, byte 3"),
        (b"caf\xe9 au lait", "not valid UTF-8: byte 0xe9", "f.txt, byte 3"),
        (b"ab\xc3", "unexpected end of data", "f.txt, byte 2"),
        (b"\xed\xa0\x80", "not valid UTF-8", "f.txt, byte 0"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_their_offset(
    raw: bytes, what: str, place: str
) -> None:
    with pytest.raises(BadDocument, match=what) as caught:
        decode(raw, "f.txt")
    assert caught.value.where == place


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        (b'{"text": "a"', "not a JSON line", None),
        (b"[1, 2]", "no field 'text'", "each line must be a JSON object"),
        (b'{"body": "a", "n": 1}', "no field 'text'", "text fields here: body"),
        (b'{"text": 3}', "not a string", "text fields here: none"),
        (b'{"text": "\\ud800"}', "half a surrogate pair", None),
        (b"[" * 100_000, "not a JSON line", None),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: bytes, what: str, hint: str | None) -> None:
    with pytest.raises(BadDocument, match=what) as caught:
        parse_line(line, "f.jsonl:3", "text")
    assert caught.value.where == "f.jsonl:3"
    assert hint is None or hint in (caught.value.hint or "")


def test_a_bad_line_is_found_by_number_and_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": \n{"text": "two"}\n{"text": "  "}\n')
    assert scan(Source("a", str(path), "jsonl"), "text").fault is not None
    assert f"{path}:3" in str(scan(Source("a", str(path), "jsonl"), "text").fault)
    tolerant = scan(Source("a", str(path), "jsonl", tolerant=True), "text")
    assert len(tolerant.documents) == 2
    assert tolerant.skipped == {"bad line": 1, "empty": 1}


def test_a_damaged_archive_is_a_fault_even_when_bad_documents_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress(b'{"text": "one"}\n' * 1000)
    for damaged in (packed[:-20], b"no gzip", packed[:40] + b"\xff" * 8 + packed[48:]):
        path.write_bytes(damaged)
        fault = scan(Source("a", str(path), "jsonl.gz", tolerant=True), "text").fault
        assert fault is not None and "gzip file is damaged" in fault.what


def test_documents_are_read_back_as_scanned(tmp_path: Path) -> None:
    lines = b'\xef\xbb\xbf{"text": "a\\u0000\\n\\u2581"}\r\n\n  {"text": "\xc3\xa9"}'
    for form, raw in (("jsonl", lines), ("jsonl.gz", gzip.compress(lines))):
        path = tmp_path / f"a.{form}"
        path.write_bytes(raw)
        source = Source("a", str(path), form)
        scanned = scan(source, "text")
        assert scanned.fault is None
        texts = list(DocumentReader("text").texts(source, scanned.documents))
        assert texts == ["a\0\n\u2581", "é"]
        assert scanned.documents["bytes"].tolist() == [6, 2]


@pytest.mark.parametrize("form", ["txt", "jsonl", "jsonl.gz"])
def test_pieces_are_read_back_in_any_order(tmp_path: Path, form: str) -> None:
    whole = "".join(f"é line {number}\n" for number in range(50))
    line = json.dumps({"text": whole}).encode()
    path = tmp_path / f"a.{form}"
    path.write_bytes({"txt": whole.encode(), "jsonl": line}.get(form, gzip.compress(line)))
    source = Source("a", str(path), "text" if form == "txt" else form)
    pieces = cut.placed(cut.pieces(whole.encode()), scan(source, "text").documents)
    assert "".join(DocumentReader("text").texts(source, pieces)) == whole
    backwards = list(DocumentReader("text").texts(source, pieces[::-1]))
    assert "".join(reversed(backwards)) == whole


def test_a_piece_that_changed_since_the_scan_is_refused_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    raw = b"".join(b"line %d\n" % number for number in range(50))
    (tmp_path / "a.txt").write_bytes(raw.replace(b"line 49", b"LINE 49"))
    source, pieces = Source("a", str(tmp_path / "a.txt"), "text"), cut.pieces(raw)
    texts = DocumentReader("text").texts(source, pieces)
    found = "".join(next(texts) for _ in pieces[:-1])
    assert raw.decode().startswith(found)
    with pytest.raises(Invalid, match="changed while it was being prepared"):
        next(texts)


@pytest.mark.parametrize("later", [b'{"text": "three"}\n', b"\xff\n", b""])
def test_a_source_that_changed_since_its_scan_is_refused(tmp_path: Path, later: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two"}\n')
    source = Source("a", str(path), "jsonl")
    documents = scan(source, "text").documents
    path.write_bytes(later)
    with pytest.raises(Invalid, match="changed while it was being prepared"):
        list(DocumentReader("text").texts(source, documents))
