"""Byte-level BPE of Thai and English: every text comes back, no merge crosses a word, saved and loaded."""

import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tlcourse.data.general import wikipedia_texts
from tlcourse.gpt.bpe import (
    DELIMITER,
    END_OF_TEXT,
    EXTRACT,
    SPECIALS,
    START,
    load_tokeniser,
    save_tokeniser,
    train_bpe,
)
from tlcourse.text.tokens import _words_of_run

ENGLISH = [
    "The river rose after three days of rain, and the lower fields were under water.",
    "It's late; she'll read the newspaper on the train, he'd rather look out of the window.",
]


@pytest.fixture(scope="module")
def texts():
    return [*wikipedia_texts(), *ENGLISH * 3]


@pytest.fixture(scope="module")
def tokeniser(texts):
    return train_bpe(texts, vocab_size=1500)


def pieces(tokeniser, text: str) -> list[str]:
    """What each piece stands for."""
    offsets = tokeniser(text, return_offsets_mapping=True).offset_mapping
    return [text[a:b] for a, b in offsets]


def test_special_tokens_come_first_then_bytes(tokeniser):
    assert tokeniser.convert_ids_to_tokens(range(4)) == [END_OF_TEXT, START, DELIMITER, EXTRACT] == list(SPECIALS)
    assert (tokeniser.pad_token_id, tokeniser.bos_token_id, tokeniser.eos_token_id) == (0, 0, 0)
    assert sorted(tokeniser.decode([i]) for i in range(4, 260))[:3] == ["\0", "\x01", "\x02"]
    assert len(tokeniser) == 1500 and tokeniser.is_fast


def test_the_same_texts_give_the_same_pieces(texts, tokeniser):
    again = train_bpe(iter(texts[::-1]), vocab_size=1500)
    assert again.backend_tokenizer.model.__getstate__() == tokeniser.backend_tokenizer.model.__getstate__()


texts_of_all_kinds = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
thai_and_others = st.text(st.sampled_from("กขคนรเแำะาิีึุ่้๊์ๆฯ๑ aZ9 .,'<|>\n\t\u200b\u200d\u00a0😀é中"), max_size=40)


@settings(deadline=None, max_examples=200)
@given(st.one_of(texts_of_all_kinds, thai_and_others))
@example("  น้ำ  ท่วม 😀🏽‍👩 hello\n\n  world ")
@example("<start>ก<|endoftext|> <extract >")
@example("e\u0301 don 't I 'm . ,")
def test_every_text_comes_back(tokeniser, text):
    assert tokeniser.decode(tokeniser.encode(text)) == text
    assert tokeniser.decode(tokeniser.encode(text, split_special_tokens=True)) == text


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from("กขคนรเแำะาิีึุ่้๊์ๆฯ"), min_size=1, max_size=40))
def test_no_piece_crosses_a_thai_word(tokeniser, text):
    ends = {*itertools.accumulate(map(len, _words_of_run(text)))}
    for a, b in tokeniser(text, return_offsets_mapping=True).offset_mapping:
        assert not any(a < end < b for end in ends)


def test_a_thai_word_with_vowels_and_tones_is_one_piece(tokeniser):
    assert pieces(tokeniser, "ประเทศที่ใน") == ["ประเทศ", "ที่", "ใน"]
    tokeniser = train_bpe(["น้ำ"] * 3, vocab_size=300)
    assert len(tokeniser.encode("น้ำ")) == 1


def test_an_english_word_takes_its_blank_and_sheds_its_ending():
    text = "I know that it's   the cat's."
    tokeniser = train_bpe([text] * 2, vocab_size=400)
    assert pieces(tokeniser, text) == ["I", " know", " that", " it", "'s", "  ", " the", " cat", "'s", "."]


def test_merges_by_frequency():
    tokeniser = train_bpe(["ab ab ab abc bc"], vocab_size=4 + 256 + 2)
    assert tokeniser.convert_ids_to_tokens([260, 261]) == ["ab", "Ġab"]  # 4 times, then 3 with the blank


def test_nothing_is_added_at_the_ends(tokeniser):
    assert tokeniser.encode("") == []
    assert "".join(pieces(tokeniser, "the")) == "the" and min(tokeniser.encode("the")) > 3


def test_special_tokens_written_in_a_text(tokeniser):
    assert tokeniser.encode(END_OF_TEXT + START) == [0, 1]
    assert min(tokeniser.encode(END_OF_TEXT + START, split_special_tokens=True)) > 3
    assert tokeniser.decode([1, *tokeniser.encode("ฝน"), 2, 3], skip_special_tokens=True) == "ฝน"


def test_saved_and_loaded(tokeniser, texts, tmp_path):
    save_tokeniser(tokeniser, tmp_path / "new")
    loaded = load_tokeniser(tmp_path / "new")
    for settings_ in ({}, {"truncation": True, "max_length": 20, "padding": True, "return_offsets_mapping": True}):
        assert loaded(texts, **settings_).data == tokeniser(texts, **settings_).data
    assert loaded.all_special_tokens == list(SPECIALS) and loaded.pad_token_id == 0
    assert all(loaded.decode(ids) == text for ids, text in zip(loaded(texts).input_ids, texts, strict=True))
    pre = json.loads((tmp_path / "new" / "tokenizer.json").read_text())["pre_tokenizer"]
    assert [step["type"] for step in pre["pretokenizers"]] == ["Split", "ByteLevel"]


def test_transformers_opens_the_folder_without_thai_words(tokeniser, tmp_path):
    save_tokeniser(tokeniser, tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(ENGLISH).data == tokeniser(ENGLISH).data
    text = "น้ำท่วมทุ่ง 😀"
    assert plain.decode(plain.encode(text)) == text


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("one text",), TypeError, "put it into a list"),
        ((["a", None],), TypeError, "text 1 must be a str, not NoneType"),
        (([],), ValueError, "texts are empty"),
        ((["", ""],), ValueError, "texts are empty"),
    ],
)
def test_what_cannot_be_learned_from(arguments, error, says):
    with pytest.raises(error, match=says):
        train_bpe(*arguments)


def test_a_vocabulary_too_small_for_the_bytes():
    with pytest.raises(ValueError, match="at least 260"):
        train_bpe(["a"], vocab_size=259)
    assert len(train_bpe(["a"], vocab_size=260)) == 260


def test_a_very_long_word_takes_no_quadratic_time(tokeniser):
    text = "ก่" * 20_000 + "a" * 20_000
    assert tokeniser.decode(tokeniser.encode(text)) == text
