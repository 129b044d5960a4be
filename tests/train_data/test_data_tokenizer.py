from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid
from exa_train.data import spmodel, tokenizer
from exa_train.data.tokenizer import EOS, RESERVED, SMALLEST, Tokenizer, alphabet, load, train

_CODE = Path(tokenizer.__file__).read_text()
_OWN = train([_CODE], 420)


def _foreign(**options: object) -> bytes:
    """A model as others train them: SentencePiece's defaults, where not said otherwise."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CODE.splitlines()),
        model_writer=model,
        minloglevel=2,
        **{"vocab_size": 380, "byte_fallback": True, "hard_vocab_limit": False, **options},
    )
    return model.getvalue()


def _raw(model: bytes, text: str) -> list[int]:
    return list(sentencepiece.SentencePieceProcessor(model_proto=model).encode(text))


def test_a_vocabulary_too_large_for_the_text_names_the_largest_that_fits() -> None:
    with pytest.raises(Invalid, match="too large for this text: at most") as caught:
        train(["to be or not to be\n"] * 3, 4000)
    largest = int(caught.value.what.split()[-1])
    assert train(["to be or not to be\n"] * 3, largest).vocab == largest


def test_a_vocabulary_too_small_for_the_fixed_part_is_refused() -> None:
    with pytest.raises(Invalid, match="too small"):
        train([_CODE], SMALLEST - 1)
    assert train([_CODE], SMALLEST).vocab == SMALLEST


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\xff\xff\xff\xff"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.model").write_bytes(content)
    with pytest.raises(Invalid, match="not a SentencePiece model") as caught:
        load(tmp_path / "x.model")
    assert str(tmp_path) in (caught.value.where or "")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot read the tokenizer"):
        load(tmp_path / "x.model")


def test_a_model_without_an_end_token_is_refused() -> None:
    with pytest.raises(Invalid, match="no end-of-sequence token"):
        Tokenizer(_foreign(eos_id=-1))


_TEXT = st.text() | st.lists(
    st.sampled_from(["\u2581", " ", "  ", "\n", "\r\n", "\t", "def f(x):", "\0", "é", "<s>", "0"])
).map("".join)


@given(_TEXT)
def test_any_text_comes_back_exactly(text: str) -> None:
    assert _OWN.decode(_OWN.encode(text)) == text


@given(_TEXT.map(lambda text: text.replace("\u2581", "")))
def test_feeding_lines_gives_the_same_tokens_as_feeding_documents(text: str) -> None:
    assert _OWN.encode(text).tolist() == _raw(_OWN.model, text)


def test_feeding_lines_gives_the_same_tokens_on_real_code() -> None:
    assert _OWN.encode(_CODE).tolist() == _raw(_OWN.model, _CODE)
    assert len(_OWN.encode(_CODE)) < len(_CODE) / 1.5


@given(_TEXT)
def test_no_text_can_spell_a_special_token(text: str) -> None:
    spelled = "".join(_OWN.special) + text
    assert not set(_OWN.encode(spelled).tolist()) & set(_OWN.special.values())


def test_the_vocabulary_holds_what_was_promised() -> None:
    assert _OWN.eos == EOS == _OWN.special["</s>"]
    assert set(RESERVED) < set(_OWN.special)
    assert len(_OWN.special) == 4 + len(RESERVED)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=_OWN.model)
    words = [pieces.id_to_piece(token) for token in range(_OWN.vocab)]
    assert not [
        word
        for word in words
        if len(word) > 1
        and any(c.isdigit() for c in word[-2:])
        and not word.startswith(("<0x", "<reserved"))
    ]


def test_the_same_text_trains_the_same_model() -> None:
    assert train([_CODE], 420).sha256 == _OWN.sha256


def test_a_large_alphabet_leaves_room_for_merges() -> None:
    """Thousands of different characters, and still a small vocabulary learns pairs."""
    signs = "".join(chr(0x4E00 + number) for number in range(3000))
    learnt = train([signs + "\n" + "the cat and the hat\n" * 300], 320)
    assert learnt.vocab == 320
    assert len(learnt.encode("the cat")) < 6
    assert learnt.decode(learnt.encode(signs)) == signs


def test_the_alphabet_is_cut_to_the_room_there_is() -> None:
    assert alphabet(["aabb", "aac\t\0\u2581"], 2) == "ab"
    assert alphabet(["aabb", "aac\t\0\u2581"], 50) == "abc"
    assert alphabet(["a" * 99_990 + "b" * 9 + "c"], 50) == "a"


def test_a_foreign_model_that_rewrites_text_is_fed_whole_documents() -> None:
    model = _foreign()
    foreign = Tokenizer(model)
    assert not foreign.lossless
    text = "a  b\n c \u2581 ﬁ\n"
    assert foreign.encode(text).tolist() == _raw(model, text)


def test_a_foreign_model_that_keeps_text_is_lossless() -> None:
    keeping = {"normalization_rule_name": "identity", "add_dummy_prefix": False}
    foreign = Tokenizer(_foreign(**keeping, remove_extra_whitespaces=False))
    assert foreign.lossless
    text = "a  b\n\n c \u2581 ﬁ\r\n"
    assert foreign.decode(foreign.encode(text)) == text


def test_pieces_over_line_breaks_forbid_feeding_lines() -> None:
    model = _foreign(
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n\n  "],
    )
    text = "a\n\n  b\n"
    assert Tokenizer(model).encode(text).tolist() == _raw(model, text)


def test_the_normaliser_is_read_from_the_model() -> None:
    assert spmodel.normalizer(_OWN.model).keeps_text
    foreign = spmodel.normalizer(_foreign())
    assert foreign.rewrites_characters and foreign.adds_space and foreign.removes_spaces
    assert foreign.escapes_spaces


@pytest.mark.parametrize("message", [b"\x1a\x05\x18", b"\x1a", b"\x80", b"\x1b\x00"])
def test_a_cut_message_is_an_error_and_not_a_loop(message: bytes) -> None:
    with pytest.raises(ValueError, match="protocol buffer"):
        spmodel.normalizer(message)


def test_tokens_are_one_flat_array() -> None:
    assert _OWN.encode("").shape == (0,)
    assert _OWN.encode("a\nb").dtype == np.int64
