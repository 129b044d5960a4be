from __future__ import annotations

import json
from pathlib import Path

import pytest

from exa_cli.base.errors import Damaged, ExaError, Invalid, NotFound
from exa_cli.base.seal import seal
from exa_cli.commands import data as verb
from exa_train.data.manifest import Manifest, data_id, load_manifest


@pytest.fixture
def raw(prepared: Path) -> dict[str, object]:
    return dict(json.loads((prepared / "manifest.json").read_text()))


def _load(directory: Path, content: str | bytes) -> None:
    """Both readers of manifests must come to the same verdict."""
    raw = content if isinstance(content, bytes) else content.encode()
    (directory / "manifest.json").write_bytes(raw)
    verdicts: list[type | None] = []
    for read in (load_manifest, verb.read_manifest):
        try:
            read(directory)
            verdicts.append(None)
        except ExaError as error:
            verdicts.append(type(error))
    assert verdicts[0] == verdicts[1]
    load_manifest(directory)


@pytest.mark.parametrize("read", [load_manifest, verb.read_manifest])
def test_no_manifest_is_not_found(tmp_path: Path, read: object) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(NotFound) as caught:
            read(place)  # type: ignore[operator]
        assert "exa data prepare" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"kind": NaN'])
def test_half_a_manifest_is_damaged(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Damaged):
        _load(tmp_path, content)


@pytest.mark.parametrize("content", ["[]", "3", '{"kind": "other"}'])
def test_another_file_of_that_name_is_invalid(tmp_path: Path, content: str) -> None:
    with pytest.raises(Invalid, match="not a manifest"):
        _load(tmp_path, content)


def test_a_newer_schema_is_said_and_not_guessed(tmp_path: Path, raw: dict[str, object]) -> None:
    raw["schema"] = 2
    raw["seal"] = seal(raw)
    with pytest.raises(Invalid, match="schema 2"):
        _load(tmp_path, json.dumps(raw))


@pytest.mark.parametrize("key", ["vocab", "data_id", "eos", "seal", "splits"])
def test_any_change_breaks_the_seal(tmp_path: Path, raw: dict[str, object], key: str) -> None:
    raw[key] = 17
    with pytest.raises(Damaged, match="seal"):
        _load(tmp_path, json.dumps(raw))


def test_a_number_that_json_does_not_have_is_damage(tmp_path: Path, raw: dict[str, object]) -> None:
    with pytest.raises(Damaged, match="seal"):
        _load(tmp_path, json.dumps({**raw, "vocab": float("nan")}))


def test_a_manifest_from_before_documents_were_cut_is_read(
    tmp_path: Path, raw: dict[str, object]
) -> None:
    del raw["cut"]
    _load(tmp_path, json.dumps({**raw, "seal": seal(raw)}))
    assert load_manifest(tmp_path).cut is None


def test_a_sealed_manifest_without_a_field_is_damaged(
    tmp_path: Path, raw: dict[str, object]
) -> None:
    del raw["vocab"]
    (tmp_path / "manifest.json").write_text(json.dumps({**raw, "seal": seal(raw)}))
    with pytest.raises(Damaged, match="vocab"):
        load_manifest(tmp_path)


def test_the_seal_ignores_layout_and_order(tmp_path: Path, raw: dict[str, object]) -> None:
    _load(tmp_path, json.dumps(dict(reversed(raw.items())), indent=7, ensure_ascii=False))


def test_a_manifest_survives_its_json(prepared: Path, raw: dict[str, object]) -> None:
    loaded = load_manifest(prepared)
    assert json.loads(json.dumps(loaded.to_dict())) == raw
    assert Manifest.from_dict(loaded.to_dict()) == loaded


def test_the_id_follows_tokenizer_and_tokens(prepared: Path) -> None:
    loaded = load_manifest(prepared)
    assert loaded.data_id == data_id(loaded.tokenizer.sha256, loaded.splits)
    assert loaded.data_id != data_id("other", loaded.splits)
    swapped = {"train": loaded.splits["heldout"], "heldout": loaded.splits["train"]}
    assert loaded.data_id != data_id(loaded.tokenizer.sha256, swapped)
