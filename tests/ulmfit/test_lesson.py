"""The lesson's fine-tuning and measurements, on a language of thirty words that learns in seconds."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from tlcourse import profile, ulmfit
from tlcourse.data import DataError, labelled_subset
from tlcourse.text import BOS, UNK, LMBatches, Vocab
from tlcourse.text.batches import reverse
from tlcourse.training import accuracy, macro_f1, schedules
from tlcourse.ulmfit import ALL, AWDLSTMConfig, Dropouts, LanguageModel, Recipe, lesson

CLASSES = ("billing", "internet", "lost")
WORDS = [f"{name}{i}" for name in CLASSES for i in range(6)] + [f"common{i}" for i in range(8)]
VOCAB = Vocab([*Vocab.SPECIALS, *WORDS])
TINY = AWDLSTMConfig(len(VOCAB), emb_dim=12, hidden_dim=16, n_layers=2, dropouts=Dropouts() * 0.2)
QUICK = Recipe(epochs=2, lr=0.1, batch_size=8, dropouts=Dropouts() * 0.2)


def texts(n, seed):
    """n texts of 3 to 8 words: each class walks round a circle of its own words, and then says common ones."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    docs = []
    for label in labels:
        circle = (np.arange(rng.integers(2, 6)) + rng.integers(6)) % 6
        docs.append(np.array([BOS, *(4 + 6 * label + circle), *(22 + rng.integers(8, size=rng.integers(1, 3)))]))
    return docs, labels


def frame_of(labels):
    desks = pd.Categorical.from_codes(labels, CLASSES)
    return pd.DataFrame({"text": [f"text {i}" for i in range(len(labels))], "destination": desks})


DOCS, LABELS = texts(60, seed=0)
VALID = texts(42, seed=1)
FRAME = frame_of(LABELS)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b) -> bool:
    """Whether two models, or their weights, are the same bit for bit."""
    a, b = (part if isinstance(part, dict) else part.state_dict() for part in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def moved(before, after) -> set[str]:
    """The layers of a classifier of which some weight is another one."""
    after = after.state_dict()
    layers = ("embedding", "rnns.0", "rnns.1", "head")
    return {x for x in layers for name in before if x in name and not torch.equal(before[name], after[name])}


def fresh(seed=0):
    torch.manual_seed(seed)
    return LanguageModel(TINY)


def train_lm(model, docs=DOCS, valid=VALID[0], *, epochs=1, **how):
    how = {"lr": 0.1, "batch_size": 6, "bptt": 8} | how
    return ulmfit.fine_tune_language_model(model, docs, valid, epochs=epochs, **how)


@pytest.fixture(scope="module")
def trained():
    """A language model, its history and its weights; no test may change them."""
    model = fresh()
    history = train_lm(model, epochs=8)
    kept = weights(model)
    yield model, history
    assert same(kept, model)


@pytest.fixture
def language_model(trained):
    return trained[0]


class TestRecipe:
    def test_plans(self):
        def plan(unfreezing):
            return [(stage.trainable, stage.epochs) for stage in Recipe(epochs=6, unfreezing=unfreezing).stages(4)]

        assert plan("gradual") == [(1, 1), (2, 1), (3, 1), (4, 3)]
        assert plan("all") == [(4, 6)]
        assert plan("head") == [(1, 6)]

    def test_schedules(self):
        slanted, constant = (Recipe(schedule=name).learning_rate() for name in ("slanted", "constant"))
        expected = schedules.slanted_triangular()
        assert [slanted(t, 50) for t in range(50)] == [expected(t, 50) for t in range(50)]
        assert {constant(t, 50) for t in range(50)} == {1}

    def test_words_it_does_not_know(self):
        with pytest.raises(ValueError, match="schedule is one of slanted, constant, not 'triangular'"):
            Recipe(schedule="triangular")
        with pytest.raises(ValueError, match="unfreezing is one of gradual, all, head, not 'none'"):
            Recipe(unfreezing="none")

    def test_sizes_of_every_profile(self, monkeypatch):
        for name in profile.NAMES:
            monkeypatch.setenv("TLCOURSE_PROFILE", name)
            sizes = profile.choose(ulmfit.SIZES)
            assert sizes is ulmfit.SIZES[name] and min(sizes.label_counts.values()) >= 1


class TestFineTuneLanguageModel:
    def test_it_learns(self, trained):
        _, history = trained
        untrained = ulmfit.lm_perplexity(fresh(), VALID[0])
        assert untrained == pytest.approx(len(VOCAB), rel=0.1)  # as good as guessing
        assert history["perplexity"].iloc[-1] < 0.45 * untrained
        assert history["train_loss"].is_monotonic_decreasing

    def test_history(self, trained):
        _, history = trained
        assert history["epoch"].tolist() == list(range(1, 9))
        np.testing.assert_allclose(history["perplexity"], np.exp(history["valid_loss"]), rtol=1e-6)

    def test_its_perplexity_is_lm_perplexity(self):
        model = fresh()
        history = train_lm(model, batch_size=16, bptt=5)
        assert history["perplexity"].iloc[-1] == pytest.approx(ulmfit.lm_perplexity(model, VALID[0]), rel=1e-5)

    def test_the_same_seed_the_same_weights(self):
        first, second, other = fresh(), fresh(), fresh()
        train_lm(first, seed=3)
        train_lm(second, seed=3)
        train_lm(other, seed=4)
        assert same(first, second) and not same(first, other)

    def test_a_fresh_model_gets_one_cycle_and_a_pretrained_one_slanted_rates(self):
        """Over four epochs one-cycle peaks in the second, a slanted triangle in the first."""
        short = {"epochs": 4, "batch_size": 20}
        one_cycle = train_lm(fresh(), **short)["lr"]
        slanted = train_lm(fresh(), factor=2.6, **short)["lr"]
        constant = train_lm(fresh(), schedule=schedules.constant(), **short)["lr"]
        assert one_cycle.idxmax() == 1 and one_cycle.max() == pytest.approx(0.1)
        assert slanted.idxmax() == 0 and slanted.is_monotonic_decreasing
        assert constant.tolist() == [0.1] * 4

    def test_a_factor_slows_the_lower_layers(self):
        model = fresh()
        before = weights(model.encoder)
        train_lm(model, factor=1e6)
        change = ulmfit.layer_change(before, model.encoder.state_dict())
        assert change["LSTM 1"] < 1e-6 < 1e-2 < change["embedding"]  # the tied embedding is the top group

    def test_backwards_is_forwards_on_reversed_texts(self):
        backwards, forwards = fresh(), fresh()
        train_lm(backwards, backwards=True)
        train_lm(forwards, [reverse(doc) for doc in DOCS], [reverse(doc) for doc in VALID[0]])
        assert same(backwards, forwards)
        plain = fresh()
        train_lm(plain)
        assert not same(backwards, plain)

    def test_too_little_text(self):
        with pytest.raises(ValueError, match="4 tokens are too few for batches of 6 rows"):
            train_lm(fresh(), [np.array([BOS, 5, 6, 7])])


class TestBuildClassifier:
    def test_the_encoder_is_a_copy(self, language_model):
        model = ulmfit.build_classifier(language_model, 3)
        assert same(model.encoder, language_model.encoder)
        with torch.no_grad():
            model.encoder.embedding.weight.zero_()  # `trained` checks that the language model's stays

    def test_the_seed_draws_the_head_and_of_a_fresh_one_the_encoder(self, language_model):
        def build(source, seed):
            return ulmfit.build_classifier(source, 3, seed=seed)

        for source in (language_model, TINY):
            assert same(build(source, 1), build(source, 1))
            assert not same(build(source, 1).head, build(source, 2).head)
        assert same(build(language_model, 1).encoder, build(language_model, 2).encoder)
        assert not same(build(TINY, 1).encoder, build(TINY, 2).encoder)

    def test_the_recipe_sets_dropouts_and_pooling(self):
        recipe = Recipe(dropouts=Dropouts(0.1, 0.2, 0.3, 0.4, 0.45), pooling="last")
        model = ulmfit.build_classifier(TINY, 5, recipe)
        assert model.encoder.config.dropouts == recipe.dropouts
        assert model.encoder.rnns[0].p == 0.3 and model.head[1].p == 0.45
        assert model.head[0].num_features == 12 and model.head[-1].out_features == 5
        assert ulmfit.build_classifier(TINY, 5).head[0].num_features == 36

    def test_one_class_only(self, language_model):
        with pytest.raises(ValueError, match="at least two classes, not 1"):
            ulmfit.build_classifier(language_model, 1)


class TestFineTuneClassifier:
    def train(self, source=TINY, *, seed=0, docs=DOCS, labels=LABELS, valid=None, backwards=False, **changes):
        """A classifier, its history and the weights it started from."""
        recipe = replace(QUICK, **changes)
        model = ulmfit.build_classifier(source, 3, recipe, seed=seed)
        before = weights(model)
        history = ulmfit.fine_tune_classifier(model, docs, labels, valid, recipe=recipe, seed=seed, backwards=backwards)
        return model, history, before

    def test_it_learns(self, language_model):
        model, history, _ = self.train(language_model, valid=VALID, epochs=6)
        assert history["accuracy"].iloc[-1] > 0.8  # of three classes of equal size
        predicted = ulmfit.probabilities(model, VALID[0]).argmax(1)
        assert history["accuracy"].iloc[-1] == pytest.approx(accuracy(VALID[1], predicted))
        assert history["macro_f1"].iloc[-1] == pytest.approx(macro_f1(VALID[1], predicted))

    def test_the_same_seed_the_same_weights(self):
        first, second, other = (self.train(seed=seed)[0] for seed in (3, 3, 4))
        assert same(first, second) and not same(first, other)

    def test_head_only_leaves_the_encoder(self, language_model):
        model, history, before = self.train(language_model, unfreezing="head")
        assert moved(before, model) == {"head"} and same(model.encoder, language_model.encoder)
        assert history["trainable"].tolist() == [1, 1]

    @pytest.mark.parametrize(
        ("epochs", "layers"),
        [(1, {"head"}), (2, {"head", "rnns.1"}), (4, {"head", "rnns.1", "rnns.0", "embedding"})],
    )
    def test_gradual_unfreezing_reaches_one_layer_more_each_epoch(self, epochs, layers):
        model, history, before = self.train(unfreezing="gradual", epochs=epochs)
        assert moved(before, model) == layers
        assert history["trainable"].tolist() == list(range(1, epochs + 1))

    def test_all_at_once(self):
        model, history, before = self.train(unfreezing="all", epochs=1)
        assert moved(before, model) == {"head", "rnns.1", "rnns.0", "embedding"}
        assert history["trainable"].tolist() == [4]

    def test_direction_turns_round_which_layer_moves_most(self, language_model):
        before = language_model.encoder.state_dict()
        changes = {}
        for direction in ("lower-slower", "lower-faster"):
            model, _, _ = self.train(language_model, direction=direction, factor=10, unfreezing="all")
            changes[direction] = ulmfit.layer_change(before, model.encoder.state_dict())
        assert list(changes["lower-slower"]) == ["embedding", "LSTM 1", "LSTM 2"]
        assert max(changes["lower-slower"], key=changes["lower-slower"].get) == "LSTM 2"
        assert max(changes["lower-faster"], key=changes["lower-faster"].get) == "embedding"
        assert changes["lower-faster"]["embedding"] > 100 * changes["lower-slower"]["embedding"]

    def test_schedules(self):
        names = ("slanted", "constant")
        rates = {name: self.train(schedule=name, unfreezing="all")[1]["lr"].tolist() for name in names}
        assert rates["constant"] == [QUICK.lr] * 2
        steps = len(DOCS) // 8 + 1
        slanted = schedules.slanted_triangular()
        expected = [QUICK.lr * slanted(t, 2 * steps) for t in range(2 * steps)]
        np.testing.assert_allclose(rates["slanted"], np.reshape(expected, (2, steps)).max(1))

    def test_balanced_weighs_the_loss(self, language_model):
        chosen = np.concatenate([np.flatnonzero(LABELS == 0), np.flatnonzero(LABELS == 1)[:6]])
        few = {"docs": [DOCS[i] for i in chosen], "labels": LABELS[chosen], "epochs": 1}
        model, history, _ = self.train(language_model, balanced=True, valid=VALID, **few)
        assert not same(model, self.train(language_model, balanced=False, **few)[0])
        weight = ulmfit.class_weights(LABELS[chosen], 3).numpy()[VALID[1]]
        of_the_true = ulmfit.probabilities(model, VALID[0])[np.arange(len(VALID[1])), VALID[1]]
        by_hand = (weight * -np.log(of_the_true)).sum() / weight.sum()
        assert history["valid_loss"].iloc[-1] == pytest.approx(by_hand, rel=1e-4)

    def test_balanced_changes_nothing_where_the_classes_are(self):
        assert same(self.train(balanced=True)[0], self.train(balanced=False)[0])

    def test_backwards_is_forwards_on_reversed_texts(self):
        backwards, _, _ = self.train(backwards=True)
        forwards, _, _ = self.train(docs=[reverse(doc) for doc in DOCS])
        assert same(backwards, forwards) and not same(backwards, self.train()[0])

    @pytest.mark.parametrize("n", [2, 3, 5, 7, 9, 11])
    def test_very_few_texts(self, n):
        """No batch may hold a single text, on which batch normalisation cannot train."""
        model, _, _ = self.train(docs=DOCS[:n], labels=LABELS[:n], epochs=1)
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())

    def test_bad_input(self):
        with pytest.raises(ValueError, match="at least two texts"):
            self.train(docs=DOCS[:1], labels=LABELS[:1])
        with pytest.raises(ValueError, match="no documents"):
            self.train(docs=[], labels=LABELS[:0])
        with pytest.raises(ValueError, match="not from 0 to 3 - 1, the first is 3 at position 2"):
            self.train(docs=DOCS[:4], labels=np.array([0, 1, 3, 2]))
        with pytest.raises(ValueError, match="5 labels"):
            self.train(docs=DOCS[:4], labels=LABELS[:5])
        with pytest.raises(ValueError, match="direction is"):
            self.train(direction="up")


class TestClassWeights:
    @given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
    @settings(max_examples=20)
    def test_scikit_learn_agrees(self, labels):
        labels = np.array(labels)
        present = np.unique(labels)
        found = ulmfit.class_weights(labels, 6).numpy()
        expected = compute_class_weight("balanced", classes=present, y=labels)
        np.testing.assert_allclose(found[present], expected, rtol=1e-6)
        assert set(np.delete(found, present)) == {0}
        assert found[labels].sum() == pytest.approx(len(labels), rel=1e-5)  # the mean weight of a text is 1


class TestProbabilities:
    model = ulmfit.build_classifier(TINY, 3)

    @given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=7), backwards=st.booleans())
    @settings(max_examples=15)
    def test_each_text_gets_its_own_whatever_the_order_of_lengths(self, lengths, backwards):
        docs = [np.random.default_rng(i).integers(4, 30, n) for i, n in enumerate(lengths)]
        self.model.eval()
        found = ulmfit.probabilities(self.model, docs, backwards=backwards)
        for doc, row in zip(docs, found, strict=True):
            alone = self.model(torch.tensor((doc[::-1] if backwards else doc).copy())[None])
            np.testing.assert_allclose(row, alone.softmax(-1)[0].detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)

    def test_more_texts_than_a_batch(self):
        docs = [DOCS[i % 60] for i in range(300)]
        found = ulmfit.probabilities(self.model, docs)
        assert found.shape == (300, 3)
        np.testing.assert_allclose(found[:60], found[60:120], atol=1e-6)

    @pytest.mark.parametrize("training", [True, False])
    def test_dropout_is_off_meanwhile_and_the_mode_stays(self, training):
        self.model.train(training)
        first, second = (ulmfit.probabilities(self.model, DOCS) for _ in range(2))
        assert np.array_equal(first, second) and self.model.training is training

    def test_no_texts(self):
        with pytest.raises(ValueError, match="no documents"):
            ulmfit.probabilities(self.model, [])


class TestPerplexityAndForgetting:
    def test_a_model_that_says_nothing_guesses_among_all_words(self):
        model = fresh()
        zeros = torch.zeros_like(model.encoder.embedding.weight)
        assert ulmfit.lm_perplexity(model, DOCS, decoder=zeros) == pytest.approx(len(VOCAB), rel=1e-5)

    def test_a_known_word_distribution(self):
        """With a bias alone the perplexity is exp of the cross entropy with the words' frequencies."""
        model = fresh()
        frequency = torch.arange(1.0, len(VOCAB) + 1)
        with torch.no_grad():
            model.decoder_bias.copy_(frequency.log())
        targets = torch.cat([y.flatten() for _, y in LMBatches(DOCS, batch_size=16, bptt=70)])
        by_hand = (-(frequency / frequency.sum()).log()[targets]).mean().exp().item()
        found = ulmfit.lm_perplexity(model, DOCS, decoder=torch.zeros_like(model.encoder.embedding.weight))
        assert found == pytest.approx(by_hand, rel=1e-5)

    def test_the_mode_and_the_state_are_left_as_they_were(self):
        model = fresh().train()
        ulmfit.lm_perplexity(model, DOCS)
        assert model.training and model.state is None

    def test_before_fine_tuning_nothing_is_forgotten(self, language_model):
        classifier = ulmfit.build_classifier(language_model, 3)
        expected = ulmfit.lm_perplexity(language_model, VALID[0])
        assert ulmfit.forgetting(classifier, language_model, VALID[0]) == pytest.approx(expected, rel=1e-6)

    def test_a_destroyed_encoder_forgets_and_the_language_model_stays(self, language_model):
        classifier = ulmfit.build_classifier(language_model, 3)
        with torch.no_grad():
            for parameter in classifier.encoder.rnns.parameters():
                parameter.normal_(std=2)
        before, kept = ulmfit.lm_perplexity(language_model, VALID[0]), weights(language_model)
        assert ulmfit.forgetting(classifier, language_model, VALID[0]) > 2 * before
        assert same(kept, language_model) and ulmfit.lm_perplexity(language_model, VALID[0]) == before

    def test_the_decoder_stays_the_language_model_s(self, language_model):
        """The words come in through the fine-tuned embedding, and out through the old one."""
        classifier = ulmfit.build_classifier(language_model, 3)
        with torch.no_grad():
            classifier.encoder.embedding.weight.copy_(language_model.encoder.embedding.weight.flip(0))
        classifier.eval()
        loss, state = [], None
        for x, y in LMBatches(VALID[0], batch_size=16, bptt=70):
            hidden, state = classifier.encoder(x, state)
            logits = hidden @ language_model.encoder.embedding.weight.T + language_model.decoder_bias
            loss.append(F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none"))
        by_hand = torch.cat(loss).mean().exp().item()
        found = ulmfit.forgetting(classifier, language_model, VALID[0])
        assert found == pytest.approx(by_hand, rel=1e-5)
        assert found > 1.1 * ulmfit.lm_perplexity(language_model, VALID[0])

    def test_right_after_a_step_of_training(self):
        """Then the model still holds outputs with a graph."""
        model = fresh().train()
        model(torch.tensor([[5, 6, 7]]))
        classifier = ulmfit.build_classifier(model, 3)
        assert ulmfit.forgetting(classifier, model, DOCS) == pytest.approx(ulmfit.lm_perplexity(model, DOCS), rel=1e-6)


class TestLayerChange:
    @given(st.floats(-0.9, 3))
    @settings(max_examples=10)
    def test_scaling_all_weights_moves_all_layers_alike(self, factor):
        before = ulmfit.AWDLSTM(TINY).state_dict()
        change = ulmfit.layer_change(before, {name: tensor * (1 + factor) for name, tensor in before.items()})
        assert list(change) == ["embedding", "LSTM 1", "LSTM 2"]
        assert list(change.values()) == pytest.approx([abs(factor)] * 3, rel=1e-3, abs=1e-6)

    def test_by_hand(self):
        before = ulmfit.AWDLSTM(TINY).state_dict()
        after = {name: tensor.clone() for name, tensor in before.items()}
        after["rnns.0.weight_hh_l0"][0, 0] += 3
        after["rnns.0.bias_ih_l0"][1] -= 4
        size = sum(float((tensor**2).sum()) for name, tensor in before.items() if "rnns.0" in name) ** 0.5
        change = ulmfit.layer_change(before, after)
        assert change == pytest.approx({"embedding": 0, "LSTM 1": 5 / size, "LSTM 2": 0}, rel=1e-5)


class TestWordImportance:
    @pytest.fixture(scope="class")
    @staticmethod
    def classifier(trained):
        model = ulmfit.build_classifier(trained[0], 3, QUICK)
        ulmfit.fine_tune_classifier(model, DOCS, LABELS, recipe=replace(QUICK, epochs=5))
        return model

    def test_by_hand(self, classifier):
        ids = [BOS, 11, 23, 24]
        classifier.eval()

        def probability(ids):
            return classifier(torch.tensor([ids])).softmax(-1)[0, 2].item()

        found = ulmfit.word_importance(classifier, ids, target=2)
        for i in range(4):
            assert found[i] == pytest.approx(probability(ids) - probability(ids[:i] + ids[i + 1 :]), abs=1e-6)

    def test_the_class_is_the_predicted_one_when_left_out(self, classifier):
        ids = [BOS, 11, 12, 23]
        predicted = int(ulmfit.probabilities(classifier, [np.array(ids)])[0].argmax())
        by_default = ulmfit.word_importance(classifier, ids)
        assert np.array_equal(by_default, ulmfit.word_importance(classifier, ids, target=predicted))

    def test_a_text_of_100_000_words_is_refused_before_any_work(self, classifier):
        with pytest.raises(ValueError, match=r"100,000 tokens would be read 100,000 times; give at most 1,000"):
            ulmfit.word_importance(classifier, [10] * 100_000)

    def test_the_words_of_a_class_matter(self, classifier):
        """Words of the internet desk, then common ones."""
        found = ulmfit.word_importance(classifier, [BOS, 10, 11, 12, 23, 24], target=1)
        assert found[1:4].sum() > 2 * abs(found[4:].sum())

    def test_a_text_of_one_token_has_nothing_to_compare_with(self, classifier):
        assert ulmfit.word_importance(classifier, [BOS]).tolist() == [0]


class TestFewLabelRun:
    def run(self, source=TINY, docs=DOCS, frame=FRAME, **changes):
        how = {"label": "destination", "valid": VALID, "n": 12, "seed": 1, "recipe": replace(QUICK, epochs=1)}
        return ulmfit.few_label_run(source, docs, frame, **how | changes)

    def test_the_rows_that_the_seed_draws(self):
        model, scores = self.run()
        drawn = labelled_subset(FRAME, by="destination", n=12, seed=1).index
        by_hand = ulmfit.build_classifier(TINY, 3, QUICK, seed=1)
        recipe = replace(QUICK, epochs=1)
        ulmfit.fine_tune_classifier(by_hand, [DOCS[i] for i in drawn], LABELS[drawn], recipe=recipe, seed=1)
        assert same(model, by_hand)
        predicted = ulmfit.probabilities(model, VALID[0]).argmax(1)
        assert scores == {"accuracy": accuracy(VALID[1], predicted), "macro_f1": macro_f1(VALID[1], predicted)}

    def test_rows_go_by_position_whatever_the_index(self):
        assert same(self.run()[0], self.run(frame=FRAME.set_axis(range(100, 160)))[0])

    @pytest.mark.parametrize("n", [0, 2, 61])
    def test_a_number_of_labels_that_cannot_be_had(self, n):
        with pytest.raises(DataError, match=rf"n must lie between 3 \(one a class\) and 60 \(all rows\), not {n}"):
            self.run(n=n)

    def test_one_class_only(self):
        alone = FRAME[LABELS == 1]
        with pytest.raises(DataError, match="needs two classes or more; the frame has only the class 'internet'"):
            self.run(docs=[DOCS[i] for i in alone.index], frame=alone)

    def test_a_missing_column(self):
        with pytest.raises(KeyError, match="action"):
            self.run(label="action")


class TestLabelCurve:
    how = {"label": "destination", "valid": VALID}  # noqa: RUF012

    def test_runs(self, language_model):
        quick = replace(QUICK, epochs=1)
        sources = {"transferred": language_model}
        runs = ulmfit.label_curve(sources, DOCS, FRAME, counts={6: 2, ALL: 1}, recipe=quick, **self.how)
        assert list(runs.columns) == ["method", "labels", "seed", "accuracy", "macro_f1"]
        assert runs["method"].tolist() == ["scratch", "transferred"] * 3
        assert runs["labels"].tolist() == [6] * 4 + [60] * 2 and runs["seed"].tolist() == [0, 0, 1, 1, 0, 0]
        _, scores = ulmfit.few_label_run(language_model, DOCS, FRAME, n=6, seed=1, recipe=quick, **self.how)
        assert runs.loc[3, ["accuracy", "macro_f1"]].to_dict() == scores

    def test_what_each_run_is_given(self, language_model, monkeypatch):
        given = []

        def run(start, docs, frame, *, n, seed, recipe, label, valid):
            given.append((start, n, seed, recipe))
            return None, {"accuracy": 0.0, "macro_f1": 0.0}

        monkeypatch.setattr(lesson, "few_label_run", run)
        few, full = replace(QUICK, epochs=9), replace(QUICK, epochs=2, schedule="constant")
        seen = []
        other = ulmfit.LanguageModel(TINY)
        runs = ulmfit.label_curve(
            {"with stage 1": language_model, "without": other}, DOCS, FRAME, counts={6: 1, 60: 1}, recipe=few,
            full_recipe=full, trained={"without": ulmfit.build_classifier(other, 3)},
            progress=lambda runs: seen.extend(runs) or runs, **self.how,
        )  # fmt: skip
        assert runs["method"].tolist() == ["scratch", "with stage 1", "without"] * 2
        assert (
            runs["accuracy"].tolist()[:5] == [0.0] * 5 and runs["accuracy"].iloc[5] > 0
        )  # that one was trained before
        assert seen == [(6, 0), (60, 0)]
        plain = {"factor": 1.0, "unfreezing": "all"}
        assert given == [
            (TINY, 6, 0, replace(few, **plain)),
            (language_model, 6, 0, few),
            (other, 6, 0, few),
            (TINY, 60, 0, replace(full, **plain)),
            (language_model, 60, 0, full),
        ]


class TestCompareRecipes:
    @pytest.fixture(scope="class")
    @staticmethod
    def comparison(trained):
        recipes = {
            "head": replace(QUICK, unfreezing="head"),
            "rough": replace(QUICK, lr=0.2, unfreezing="all", factor=1.0, schedule="constant"),
        }
        return ulmfit.compare_recipes(
            trained[0], DOCS, FRAME, label="destination", valid=VALID, n=30, recipes=recipes, seeds=2
        )

    def test_a_row_a_run(self, comparison):
        changes = ["change: embedding", "change: LSTM 1", "change: LSTM 2"]
        scores = ["accuracy", "macro_f1", "perplexity_before", "perplexity_after"]
        assert list(comparison.columns) == ["recipe", "seed", *scores, *changes]
        assert comparison["recipe"].tolist() == ["head", "rough"] * 2
        assert comparison["seed"].tolist() == [0, 0, 1, 1]

    def test_a_frozen_encoder_forgets_nothing_and_a_rough_recipe_much(self, comparison, trained):
        before = ulmfit.lm_perplexity(trained[0], VALID[0])
        assert comparison["perplexity_before"].tolist() == [before] * 4
        head, rough = (comparison[comparison["recipe"] == name] for name in ("head", "rough"))
        assert head["perplexity_after"].tolist() == pytest.approx([before] * 2)
        assert (head.filter(like="change") == 0).all(axis=None)
        assert (rough["perplexity_after"] > 1.5 * before).all()
        assert (rough.filter(like="change") > 0.1).all(axis=None)

    def test_mean_change(self, comparison):
        change = ulmfit.mean_change(comparison, "rough")
        rough = comparison[comparison["recipe"] == "rough"]
        assert list(change) == ["embedding", "LSTM 1", "LSTM 2"]
        assert change["LSTM 1"] == pytest.approx(rough["change: LSTM 1"].sum() / 2)
        with pytest.raises(KeyError, match="no recipe 'smooth'; there are head, rough"):
            ulmfit.mean_change(comparison, "smooth")


def test_without_dropconnect():
    assert ulmfit.without_dropconnect(Dropouts(0.1, 0.2, 0.3, 0.25, 0.4)) == Dropouts(0.1, 0.2, 0.0, 0.55, 0.4)
    assert ulmfit.without_dropconnect(Dropouts(weight=0.6, hidden=0.5)).hidden == 0.9  # still a probability


def test_short_language_model():
    sizes = replace(ulmfit.SIZES["smoke"], lm_batch_size=16, bptt=8, lm_lr=0.1)

    def perplexity(schedule, seed):
        return ulmfit.short_language_model(TINY, DOCS, VALID[0], schedule, sizes, seed=seed)

    first = perplexity(schedules.constant(), 1)
    assert first == perplexity(schedules.constant(), 1) < len(VOCAB)
    assert first not in (perplexity(schedules.constant(), 2), perplexity(schedules.one_cycle(), 1))


class TestFinish:
    def test_the_seed_decides(self, language_model):
        said = [ulmfit.finish(language_model, VOCAB, ["lost0"], length=12, seed=seed) for seed in (1, 1, 2)]
        assert said[0] == said[1] != said[2]

    def test_words(self, language_model):
        said = ulmfit.finish(language_model, VOCAB, ["lost0", "never seen"], length=40, temperature=5).split("|")
        assert len(said) == 42 and said[:2] == ["lost0", "<unk>"]
        assert not set(said[2:]) & set(Vocab.SPECIALS)

    def test_nothing_to_go_on_from(self, language_model):
        assert len(ulmfit.finish(language_model, VOCAB, [], length=3).split("|")) == 3

    def test_when_cold_it_takes_the_likeliest_word_each_time(self, language_model):
        said = ulmfit.finish(language_model, VOCAB, ["internet2"], length=5, temperature=1e-4).split("|")
        model = copy.deepcopy(language_model).eval()
        ids = [BOS, VOCAB["internet2"]]
        for word in said[1:]:
            model.reset()
            logits = model(torch.tensor([ids]))[0, -1]
            logits[: UNK + 4] = -torch.inf
            ids.append(int(logits.argmax()))
            assert word == VOCAB.words[ids[-1]]

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_and_the_state_are_left_as_they_were(self, training):
        model = fresh().train(training)
        ulmfit.finish(model, VOCAB, ["lost0"], length=2)
        assert model.training is training and model.state is None

    @pytest.mark.parametrize("temperature", [0, -1])
    def test_a_temperature_that_is_none(self, language_model, temperature):
        with pytest.raises(ValueError, match=f"temperature is positive, not {temperature}"):
            ulmfit.finish(language_model, VOCAB, ["lost0"], length=2, temperature=temperature)
