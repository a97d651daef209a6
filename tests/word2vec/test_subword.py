import fasttext
import numpy as np
import pytest
from gensim.models.fasttext_inner import compute_ngrams, compute_ngrams_bytes, ft_hash_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse.word2vec.subword import hash_ngram, ngram_rows, ngrams, word_rows

BUCKETS = 1009
WORDS = [
    "where",
    "I",
    "a",
    "Ångström",
    "naïve",
    "เด็ก",
    "น้ำ",
    "กตัญญู",
    "ผู้หญิง",
    "ณ",
    "โรงเรียน",
    "ๆ",
    "😀",
    "x😀y",
    "<",
    ">",
]
LENGTHS = [(3, 6), (3, 3), (4, 5), (6, 6), (2, 4), (1, 3)]

words_of_any_kind = st.text(max_size=12)


def by_the_book(word: str, min_n: int, max_n: int) -> list[bytes]:
    """fastText's own loop (dictionary.cc, computeSubwords), over bytes."""
    text, found = f"<{word}>".encode(), []
    for i in range(len(text)):
        if (text[i] & 0xC0) == 0x80:
            continue
        j, n = i, 1
        while j < len(text) and n <= max_n:
            j += 1
            while j < len(text) and (text[j] & 0xC0) == 0x80:
                j += 1
            if n >= min_n and not (n == 1 and (i == 0 or j == len(text))):
                found.append(text[i:j])
            n += 1
    return found


@pytest.fixture(scope="module", params=LENGTHS, ids=str)
def peer(request, tmp_path_factory):
    """A model of fastText's with n-grams of min_n to max_n characters."""
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("one two one two\n", encoding="utf-8")
    min_n, max_n = request.param
    model = fasttext.train_unsupervised(
        str(text), dim=2, minCount=1, epoch=1, bucket=BUCKETS, minn=min_n, maxn=max_n, thread=1, verbose=0
    )
    return model, min_n, max_n


def test_ngrams_and_rows_are_fasttexts(peer):
    model, min_n, max_n = peer
    for word in WORDS:
        theirs, rows = model.get_subwords(word)
        assert ngrams(word, min_n, max_n) == theirs
        n_words = len(model.words)
        assert [n_words + row for row in ngram_rows(word, min_n=min_n, max_n=max_n, buckets=BUCKETS)] == list(rows)


def test_the_end_of_a_sentence_has_no_ngrams(peer):
    model, min_n, max_n = peer
    assert model.get_subwords("</s>")[0] == ["</s>"]  # itself only
    assert ngrams("</s>", min_n, max_n) == []
    assert word_rows(["</s>", "ab"], min_n=3, max_n=6, buckets=BUCKETS).getnnz(axis=1).tolist() == [1, 4]


@settings(deadline=None, max_examples=200)
@given(words_of_any_kind, st.integers(1, 6), st.integers(0, 6))
def test_ngrams_are_those_of_the_loop_over_bytes(word, min_n, max_n):
    expected = [] if word == "</s>" else by_the_book(word, min_n, max_n)
    assert [ngram.encode() for ngram in ngrams(word, min_n, max_n)] == expected
    assert [hash_ngram(ngram) for ngram in ngrams(word, min_n, max_n)] == [ft_hash_bytes(raw) for raw in expected]


@pytest.mark.parametrize("word", WORDS)
def test_ngrams_are_gensims(word):
    assert sorted(ngrams(word, 3, 6)) == sorted(compute_ngrams(word, 3, 6))
    assert [hash_ngram(ngram) for ngram in ngrams(word, 3, 6)] == [
        ft_hash_bytes(raw) for raw in compute_ngrams_bytes(word, 3, 6)
    ]


def test_known_ngrams():
    assert ngrams("where", 3, 3) == ["<wh", "whe", "her", "ere", "re>"]
    assert ngrams("น้ำ", 3, 3) == ["<น้", "น้ำ", "้ำ>"]  # น, ้ and ำ are three characters
    assert ngrams("a", 1, 2) == ["<a", "a", "a>"]
    assert hash_ngram("") == 2166136261
    assert hash_ngram("a") == 0xE40C292C  # the published FNV-1a test vector
    assert ngram_rows("where", buckets=0) == []


@settings(deadline=None, max_examples=100)
@given(st.lists(words_of_any_kind, max_size=8), st.integers(1, 4), st.integers(0, 6), st.integers(0, 50))
def test_all_words_at_once_have_the_rows_of_each(words, min_n, max_n, buckets):
    rows = word_rows(words, min_n=min_n, max_n=max_n, buckets=buckets)
    assert rows.shape == (len(words), len(words) + buckets) and rows.dtype == np.float32
    for i, word in enumerate(words):
        own = [len(words) + row for row in ngram_rows(word, min_n=min_n, max_n=max_n, buckets=buckets)]
        span = slice(rows.indptr[i], rows.indptr[i + 1])
        assert rows.indices[span].tolist() == [i, *own]
        np.testing.assert_allclose(rows.data[span], 1 / (1 + len(own)))


def test_blocks_change_nothing(monkeypatch):
    whole = word_rows(WORDS, buckets=BUCKETS)
    monkeypatch.setattr("tlcourse.word2vec.subword.BLOCK", 3)
    assert (word_rows(WORDS, buckets=BUCKETS) != whole).nnz == 0
