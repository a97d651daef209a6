"""Words as ids, against ids written out by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.elmo.characters import character_ids

BEGIN, END, PADDING = 259, 260, 261  # of a word


def test_a_word_is_its_bytes_between_two_marks():
    ids = character_ids([["cat"]])
    assert ids.dtype == torch.int64 and ids.shape == (1, 3, 50)
    assert ids[0, 0].tolist() == [BEGIN, 257, END] + [PADDING] * 47  # the sentence begins
    assert ids[0, 1].tolist() == [BEGIN, 100, 98, 117, END] + [PADDING] * 45
    assert ids[0, 2].tolist() == [BEGIN, 258, END] + [PADDING] * 47  # and ends


def test_shorter_sentences_are_followed_by_rows_of_0():
    ids = character_ids([["a", "b"], ["a"], []])
    assert ids.shape == (3, 4, 50)
    assert (ids[..., 0] > 0).tolist() == [[True] * 4, [True] * 3 + [False], [True] * 2 + [False] * 2]
    assert not ids[ids[..., 0] == 0].any()
    assert ids[2, :2].equal(ids[0, [0, 3]])  # an empty sentence has its marks


def test_no_sentences():
    assert character_ids([]).shape == (0, 2, 50)


def test_an_empty_word_has_its_marks_only():
    assert character_ids([[""]])[0, 1].tolist() == [BEGIN, END] + [PADDING] * 48


@pytest.mark.parametrize("word", ["a" * 48, "a" * 49, "a" * 10_000, "ก" * 16, "ก" * 17, "ก" * 10_000])
def test_long_words_are_cut_after_48_bytes(word):
    ids = character_ids([[word]])[0, 1].tolist()
    assert ids == [BEGIN, *(byte + 1 for byte in word.encode()[:48]), END]


def test_a_cut_may_go_through_a_character():
    ids = character_ids([["a" + "ก" * 20]])[0, 1].tolist()
    assert ids[:-1] == [BEGIN, 98, *[0xE0 + 1, 0xB8 + 1, 0x81 + 1] * 15, 0xE0 + 1, 0xB8 + 1]


@pytest.mark.parametrize("word", ["🙂", "👨‍👩‍👧", "ก็", "น้ำ", "ที่\u0e4c", "\u0e49", "a\u0301", "\x00", "\u200b"])
def test_emoji_and_combining_marks_keep_every_byte(word):
    ids = character_ids([[word]])[0, 1].tolist()
    raw = word.encode()
    assert ids[: len(raw) + 2] == [BEGIN, *(byte + 1 for byte in raw), END]


def test_words_spelt_like_the_marks_of_a_sentence_are_the_marks():
    ids = character_ids([["<S>", "</S>"]])[0]
    assert ids[0].equal(ids[1]) and ids[2].equal(ids[3])


def test_a_lone_surrogate_is_left_out():
    assert character_ids([["a\ud800b"]]).equal(character_ids([["ab"]]))


@given(st.lists(st.lists(st.text(max_size=60), max_size=4), max_size=3), st.integers(3, 60))
def test_every_id_has_a_row_in_the_embedding(sentences, longest):
    ids = character_ids(sentences, longest=longest)
    words = ids[ids[..., 0] > 0]
    assert words.shape == (sum(map(len, sentences)) + 2 * len(sentences), longest)
    assert words.numel() == 0 or (words.min() >= 1 and words.max() <= 261)
    assert ((words == END).sum(1) == 1).all() and (words[:, 0] == BEGIN).all()


@pytest.mark.parametrize(
    ("sentences", "says"),
    [
        (["the cat"], "sentence 0 is a text"),
        ("the cat", "sentence 0 is a text"),
        ([["a"], ["b", 3]], "word 1 of sentence 1 is no text: 3"),
        ([[None]], "word 0 of sentence 0 is no text: None"),
    ],
)
def test_what_are_no_words(sentences, says):
    with pytest.raises(TypeError, match=says):
        character_ids(sentences)


def test_too_short_a_limit():
    with pytest.raises(ValueError, match="longest=2"):
        character_ids([["a"]], longest=2)
