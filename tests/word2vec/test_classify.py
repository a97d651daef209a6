"""The classifier of averaged word vectors, against NumPy, scikit-learn and SciPy, and on a language made for it."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, precision_score

from tlcourse import baselines
from tlcourse.data import DataError
from tlcourse.word2vec import classify
from tlcourse.word2vec.classify import PAD, Classifier, Recipe, compare
from tlcourse.word2vec.vectors import WordVectors

RECIPE = Recipe(steps=60, batch_size=32, lr=6e-2)
ABOUT = [[f"{topic}{i}" for i in range(60)] for topic in ("rice", "train", "rain")]
COMMON = [f"common{i}" for i in range(10)]


def texts(n, seed):
    """Two words of sixty for a topic, among common ones: a few labelled texts show few of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return [[*rng.choice(ABOUT[y], 2), *rng.choice(COMMON, 3)] for y in labels], labels


@pytest.fixture(scope="module")
def train():
    return texts(200, 0)


@pytest.fixture(scope="module")
def test():
    return texts(300, 1)


@pytest.fixture(scope="module")
def vectors():
    """Words of a topic lie together, as word vectors of its texts would have them; two words are unknown."""
    rng = np.random.default_rng(0)
    words = [*COMMON[2:], *chain.from_iterable(ABOUT)]
    centres = np.concatenate([np.zeros((len(COMMON) - 2, 12)), np.repeat(rng.standard_normal((3, 12)), 60, axis=0)])
    return WordVectors(words, centres + 0.5 * rng.standard_normal(centres.shape))


@pytest.fixture(scope="module")
def runs(train, test, vectors):
    starts = {"random": None, "frozen": vectors, "tuned": vectors}
    return compare(*train, *test, starts, frozen=["frozen"], labels=(12, None), seeds=3, recipe=RECIPE)


class TestClassifier:
    @given(st.lists(st.lists(st.integers(1, 8), max_size=6), min_size=1, max_size=5), st.integers(0, 3))
    @settings(max_examples=25, deadline=None)
    def test_it_is_a_mean_of_the_words(self, ids, padding):
        torch.manual_seed(0)
        matrix = np.random.default_rng(0).standard_normal((9, 4))
        model = Classifier(matrix, 3, dropout=0.5).eval()
        length = max(map(len, ids)) + padding + 1
        batch = torch.tensor([text + [PAD] * (length - len(text)) for text in ids])
        means = np.array([matrix[text].mean(axis=0) if text else np.zeros(4) for text in ids])
        weight, bias = (parameter.detach().numpy() for parameter in model.head.parameters())
        assert model(batch).detach().numpy() == pytest.approx(means @ weight.T + bias, abs=1e-5)

    def test_frozen_vectors_stay_and_others_move_but_for_padding(self):
        matrix = classify.start_matrix(["a", "b"], None, dim=4, scale=1, seed=0)
        ids, labels = torch.tensor([[1, 2], [2, PAD]]), torch.tensor([0, 1])
        for frozen in (True, False):
            model = Classifier(matrix, 2, frozen=frozen)
            before = model.head.weight.detach().clone()
            classify.train(model, ids, labels, recipe=replace(RECIPE, steps=3), seed=0)
            moved = (model.embedding.weight.detach().numpy() != matrix.astype(np.float32)).any(axis=1)
            assert moved.tolist() == [False, not frozen, not frozen]
            assert not torch.equal(model.head.weight, before)

    def test_it_learns_what_a_linear_model_learns(self, train, test, runs):
        svm = accuracy_score(test[1], baselines.linear_svm(*train)(test[0]))
        random = runs.query("start == 'random' and labels == 200")["accuracy"].mean()
        assert min(random, svm) > 0.85
        assert random > svm - 0.05


class TestCompare:
    def test_a_row_a_run(self, runs):
        assert list(runs) == ["start", "labels", "seed", "accuracy", "precision", "macro_f1"]
        assert runs.groupby(["start", "labels"]).seed.apply(list).tolist() == [[0, 1, 2]] * 6
        assert set(runs["labels"]) == {12, 200}

    def test_vectors_help_where_labels_are_few(self, runs):
        few, many = (runs[runs["labels"] == n].groupby("start")["accuracy"].mean() for n in (12, 200))
        assert few["frozen"] > few["random"] + 0.2
        assert few["tuned"] > few["random"] + 0.1
        assert many.min() > 0.9

    def test_runs_are_the_same_twice(self, train, test, vectors, runs):
        starts = {"tuned": vectors, "random": None}  # neither another order nor the starts left out matter
        again = compare(*train, *test, starts, labels=(12,), seeds=2, recipe=RECIPE)
        assert again.set_index(["start", "seed"]).to_dict("index") == runs.query(
            "labels == 12 and seed < 2 and start != 'frozen'"
        ).set_index(["start", "seed"]).to_dict("index")

    def test_starts_share_labelled_texts_head_and_order(self, train, test, vectors, monkeypatch):
        seen = []

        def spy(model, ids, labels, *, recipe, seed):
            seen.append((labels.tolist(), model.head.weight.tolist(), (ids != PAD).sum(), seed))

        monkeypatch.setattr(classify, "train", spy)
        compare(*train, *test, {"random": None, "tuned": vectors}, labels=(12,), seeds=2, recipe=RECIPE)
        (a, head_a, *_), (b, head_b, *_), (_, head_c, *_), _ = seen
        assert (a, head_a) == (b, head_b)
        assert head_a != head_c
        assert [row[2:] for row in seen[::2]] == [row[2:] for row in seen[1::2]]

    def test_words_that_only_the_vectors_know(self, vectors):
        """Not one word of the test texts was labelled; the vectors know them, a random start cannot."""
        labelled = [[ABOUT[y][i]] for y in range(3) for i in range(10)]
        asked = [[ABOUT[y][i]] for y in range(3) for i in range(30, 60)]
        starts = {"random": None, "frozen": vectors}
        found = compare(
            labelled, np.repeat([0, 1, 2], 10), asked, np.repeat([0, 1, 2], 30), starts,
            frozen=["frozen"], seeds=1, recipe=RECIPE,
        ).set_index("start")["accuracy"]  # fmt: skip
        assert found["random"] == pytest.approx(1 / 3)  # one class for all
        assert found["frozen"] > 0.9

    def test_refusals(self, train, test, vectors):
        with pytest.raises(ValueError, match="glove cannot be frozen: the starts are random"):
            compare(*train, *test, {"random": None}, frozen=["glove"])
        other = WordVectors(["rice0", "rice1"], np.eye(2))
        with pytest.raises(ValueError, match=r"\[2, 12\] numbers"):
            compare(*train, *test, {"a": vectors, "b": other})
        with pytest.raises(DataError, match="between 3"):
            compare(*train, *test, {"random": None}, labels=(2,))
        with pytest.raises(ValueError, match="none of the"):
            compare(*train, *test, {"foreign": WordVectors(["x", "y"], np.eye(2))}, seeds=1)


class TestStartMatrix:
    def test_every_start_has_the_same_scale(self, vectors):
        words = ["rice1", "unknown", "rain3"]
        for start in (None, vectors):
            matrix = classify.start_matrix(words, start, dim=12, scale=0.3, seed=0)
            assert matrix.shape == (4, 12)
            assert not matrix[PAD].any()
            assert matrix[1:].std() == pytest.approx(0.3)
        cosine = np.corrcoef(matrix[1], vectors["rice1"])[0, 1]
        assert cosine == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_scores_are_scikit_learns(pairs):
    labels, predicted = np.array(pairs).T
    found = classify.score(labels, predicted)
    assert found["accuracy"] == accuracy_score(labels, predicted)
    assert found["precision"] == precision_score(labels, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == f1_score(labels, predicted, average="macro", zero_division=0)


class TestBinomialInterval:
    @given(st.integers(1, 500), st.floats(0, 1), st.floats(0.5, 0.99))
    @settings(max_examples=30, deadline=None)
    def test_it_is_where_the_share_is_just_not_refused(self, n, share, confidence):
        """Wilson's interval holds the shares p from which right / n lies at most z standard errors of p away."""
        right = round(n * share)
        z = stats.norm.interval(confidence)[1]
        for p in classify.binomial_interval(right, n, confidence=confidence):
            assert (right / n - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / n, abs=1e-9)

    def test_the_lectures_figures(self):
        """0.4706 and 0.8627 are 24 and 44 of 51: their intervals lie apart, though each is a quarter wide."""
        assert [
            n for n in range(1, 120) if all(round(s * n) / n == s for s in (0.47058823529411764, 0.8627450980392157))
        ] == [51, 102]
        without, with_vectors = classify.binomial_interval(24, 51), classify.binomial_interval(44, 51)
        assert without == pytest.approx((0.340, 0.605), abs=1e-3)
        assert with_vectors == pytest.approx((0.743, 0.932), abs=1e-3)

    @pytest.mark.parametrize(("right", "n"), [(-1, 5), (6, 5), (0, 0)])
    def test_refusals(self, right, n):
        with pytest.raises(ValueError, match=f"{right} of {n} is no share"):
            classify.binomial_interval(right, n)
