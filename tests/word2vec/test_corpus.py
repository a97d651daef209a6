"""Counting and numbering the words of a text."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.word2vec.corpus import encode, encode_like

SENTENCES = st.lists(st.lists(st.sampled_from(["ปลา", "แมว", "cat", "a", "b"]), max_size=8), min_size=1, max_size=8)


@given(SENTENCES, st.integers(1, 3))
def test_the_text_comes_back_without_its_rare_words(sentences, min_count):
    counted = Counter(chain.from_iterable(sentences))
    kept = {word for word, n in counted.items() if n >= min_count}
    if len(kept) < 2:
        with pytest.raises(ValueError, match="two at least"):
            encode(sentences, min_count=min_count)
        return
    text = encode(sentences, min_count=min_count)
    assert set(text.words) == kept
    assert text.counts.tolist() == [counted[word] for word in text.words] == sorted(text.counts, reverse=True)
    spans = zip(text.starts, text.starts[1:], strict=False)
    decoded = [[text.words[i] for i in text.ids[start:end]] for start, end in spans]
    assert decoded == [[word for word in sentence if word in kept] for sentence in sentences]
    assert len(text) == text.counts.sum() == text.starts[-1]


def test_of_equally_frequent_words_the_order_is_fixed():
    assert encode([["b", "a", "c"], ["c", "b", "a"]], min_count=1).words == ("a", "b", "c")


def test_the_most_frequent_words_are_kept():
    text = encode([["a"] * 3 + ["b"] * 2 + ["c"]], min_count=1, max_vocab=2)
    assert text.words == ("a", "b")
    np.testing.assert_array_equal(text.ids, [0, 0, 0, 1, 1])


def test_a_text_is_cut_into_words_first():
    with pytest.raises(TypeError, match="tokeniser"):
        encode(["one sentence"])
    with pytest.raises(TypeError, match="tokeniser"):
        encode_like(encode([["a", "b"]], min_count=1), ["ab"])


def test_further_sentences_are_numbered_alike():
    text = encode([["a", "b", "c", "d", "a"]], min_count=1)
    further = encode_like(text, [["a"], ["b", "unseen"], [], ["d", "c"]])
    assert further.words == text.words and further.counts is text.counts
    assert [text.words[i] for i in further.ids] == ["a", "b", "d", "c"]
    assert further.starts.tolist() == [0, 1, 2, 2, 4]
    assert (further.ids.dtype, further.starts.dtype) == (np.int32, np.int64)


@given(SENTENCES)
def test_the_same_text_again_is_the_same(sentences):
    sentences = [["a", "b"], *sentences]
    text = encode(sentences, min_count=1)
    again = encode_like(text, iter(sentences))
    np.testing.assert_array_equal(again.ids, text.ids)
    np.testing.assert_array_equal(again.starts, text.starts)
