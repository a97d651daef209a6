"""The baselines, against scikit-learn put together in another way and against figures by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.svm import LinearSVC

from tlcourse import baselines
from tlcourse.data import DataError, labelled_subset

WORDS = (["ยอด", "จ่าย", "บิล"], ["เน็ต", "ช้า", "wifi"], ["หาย", "ซิม", "ระงับ"])
COMMON = ["ครับ", "ค่ะ", "อยาก", "ช่วย", "หน่อย", "เดือน นี้"]  # one of them holds a blank


def calls(n, seed, noise=0.3):
    """Texts of three classes, one word of the class among common words; some carry a word of another class."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    texts = []
    for label in labels:
        tokens = [*rng.choice(COMMON, rng.integers(1, 5)), rng.choice(WORDS[label])]
        if rng.random() < noise:
            tokens.append(rng.choice(WORDS[rng.integers(3)]))
        texts.append([str(token) for token in rng.permutation(tokens)])
    return texts, labels


@pytest.fixture(scope="module")
def train():
    return calls(120, seed=0)


@pytest.fixture(scope="module")
def valid():
    return calls(80, seed=1)


@pytest.fixture(scope="module")
def frame(train):
    desks = pd.Categorical.from_codes(train[1], ["billing", "internet", "lost"])
    return pd.DataFrame({"text": [f"{i} {' '.join(t)}" for i, t in enumerate(train[0])], "destination": desks})


@given(st.lists(st.text(max_size=3), max_size=5))
@settings(max_examples=15)
def test_uni_and_bigrams(tokens):
    found = baselines.uni_and_bigrams(tokens)
    assert found == tokens + [tokens[i] + " " + tokens[i + 1] for i in range(len(tokens) - 1)]


class TestLinearSVM:
    def test_it_is_scikit_learn_s(self, train, valid):
        """Another road to the same model: texts as strings, counts of n-grams, then tf-idf, then the SVM."""
        counts = CountVectorizer(token_pattern=r"[^\t]+", lowercase=False, ngram_range=(1, 2))
        tfidf = TfidfTransformer(sublinear_tf=True)
        features = tfidf.fit_transform(counts.fit_transform("\t".join(tokens) for tokens in train[0]))
        svm = LinearSVC(C=0.3, class_weight="balanced", random_state=0).fit(features, train[1])
        rambling = [tokens + tokens[-1:] * 9 for tokens in valid[0]]  # a word said ten times counts for less than ten
        for texts in (valid[0], rambling):
            expected = svm.predict(tfidf.transform(counts.transform("\t".join(tokens) for tokens in texts)))
            assert baselines.linear_svm(*train)(texts).tolist() == expected.tolist()

    def test_it_learns(self, train, valid):
        assert accuracy_score(valid[1], baselines.linear_svm(*train)(valid[0])) > 0.75  # the majority's share is 0.6

    def test_word_order_counts_by_pairs(self):
        tokens = [["ไม่", "หาย"], ["หาย", "ไม่"]] * 3
        assert baselines.linear_svm(tokens, np.array([0, 1] * 3))(tokens[:2]).tolist() == [0, 1]

    def test_classes_are_balanced(self):
        tokens = [["a"]] * 9 + [["a"], ["b"]] * 1
        predict = baselines.linear_svm(tokens, np.array([0] * 9 + [1, 1]))
        assert predict([["b"]]).tolist() == [1]

    def test_an_unknown_or_empty_text_gets_a_class(self, train):
        assert set(baselines.linear_svm(*train)([[], ["never seen"]])) <= {0, 1, 2}

    def test_one_class_only(self):
        with pytest.raises(ValueError, match="class"):
            baselines.linear_svm([["a"], ["b"]], np.array([0, 0]))


class TestFastText:
    def test_it_learns(self, train, valid):
        predicted = baselines.fasttext(*train, lr=0.5)(valid[0])
        assert predicted.shape == (80,) and accuracy_score(valid[1], predicted) > 0.75

    def test_the_same_run_twice(self, train, valid):
        first, second = (baselines.fasttext(*train)(valid[0]) for _ in range(2))
        assert first.tolist() == second.tolist()

    def test_class_numbers_beyond_nine_and_texts_without_words(self):
        tokens = [["a"], ["b"], ["line\nbreak"], []] * 10
        predict = baselines.fasttext(tokens, np.array([3, 12, 120, 7] * 10), lr=1.0)
        assert predict([["a"], ["b"], ["line\nbreak"], []]).tolist() == [3, 12, 120, 7]

    def test_texts_and_labels_must_pair(self):
        with pytest.raises(ValueError, match="zip"):
            baselines.fasttext([["a"]], np.array([0, 1]))


def test_majority():
    predict = baselines.majority([["a"], ["b"], ["c"]], np.array([4, 2, 2]))
    assert predict([["a"]] * 5).tolist() == [2] * 5


class TestScoreAll:
    def test_a_row_a_baseline(self, train, valid):
        table = baselines.score_all(*train, *valid)
        assert list(table.index) == ["most frequent class", "linear SVM", "fastText"]
        assert list(table.columns) == ["micro-F1", "macro-F1"]
        for name, method in baselines.BASELINES.items():
            predicted = method(*train)(valid[0])
            assert table.loc[name, "micro-F1"] == pytest.approx(accuracy_score(valid[1], predicted))
            each = f1_score(valid[1], predicted, average=None, labels=[0, 1, 2], zero_division=0)
            assert table.loc[name, "macro-F1"] == pytest.approx(each.mean())

    def test_the_most_frequent_class_by_hand(self, train, valid):
        share = np.mean(valid[1] == 0)
        row = baselines.score_all(*train, *valid).loc["most frequent class"]
        assert row["micro-F1"] == pytest.approx(share)
        assert row["macro-F1"] == pytest.approx(2 * share / (1 + share) / 3)


class TestLabelCurve:
    def test_a_row_a_run(self, train, valid, frame):
        runs = baselines.label_curve(train[0], frame, label="destination", valid=valid, counts={20: 3, 10**9: 2})
        assert list(runs.columns) == ["method", "labels", "seed", "accuracy", "macro_f1"]
        assert runs["labels"].tolist() == [20, 20, 20, 120, 120] and runs["seed"].tolist() == [0, 1, 2, 0, 1]
        assert set(runs["method"]) == {"linear SVM"}
        on_all = runs[runs["labels"] == 120]
        assert on_all["accuracy"].nunique() == 1  # all rows are the same rows for each seed
        assert on_all["accuracy"].iloc[0] > runs[runs["labels"] == 20]["accuracy"].mean()

    def test_it_draws_the_rows_that_the_networks_get(self, train, valid, frame):
        runs = baselines.label_curve(train[0], frame, label="destination", valid=valid, counts={30: 2})
        for seed in range(2):
            drawn = labelled_subset(frame, by="destination", n=30, seed=seed).index
            predicted = baselines.linear_svm([train[0][i] for i in drawn], train[1][drawn])(valid[0])
            assert runs["accuracy"][seed] == pytest.approx(accuracy_score(valid[1], predicted))
            assert runs["macro_f1"][seed] == pytest.approx(f1_score(valid[1], predicted, average="macro"))

    def test_rows_go_by_position_whatever_the_index(self, train, valid, frame):
        how = {"label": "destination", "valid": valid, "counts": {30: 1}}
        shifted = frame.set_axis(range(1000, 1120))
        expected = baselines.label_curve(train[0], frame, **how)
        pd.testing.assert_frame_equal(baselines.label_curve(train[0], shifted, **how), expected)

    def test_too_few_labels_for_the_classes(self, train, valid, frame):
        with pytest.raises(DataError, match="n must lie between 3"):
            baselines.label_curve(train[0], frame, label="destination", valid=valid, counts={2: 1})


# ------------------------------------------------------------------------------------------------- counting
def test_bigram_probabilities_add_up_to_one():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 6, 200)
    train[train == 5] = 4  # word 5 is never seen
    every = np.array([[v, w] for v in range(6) for w in range(6)])
    losses = [baselines.ngram_losses(train, pair, vocab_size=6) for pair in every]
    for kind in ("unigram", "bigram"):
        p = np.exp(-np.array([loss[kind].iloc[0] for loss in losses])).reshape(6, 6)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)


def test_bigram_by_hand():
    # a b a c: after a came b once and c once; c(a) = 2, N(a) = 2; p(b) = (1 + 1) / (4 + 3)
    loss = baselines.ngram_losses(np.array([0, 1, 0, 2]), np.array([0, 1]), vocab_size=3, discount=0.5)
    assert loss["unigram"].iloc[0] == pytest.approx(-np.log(2 / 7))
    assert loss["bigram"].iloc[0] == pytest.approx(-np.log(0.5 / 2 + 0.5 * 2 / 2 * 2 / 7))


@pytest.mark.parametrize("train, valid", [([1], [1, 2]), ([1, 2], [1]), ([1, 2], [1, 9])])
def test_counting_refuses_what_it_cannot_count(train, valid):
    with pytest.raises(ValueError, match="below 5"):
        baselines.ngram_losses(np.array(train), np.array(valid), vocab_size=5)
