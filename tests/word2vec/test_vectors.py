import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse.word2vec import vectors as module
from tlcourse.word2vec.subword import ngram_rows, word_rows
from tlcourse.word2vec.vectors import SubwordVectors, UnknownWord, WordVectors, near_spellings

WORDS = ["king", "queen", "man", "woman", "โรงเรียน", "โรงแรม", "ครู", "นักเรียน"]


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)


@pytest.fixture
def words() -> list[str]:
    return WORDS + [f"w{i}" for i in range(292)]


@pytest.fixture
def vectors(words, matrix) -> WordVectors:
    return WordVectors(words, matrix)


@pytest.fixture
def peer(words, matrix) -> KeyedVectors:
    peer = KeyedVectors(20)
    peer.add_vectors(words, matrix)
    return peer


@pytest.fixture
def subwords(words) -> SubwordVectors:
    inputs = np.random.default_rng(1).standard_normal((300 + 1000, 100)).astype(np.float32)
    return SubwordVectors(words, inputs, min_n=3, max_n=4)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7 * 20)  # 7 rows of 20 numbers


# ------------------------------------------------------------------------------------------------------ look-ups
def test_a_word_has_its_row(vectors, matrix):
    assert len(vectors) == 300 and vectors.dim == 20 and vectors.row("โรงแรม") == 5
    assert "ครู" in vectors and "ครูใหญ่" not in vectors
    np.testing.assert_array_equal(vectors["โรงแรม"], matrix[5])
    assert repr(vectors) == "<WordVectors: 300 words, 20 dimensions>"


@pytest.mark.parametrize("ask", [lambda v: v["quen"], lambda v: v.row("quen"), lambda v: v.similarity("king", "quen")])
def test_an_unknown_word_is_named_with_near_spellings(vectors, ask):
    with pytest.raises(UnknownWord, match="no vector for 'quen'; there is queen"):
        ask(vectors)


def test_near_spellings_also_differ_in_case():
    assert near_spellings("paris", ["Paris", "London", "Pariss"])[0] == "Paris"
    assert near_spellings("โรงเรียนน", WORDS) == ["โรงเรียน"]
    assert near_spellings("", WORDS) == near_spellings("xyzzy", WORDS) == []


# --------------------------------------------------------------------------------------------------- beside gensim
@pytest.mark.parametrize("most_frequent", [None, 40])
def test_nearest_is_gensims(vectors, peer, most_frequent):
    ours = vectors.nearest("king", k=15, most_frequent=most_frequent)
    theirs = peer.most_similar("king", topn=15, restrict_vocab=most_frequent)
    assert list(ours.columns) == ["word", "cosine"] and list(ours.word) == [word for word, _ in theirs]
    np.testing.assert_allclose(ours.cosine, [cosine for _, cosine in theirs], atol=1e-6)


def test_analogies_are_gensims(vectors, peer):
    ours = vectors.analogy("man", "king", "woman", k=10)
    theirs = peer.most_similar(positive=["king", "woman"], negative=["man"], topn=10)
    assert list(ours.columns) == ["word", "score"] and list(ours.word) == [word for word, _ in theirs]
    np.testing.assert_allclose(ours.score, [score for _, score in theirs], atol=1e-6)
    ours = vectors.analogy("man", "king", "woman", k=10, method="mul")
    theirs = peer.most_similar_cosmul(positive=["king", "woman"], negative=["man"], topn=10)
    assert list(ours.word) == [word for word, _ in theirs]
    np.testing.assert_allclose(ours.score, [score for _, score in theirs], rtol=0.02)  # its epsilon is smaller


@pytest.mark.parametrize("method", ["add", "mul"])
def test_an_analogy_may_answer_with_its_own_words(vectors, method):
    answers = set(vectors.analogy("man", "king", "woman", k=3, method=method, exclude=False).word)
    assert {"king", "woman"} <= answers
    answers = set(vectors.analogy("man", "king", "woman", k=300, method=method).word)
    assert answers == set(vectors.words) - {"man", "king", "woman"}


def test_odd_one_out_is_gensims(vectors, peer, words):
    for start in range(0, 60, 5):
        assert vectors.odd_one_out(words[start : start + 5]) == peer.doesnt_match(words[start : start + 5])


def test_similarity_is_gensims(vectors, peer):
    assert vectors.similarity("king", "ครู") == pytest.approx(peer.similarity("king", "ครู"), abs=1e-6)


# ------------------------------------------------------------------------------------------------------ properties
finite = st.floats(-1e3, 1e3, width=32)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 40))
def test_nearest_sorts_all_others_by_cosine(rows, k, most_frequent):
    vectors = WordVectors([str(i) for i in range(len(rows))], rows)
    near = vectors.nearest("0", k=k, most_frequent=most_frequent)
    assert len(near) == min(k, min(most_frequent, len(rows)) - 1) and "0" not in set(near.word)
    assert (np.diff(near.cosine) <= 0).all() and near.cosine.between(-1, 1).all()
    every = [vectors.similarity("0", str(i)) for i in range(1, min(most_frequent, len(rows)))]
    np.testing.assert_allclose(near.cosine, sorted(every, reverse=True)[:k], atol=1e-5)


def test_equal_neighbours_come_by_frequency():
    vectors = WordVectors("abcdef", [[1, 0]] * 6)
    assert list(vectors.nearest("c", k=3).word) == ["a", "b", "d"]


def test_a_vector_can_be_asked_and_words_left_out(vectors):
    assert vectors.nearest(vectors["king"], k=1).word.item() == "king"
    assert vectors.nearest(vectors["king"], k=1, exclude=["king", "not there"]).word.item() != "king"
    assert "queen" not in set(vectors.nearest("king", k=300, exclude=["queen"]).word)


def test_rows_of_zeros_have_no_direction():
    vectors = WordVectors("ab", [[0, 0], [3, 4]])
    np.testing.assert_allclose(vectors.unit, [[0, 0], [0.6, 0.8]])
    assert vectors.similarity("a", "b") == 0 and vectors.nearest("a").cosine.item() == 0


def test_blocks_change_nothing(vectors, words, matrix, small_blocks):
    blocked = WordVectors(words, matrix)
    np.testing.assert_array_equal(blocked.unit, vectors.unit)
    np.testing.assert_allclose(blocked.nearest("king", k=300).cosine, vectors.nearest("king", k=300).cosine, atol=1e-6)
    assert list(blocked.nearest("king").word) == list(vectors.nearest("king").word)


def test_a_memory_mapped_matrix_stays_on_disk(words, matrix, vectors, small_blocks, tmp_path):
    np.save(tmp_path / "matrix.npy", matrix)
    mapped = WordVectors(words, np.load(tmp_path / "matrix.npy", mmap_mode="r"))
    assert isinstance(mapped.matrix, np.memmap) and type(mapped["king"]) is np.ndarray
    assert list(mapped.nearest("king").word) == list(vectors.nearest("king").word)
    assert list(mapped.analogy("man", "king", "woman").word) == list(vectors.analogy("man", "king", "woman").word)


# ------------------------------------------------------------------------------------------- an embedding to begin with
def test_embedding_takes_known_rows_and_draws_the_others_alike(vectors, words):
    asked = words + [f"new {i}" for i in range(2000)]
    matrix, known = vectors.embedding(asked, seed=1)
    assert matrix.dtype == np.float32 and known.sum() == 300 and known[:300].all()
    np.testing.assert_array_equal(matrix[known], vectors.matrix)
    np.testing.assert_allclose(matrix[~known].mean(axis=0), vectors.matrix.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(matrix[~known].std(axis=0), vectors.matrix.std(axis=0), rtol=0.1)
    np.testing.assert_array_equal(vectors.embedding(asked, seed=1)[0], matrix)
    assert not np.array_equal(vectors.embedding(asked, seed=2)[0], matrix)
    with pytest.raises(ValueError, match="same language"):
        vectors.embedding(["new"])


# ---------------------------------------------------------------------------------------------------------- subwords
def test_a_known_word_is_the_mean_of_its_row_and_its_ngrams(subwords, words):
    rows = [len(words) + row for row in ngram_rows("ครู", min_n=3, max_n=4, buckets=1000)]
    wanted = subwords.inputs[[words.index("ครู"), *rows]].mean(axis=0)
    np.testing.assert_allclose(subwords["ครู"], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        subwords.matrix, word_rows(words, min_n=3, max_n=4, buckets=1000) @ subwords.inputs, atol=1e-6
    )


def test_an_unseen_word_is_composed_wherever_a_word_is_asked(subwords):
    rows = ngram_rows("โรงเรียนเก่า", min_n=3, max_n=4, buckets=1000)
    np.testing.assert_allclose(subwords["โรงเรียนเก่า"], subwords.ngrams[rows].mean(axis=0), rtol=1e-4, atol=1e-6)
    assert "โรงเรียนเก่า" not in subwords and subwords.composable("โรงเรียนเก่า")
    assert subwords.nearest("โรงเรียนเก่า", k=1).word.item() == "โรงเรียน"  # they share n-grams
    assert subwords.similarity("โรงเรียนเก่า", "โรงเรียน") > subwords.similarity("โรงเรียนเก่า", "king")
    assert len(subwords.analogy("โรงเรียนเก่า", "king", "โรงแรมเก่า", k=4)) == 4
    assert subwords.embedding(["โรงเรียนเก่า", ""])[1].tolist() == [True, False]


def test_a_word_without_ngrams_is_unknown(subwords):
    assert not subwords.composable("")  # <> has two characters
    with pytest.raises(UnknownWord):
        subwords[""]


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("words", "matrix", "message"),
    [
        (["a", "b"], np.ones((3, 2)), "2 words, but 3 rows"),
        (["a", "b", "a"], np.ones((3, 2)), "'a' stands twice"),
        (["a", "b"], np.ones(2), "not of the shape"),
        ([], np.ones((0, 2)), "not of the shape"),
        (["a"], np.ones((1, 0)), "not of the shape"),
        (["a", "b"], [[1, 2], [1, np.nan]], "the vector of 'b'"),
        (["a", "b"], [[1, np.inf], [1, 2]], "the vector of 'a'"),
    ],
)
def test_words_and_rows_must_fit(words, matrix, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, matrix)


def test_counts_must_fit():
    with pytest.raises(ValueError, match="counts"):
        WordVectors("ab", np.ones((2, 2)), np.ones(3))


def test_inputs_must_fit():
    with pytest.raises(ValueError, match="2 words, but input rows"):
        SubwordVectors("ab", np.ones((1, 2)))
    with pytest.raises(ValueError, match="n-gram"):
        SubwordVectors("ab", [[1, 2], [1, 2], [1, np.nan]])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda v: v.nearest("king", k=0), "k must be 1 or more"),
        (lambda v: v.nearest(np.ones(3)), "20 numbers"),
        (lambda v: v.analogy("man", "king", "woman", method="div"), "'add' or 'mul'"),
        (lambda v: v.odd_one_out(["man", "king"]), "three words"),
        (lambda v: v.odd_one_out("man"), "three words"),
    ],
)
def test_questions_without_an_answer(vectors, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(vectors)
