"""Taggers and classifiers on frozen layers: by hand, by finite differences, and on layers where one knows the tag."""

import math
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch.nn import functional as F

from tlcourse.elmo import ScalarMix
from tlcourse.elmo.downstream import (
    Classifier,
    Labelled,
    Packed,
    Recipe,
    RidgeSweep,
    Tagged,
    Tagger,
    compare_layers,
    entity_f1,
    learned_weights,
    make_mix,
    pack,
    predict,
    static_features,
    tag_scores,
    text_scores,
    train_classifier,
    train_tagger,
)

DIM, TAGS = 8, ["ADJ", "NOUN", "VERB"]
RECIPE = Recipe(epochs=6, batch_size=16)


def sentences(n, seed, *, planted=1, noise=1.5, longest=9):
    """Three layers of noise; in one of them every word's first three numbers point at its tag."""
    rng = np.random.default_rng(seed)
    features, tags = [], []
    for words in rng.integers(1, longest, n):
        layers = rng.standard_normal((3, words, DIM)).astype(np.float32)
        chosen = rng.integers(0, 3, words)
        layers[planted] *= 0.5
        layers[planted, np.arange(words), chosen] += noise
        features.append(layers)
        tags.append([TAGS[i] for i in chosen])
    return Tagged(features, tags)


def texts(n, seed, *, planted=2):
    """Every word of a text points at its class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    features = [rng.standard_normal((3, rng.integers(1, 6), DIM)).astype(np.float32) for _ in labels]
    for layers, label in zip(features, labels, strict=True):
        layers[planted, :, label] += 1.0
    return Labelled(features, [TAGS[i] for i in labels])


def tagged_words(n, *, seed, dim=8):
    """Three classes that layer 1 tells apart well, layer 2 less and layer 0 not; no layer has the mean 0."""
    drawn = np.random.default_rng(seed)
    tags = drawn.integers(0, 3, n)
    middles = np.random.default_rng(9).normal(size=(3, dim))
    layers = drawn.normal(size=(3, n, dim)) + np.array([0, 1.5, 0.6])[:, None, None] * middles[tags] + 1
    return layers.astype(np.float32), np.array(["NOUN", "VERB", "คำ"])[tags]


@pytest.fixture(scope="module")
def train():
    return sentences(150, 0)


@pytest.fixture(scope="module")
def valid():
    return sentences(60, 1)


@pytest.fixture(scope="module")
def learned(train, valid):
    return train_tagger(train, valid, recipe=RECIPE)


@pytest.fixture(scope="module")
def runs(train, valid):
    three = train.features, valid.features
    one = tuple([layers[:1] for layers in part] for part in three)
    sources = {"ELMo": three, "static": one}
    return compare_layers(sources, train.tags, valid.tags, mixes=(1, "learned"), seeds=2, recipe=RECIPE)


@pytest.fixture(scope="module")
def ridge():
    return RidgeSweep(*tagged_words(600, seed=0), *tagged_words(300, seed=1))


def randomised(model):
    """Every parameter and every figure of standardising at random, in float64."""
    generator = torch.Generator().manual_seed(0)
    model = model.double()
    for tensor in [*model.parameters(), model.shift, model.scale]:
        tensor.data = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 0.3
    return model


class TestPacked:
    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any), st.data())
    @settings(max_examples=30, deadline=None)
    def test_taking_sentences_is_packing_those(self, lengths, data):
        features = [np.random.default_rng(i).random((2, n, 3)) for i, n in enumerate(lengths)]
        chosen = data.draw(st.lists(st.sampled_from([i for i, n in enumerate(lengths) if n]), min_size=1))
        packed, wanted = pack(features), pack([features[i] for i in chosen])
        index = torch.tensor(chosen)
        taken = packed.take(index, packed.rows(index))
        assert torch.equal(taken.words, wanted.words) and torch.equal(taken.lengths, wanted.lengths)

    def test_means_and_a_text_without_words(self):
        features = [np.array([[[1.0, 2.0], [3.0, 6.0]]]), np.zeros((1, 0, 2))]
        means = pack(features).means()
        assert means.words.tolist() == [[[2.0, 4.0], [0.0, 0.0]]] and means.lengths.tolist() == [1, 1]

    def test_half_precision_does_no_harm(self, train, valid, learned):
        def whole(part):
            words = torch.from_numpy(np.concatenate(part.features, axis=1))
            return part._replace(features=Packed(words, pack(part.features).lengths))

        exact = train_tagger(whole(train), whole(valid), recipe=RECIPE)
        assert exact.accuracy == pytest.approx(learned.accuracy, abs=0.01)
        assert exact.weights == pytest.approx(learned.weights, abs=2e-3)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            ([], "no sentence has a word"),
            ([np.zeros((3, 0, 4))], "no sentence has a word"),
            ([np.zeros((3, 2, 4)), np.zeros((2, 2, 4))], r"sentence 1 .*\(2, 2, 4\)"),
            ([np.zeros((3, 2, 4)), np.zeros((3, 2, 5))], r"sentence 1 .*\(3, 2, 5\)"),
            ([np.zeros((3, 2, 4)), np.zeros((2, 4))], r"sentence 1 .*\(2, 4\)"),
            ([np.zeros((1, 2, 4)), np.zeros((1, 0, 4)), np.full((1, 2, 4), np.nan)], "sentence 2 .*not finite"),
            ([np.zeros((1, 2, 4)), np.full((1, 2, 4), 7e4)], "sentence 1 .*larger than float16"),
        ],
    )
    def test_bad_features_are_named(self, features, message):
        with pytest.raises(ValueError, match=message):
            pack(features)


class TestModels:
    def test_the_mix_by_hand(self):
        model = Tagger(3, 2, 2)
        model.mix.scalars.data = torch.tensor([0.0, 1.0, -1.0])
        model.mix.gamma.data = torch.tensor(2.0)
        words = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])  # (3, 1, 2)
        e, one_over = math.e, 1 / math.e
        total = 1 + e + one_over
        wanted = [2 * (1 + one_over) / total, 2 * (e + one_over) / total]
        assert model.mixed(words)[0].tolist() == pytest.approx(wanted)

    def test_the_mix_is_that_of_scalar_mix(self):
        model = randomised(Tagger(3, 4, 2))
        words = torch.randn(3, 5, 4, dtype=torch.float64)
        standardised = (words - model.shift[:, None]) * model.scale[:, None, None]
        torch.testing.assert_close(model.mixed(words), model.mix(standardised))

    @pytest.mark.parametrize("kind", [Tagger, Classifier])
    def test_gradients_of_weights_and_gamma(self, kind):
        model = randomised(kind(3, 4, 2))
        packed = Packed(torch.randn(3, 5, 4, dtype=torch.float64), torch.tensor([2, 3]))
        targets = torch.tensor([0, 1, 1, 0, 1] if kind is Tagger else [0, 1])

        def loss():
            return F.cross_entropy(model(packed), targets)

        loss().backward()
        for parameter in model.mix.parameters():
            for i, gradient in enumerate(parameter.grad.flatten().tolist()):
                flat, step = parameter.data.view(-1), 1e-6
                flat[i] += step
                above = loss().item()
                flat[i] -= 2 * step
                below = loss().item()
                flat[i] += step
                assert (above - below) / (2 * step) == pytest.approx(gradient, abs=1e-7)

    @pytest.mark.parametrize(("kind", "head"), [(Tagger, "linear"), (Tagger, "lstm"), (Classifier, "linear")])
    def test_a_sentence_is_the_same_alone_and_beside_longer_ones(self, kind, head):
        features = [np.random.default_rng(i).standard_normal((3, n, 4)) for i, n in enumerate([3, 9, 1, 0, 5])]
        model = kind(3, 4, 2, head=head, hidden=3)
        together = model(pack(features))
        alone = torch.cat([model(pack([sentence])) for sentence in features if sentence.shape[1]])
        if kind is Classifier:
            together = together[[0, 1, 2, 4]]
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

    def test_the_lstm_reads_a_sentence_both_ways_and_no_further(self):
        model = Tagger(1, 4, 2, head="lstm", hidden=3)
        words = torch.randn(1, 6, 4)
        changed = words.clone()
        changed[0, 4] += 1  # in the second sentence
        lengths = torch.tensor([3, 3])
        moved = (model(Packed(words, lengths)) - model(Packed(changed, lengths))).abs().sum(1) > 1e-7
        assert moved.tolist() == [False] * 3 + [True] * 3

    def test_the_classifier_may_be_given_means(self):
        model = Classifier(3, 4, 2)
        packed = Packed(torch.randn(3, 7, 4), torch.tensor([2, 4, 1]))
        torch.testing.assert_close(model(packed), model(packed.means()))

    @pytest.mark.parametrize("each_layer", [False, True])
    def test_standardising(self, each_layer):
        words = torch.randn(2, 500, 4) * torch.tensor([1.0, 7.0])[:, None, None] + 3
        model = Tagger(2, 4, 2, mix=0)
        model.standardise(words, each_layer=each_layer)
        layers = (words - model.shift[:, None]) * model.scale[:, None, None]
        assert layers.square().mean().item() == pytest.approx(1, abs=1e-3)
        assert layers.mean(1).abs().max() < 1e-4
        if each_layer:
            assert layers.square().mean((1, 2)).tolist() == pytest.approx([1, 1], abs=1e-3)
        else:
            assert model.scale[0] == model.scale[1]

    @pytest.mark.parametrize(
        ("mix", "shares"),
        [("learned", [1 / 3] * 3), ("mean", [1 / 3] * 3), (2, [0, 0, 1]), ([3, 0, 1], [0.75, 0, 0.25])],
    )
    def test_mixes_by_name(self, mix, shares):
        made = make_mix(mix, 3)
        assert isinstance(made, ScalarMix)
        assert made.weights().tolist() == pytest.approx(shares)
        assert made.scalars.requires_grad == (mix == "learned")

    @pytest.mark.parametrize("mix", ["median", 3, -1, [1, 2], [1, -1, 1], [0, 0, 0], [1, math.nan, 1]])
    def test_there_is_no_such_mix(self, mix):
        with pytest.raises(ValueError, match="mix="):
            make_mix(mix, 3)

    def test_there_is_no_such_head(self):
        with pytest.raises(ValueError, match="'crf' is neither"):
            Tagger(3, 4, 2, head="crf")


class TestTagger:
    def test_the_mix_leans_to_the_layer_that_knows(self, train, valid, learned):
        mean = train_tagger(train, valid, mix="mean", recipe=RECIPE)
        other = train_tagger(train, valid, mix=0, recipe=RECIPE)
        assert learned.weights.argmax() == 1 and learned.weights[1] > 0.5
        assert learned.accuracy > mean.accuracy + 0.02
        assert other.accuracy < 0.5 < mean.accuracy
        assert learned.weights.sum() == pytest.approx(1)

    def test_one_layer_alone_knows_nothing_of_the_others(self, train, valid):
        alone = train_tagger(train, valid, mix=1, recipe=RECIPE)
        cut = [part._replace(features=[layers[1:2] for layers in part.features]) for part in (train, valid)]
        single = train_tagger(*cut, mix="learned", recipe=Recipe(**{**vars(RECIPE), "each_layer": True}))
        assert alone.weights.tolist() == [0, 1, 0]
        assert alone.accuracy == pytest.approx(single.accuracy, abs=0.03)

    def test_seeds_repeat_and_differ(self, train, valid, learned):
        state = torch.get_rng_state()
        again, other = (train_tagger(train, valid, seed=seed, recipe=RECIPE) for seed in (0, 1))
        assert again.predicted == learned.predicted and (again.weights == learned.weights).all()
        assert again.history.equals(learned.history)
        assert (other.weights != learned.weights).any()
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_large_lambda_keeps_the_mean(self, train, valid, learned):
        held = train_tagger(train, valid, recipe=Recipe(**{**vars(RECIPE), "mix_decay": 10.0}))
        assert held.weights == pytest.approx([1 / 3] * 3, abs=0.05)
        assert learned.weights[1] > held.weights[1] + 0.1

    def test_the_lstm_learns_what_lies_beside_a_word(self):
        def neighbours(n, seed):
            rng = np.random.default_rng(seed)
            features, tags = [], []
            for words in rng.integers(2, 5, n):
                bits = rng.integers(0, 2, words)
                features.append(np.eye(2, dtype=np.float32)[bits][None])
                tags.append(["first", *("01"[bit] for bit in bits[:-1])])
            return Tagged(features, tags)

        parts = neighbours(200, 0), neighbours(60, 1)
        linear = train_tagger(*parts, recipe=RECIPE)
        lstm = train_tagger(*parts, head="lstm", recipe=Recipe(epochs=6, batch_size=16, hidden=8))
        assert lstm.accuracy > 0.95 > 0.8 > linear.accuracy

    def test_what_a_result_holds(self, valid, learned):
        flat = [tag for tags in valid.tags for tag in tags]
        right = np.mean([a == b for a, b in zip(flat, list(chain(*learned.predicted)), strict=True)])
        assert [len(tags) for tags in learned.predicted] == [len(tags) for tags in valid.tags]
        assert learned.accuracy == learned.scores["accuracy"] == pytest.approx(right)
        assert learned.accuracy == pytest.approx(learned.history.accuracy.iloc[-1])
        assert learned.history.epoch.tolist() == [1, 2, 3, 4, 5, 6]
        assert learned.history.loss.iloc[-1] < learned.history.loss.iloc[0]
        assert learned.per_tag.n.sum() == len(flat)
        assert (learned.per_tag.recall * learned.per_tag.n).sum() / len(flat) == pytest.approx(right)
        numbers = predict(learned.model, valid.features)
        assert [learned.classes[i] for i in numbers] == list(chain(*learned.predicted))
        assert "unseen" not in learned.scores and "entity_f1" not in learned.scores

    def test_words_and_sentences_without_any(self, train, valid):
        def with_words(part, mark):
            words = [[f"{mark}{i % 2}" for i, _ in enumerate(tags)] for tags in part.tags]
            return Tagged([*part.features, np.zeros((3, 0, DIM))], [*part.tags, []], [*words, []])

        result = train_tagger(with_words(train, "a"), with_words(valid, "a"), recipe=RECIPE)
        assert math.isnan(result.scores["unseen"]) and result.predicted[-1] == []
        result = train_tagger(with_words(train, "a"), with_words(valid, "b"), recipe=RECIPE)
        assert result.scores["unseen"] == result.accuracy

    def test_a_tag_that_training_had_not_is_wrong(self, train, valid):
        tags = [["X" if tag == "NOUN" else tag for tag in tags] for tags in valid.tags]
        result = train_tagger(train, valid._replace(tags=tags), recipe=RECIPE)
        row = result.per_tag.set_index("tag").loc["X"]
        assert row.recall == 0 and row.n > 0
        assert result.accuracy == pytest.approx(result.history.accuracy.iloc[-1])
        assert result.accuracy <= 1 - row.n / result.per_tag.n.sum()

    def test_bad_input(self, train, valid):
        one = [["NOUN"] * len(tags) for tags in train.tags]
        short = [tags[:-1] if i == 7 else tags for i, tags in enumerate(train.tags)]
        narrow = valid._replace(features=[layers[:, :, 1:] for layers in valid.features])
        nan = [layers * (np.nan if i == 3 else 1) for i, layers in enumerate(train.features)]
        for bad, other, message in (
            (train._replace(tags=one), valid, "all targets of training are 'NOUN'"),
            (train._replace(tags=short), valid, "sentence 7 has"),
            (train._replace(tags=train.tags[1:]), valid, "150 sentences and targets of 149"),
            (train._replace(features=nan), valid, "sentence 3 .*not finite"),
            (Tagged([], []), valid, "no sentence has a word"),
            (train, narrow, r"\(3, 8\).*\(3, 7\)"),
        ):
            with pytest.raises(ValueError, match=message):
                train_tagger(bad, other, recipe=RECIPE)


class TestClassifier:
    def test_the_mix_leans_to_the_layer_that_knows(self):
        parts = texts(200, 0), texts(80, 1)
        learned = train_classifier(*parts, recipe=RECIPE)
        mean = train_classifier(*parts, mix="mean", recipe=RECIPE)
        assert learned.weights.argmax() == 2
        assert learned.accuracy > max(mean.accuracy, 0.6)
        assert learned.scores["macro_f1"] == pytest.approx(learned.accuracy, abs=0.1)
        assert len(learned.predicted) == 80

    def test_numbers_as_labels_and_texts_without_words(self):
        train = texts(40, 0)
        labels = [TAGS.index(label) for label in train.labels]
        part = Labelled([*train.features, np.zeros((3, 0, DIM))], [*labels, 2])
        result = train_classifier(part, part, recipe=RECIPE)
        assert set(result.predicted) <= {0, 1, 2} and len(result.predicted) == 41

    def test_bad_input(self):
        train = texts(20, 0)
        with pytest.raises(ValueError, match="20 sentences and targets of 19"):
            train_classifier(train._replace(labels=train.labels[1:]), train)
        with pytest.raises(ValueError, match="nothing to tell apart"):
            train_classifier(train._replace(labels=["x"] * 20), train)


class TestScores:
    TAGS = (["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER"])

    def test_entities_are_right_as_a_whole(self):
        cut = [["B-PER", "O", "O", "B-LOC"], ["O", "B-PER"]]
        assert entity_f1(self.TAGS, self.TAGS) == 1
        assert entity_f1(self.TAGS, cut) == pytest.approx(2 / 3)

    def test_an_entity_that_no_b_begins(self):
        predicted = [["I-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER"]]
        assert entity_f1(self.TAGS, predicted) == pytest.approx(0.8)  # 2 right of 2 given, of 3 there
        assert entity_f1(self.TAGS, predicted, strict=False) == 1

    @pytest.mark.usefixtures("no_warning")
    @pytest.mark.parametrize("strict", [True, False])
    def test_no_entity_is_a_number(self, strict):
        nothing = [["O"] * len(tags) for tags in self.TAGS]
        dangling = [["I-PER"] + ["O"] * (len(tags) - 1) for tags in self.TAGS]
        for a, b in ((nothing, nothing), (nothing, self.TAGS), (self.TAGS, nothing), (nothing, dangling), ([[]], [[]])):
            assert entity_f1(a, b, strict=strict) == 0

    def test_which_scores_there_are(self):
        words = [["a", "b", "c", "d"], ["a", "e"]]
        predicted = [["B-PER", "I-PER", "O", "O"], ["O", "O"]]
        scores = tag_scores(self.TAGS, predicted, words=words, seen={"a", "b", "c"})
        assert scores == pytest.approx({"accuracy": 4 / 6, "unseen": 0, "entity_f1": 0.5})
        assert set(tag_scores([["NOUN", "O"]], [["NOUN", "O"]])) == {"accuracy"}
        with pytest.raises(ValueError, match="1 words and 2 tags"):
            tag_scores([["NOUN", "O"]], [["NOUN", "O"]], words=[["a"]], seen=())

    def test_texts(self):
        assert text_scores(["a", "a", "b"], ["a", "a", "a"]) == pytest.approx({"accuracy": 2 / 3, "macro_f1": 0.4})


class TestStaticFeatures:
    def test_unknown_words_are_zeros_and_a_one(self):
        vectors = {"rice": np.array([1.0, 2.0]), "rain": np.array([3.0, 4.0])}
        first, empty = static_features([["rain", "zzz"], []], vectors)
        assert first.tolist() == [[[3, 4, 0], [0, 0, 1]]] and first.dtype == np.float32
        assert empty.shape == (1, 0, 3)

    def test_no_word_is_known(self):
        with pytest.raises(ValueError, match="no word of the sentences has a vector"):
            static_features([["a"]], {})


class TestComparisons:
    def test_a_row_a_run(self, runs, learned):
        assert runs[["source", "mix", "seed"]].values.tolist() == [
            *(["ELMo", mix, seed] for mix in ("1", "learned") for seed in (0, 1)),
            *(["static", "0", seed] for seed in (0, 1)),
        ]
        assert runs.score[2] == learned.accuracy and runs.weights[2] == tuple(learned.weights.tolist())
        assert runs.weights[0] == (0, 1, 0) and runs.weights[4] == (1,)

    def test_learned_weights(self, runs):
        table = learned_weights({"tags": runs, "again": runs})
        assert table.columns.tolist() == ["task", "source", "layer", "mean", "std", "n"]
        shares = np.array(runs.weights[runs.mix == "learned"].tolist())  # (2, 3)
        tags = table[table.task == "tags"]
        assert tags["mean"].to_numpy() == pytest.approx(shares.mean(0))
        assert tags["std"].to_numpy() == pytest.approx(shares.std(0, ddof=1))
        assert tags.layer.tolist() == [0, 1, 2] and (table.n == 2).all() and len(table) == 6

    def test_texts_and_other_scores(self):
        a, b = texts(60, 0), texts(30, 1)
        sources = {"ELMo": (a.features, b.features)}
        runs = compare_layers(sources, a.labels, b.labels, mixes=("mean",), seeds=1, score="macro_f1", recipe=RECIPE)
        wanted = train_classifier(a, b, mix="mean", recipe=RECIPE).scores["macro_f1"]
        assert isinstance(runs, pd.DataFrame) and runs.score.tolist() == [wanted]
        with pytest.raises(ValueError, match="score='entity_f1' is none of accuracy, macro_f1"):
            compare_layers(sources, a.labels, b.labels, score="entity_f1", recipe=RECIPE)


class TestRidgeSweep:
    @settings(max_examples=10, deadline=None)
    @given(scores=st.tuples(*[st.floats(-3, 3)] * 3))
    def test_it_is_ridge_regression_on_the_mix(self, scores):
        (layers, tags), (held_out, expected) = tagged_words(200, seed=0), tagged_words(100, seed=1)
        shares = np.exp(scores) / np.exp(scores).sum()
        mixed = np.tensordot(shares, layers, 1)
        penalty = 1e-3 * mixed.var(axis=0).mean() * len(tags)
        classes = np.unique(tags)
        head = Ridge(alpha=penalty).fit(mixed, np.where(tags[:, None] == classes, 1, -1))
        guessed = classes[head.predict(np.tensordot(shares, held_out, 1)).argmax(axis=1)]
        agrees = np.isclose(
            RidgeSweep(layers, tags, held_out, expected)(shares), (guessed == expected).mean(), atol=0.011
        )
        assert agrees  # a word on the edge may fall on either side

    def test_layers_differ(self, ridge):
        zero, one, two = (ridge(share) for share in np.eye(3))
        assert zero < 0.5 < two < one > 0.9

    def test_another_gamma_hurts(self, ridge):
        shares = np.array([0, 0.2, 0.8])
        assert ridge(shares, 0.05) < ridge(shares) - 0.1 and ridge(shares, 20) < ridge(shares) - 0.02
        assert ridge(shares) == ridge(shares, 1.0)

    def test_no_weight_at_all(self, ridge):
        _, tags = tagged_words(600, seed=0)
        _, held_out = tagged_words(300, seed=1)
        names, counts = np.unique(tags, return_counts=True)
        assert ridge(np.zeros(3)) == (held_out == names[counts.argmax()]).mean()  # always the most frequent

    def test_shapes_that_do_not_fit(self):
        layers, tags = tagged_words(20, seed=0)
        with pytest.raises(
            ValueError, match=r"words to train on: layers \(L, 19, D\) go with 19 tags, not \(3, 20, 8\)"
        ):
            RidgeSweep(layers, tags[:-1], layers, tags)
        with pytest.raises(ValueError, match="words to test on"):
            RidgeSweep(layers, tags, layers[0], tags)
        with pytest.raises(ValueError, match="words to test on"):
            RidgeSweep(layers, tags, layers[:, :0], [])
