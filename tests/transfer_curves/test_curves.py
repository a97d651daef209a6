"""What transfer buys: curves with a known answer, treatments that differ in one thing, sources, bad input."""

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from tlcourse.data import DataError
from tlcourse.transfer_curves import (
    ASYMPTOTE,
    BENEFITS,
    FEATURES,
    FINE_TUNING,
    FRESH,
    NONE,
    SCRATCH,
    SLOPE,
    START,
    TREATMENTS,
    WORDS,
    Recipe,
    benefits,
    bootstrap_interval,
    cut_encoder,
    label_curves,
    paired,
    source_scores,
    step_curves,
    summarise,
)
from tlcourse.transfer_curves import curves as curves_module
from tlcourse.transfer_curves.curves import Experiment, Head, Pieces, Rows, features
from tlcourse.transfer_curves.lesson import SIZES

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))
SHORT = Recipe(measured=(0, 1, 4), batch_size=4, head_lr=1e-2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.save(tmp_path_factory.mktemp("bert"), "Bert")


@pytest.fixture(scope="module")
def task():
    """Texts about money and about water; 24 to learn from, 12 held out."""
    money = ["The bank lends money to farmers.", "Farmers count money.", "The bank counts."]
    water = ["She sat on the river and counted boats.", "A river of boats.", "Boats on the river."]
    rows = [
        (f"{text} {'to ' * i}", name)
        for i in range(6)
        for texts, name in [(money, "b"), (water, "a")]
        for text in texts
    ]
    frame = pd.DataFrame(rows, columns=["text", "topic"])
    return frame.head(24), frame.tail(12)


def straight(treatment="x", seed=0, start=0.5, per_step=0.002, steps=(0, 10, 20, 40, 80), until=50):
    """A curve that rises in a straight line and then stays."""
    scores = [start + per_step * min(step, until) for step in steps]
    return pd.DataFrame({"treatment": treatment, "seed": seed, "steps": list(steps), "score": scores})


class TestSummary:
    def test_known_answers(self):
        table = summarise(straight(), rise=40, last=1)
        assert table[["treatment", "seed"]].values.tolist() == [["x", 0]]
        np.testing.assert_allclose(table[[START, SLOPE, ASYMPTOTE]].iloc[0].tolist(), [0.5, 0.2, 0.6])

    def test_where_to_read(self):
        table = summarise(straight(), start=20, rise=80, last=2).iloc[0]
        assert table[START] == pytest.approx(0.54) and table[ASYMPTOTE] == pytest.approx((0.58 + 0.6) / 2)
        steps, scores = np.array([0, 10, 20, 40, 80]), np.array([0.5, 0.52, 0.54, 0.58, 0.6])
        assert table[SLOPE] == pytest.approx(100 * np.polyfit(steps, scores, 1)[0])

    def test_a_quarter_of_the_steps_unless_said(self):
        bent = straight(until=20)
        assert summarise(bent)[SLOPE][0] == pytest.approx(0.2) and summarise(bent, rise=40)[SLOPE][0] < 0.19

    curves = st.lists(st.floats(0, 1), min_size=5, max_size=5)

    @settings(max_examples=10)
    @given(scores=curves, up=st.floats(-1, 1), times=st.floats(0, 3))
    def test_higher_and_steeper(self, scores, up, times):
        curve = straight().assign(score=scores)
        own = summarise(curve)[[*BENEFITS]].to_numpy()
        shifted = summarise(curve.assign(score=curve.score + up))[[*BENEFITS]].to_numpy()
        scaled = summarise(curve.assign(score=times * curve.score))[[*BENEFITS]].to_numpy()
        np.testing.assert_allclose(shifted, own + np.array([up, 0, up]), atol=1e-9)
        np.testing.assert_allclose(scaled, times * own, atol=1e-9)

    @settings(max_examples=5)
    @given(order=st.permutations(range(10)), slower=st.integers(2, 9))
    def test_order_of_rows_and_unit_of_steps(self, order, slower):
        curves = pd.concat([straight(seed=0), straight(seed=1, per_step=0.004)])
        pd.testing.assert_frame_equal(summarise(curves.iloc[order]), summarise(curves))
        stretched = summarise(curves.assign(steps=curves.steps * slower))
        np.testing.assert_allclose(stretched[SLOPE] * slower, summarise(curves)[SLOPE])

    @pytest.mark.parametrize(
        ("change", "arguments", "message"),
        [
            (lambda f: f.drop(columns="steps"), {}, "no column 'steps'"),
            (lambda f: pd.concat([f, f.head(1)]), {}, "occur twice"),
            (lambda f: pd.concat([f, straight(seed=1).head(3)]), {}, "curve of x, seed 1, lacks a step"),
            (lambda f: f, {"start": 15}, "measured at step 15, only at 0, 10, 20, 40, 80"),
            (lambda f: f, {"rise": 5}, "1 measurements for the slope"),
            (lambda f: f, {"last": 6}, "two and 6 are needed"),
            (lambda f: f, {"last": 0}, "two and 0 are needed"),
        ],
    )
    def test_bad_input(self, change, arguments, message):
        with pytest.raises(ValueError, match=message):
            summarise(change(straight()), **arguments)


class TestBenefits:
    def test_known_answers(self):
        curves = [straight(SCRATCH, seed, start=0.5 + seed / 100, per_step=0.001) for seed in range(4)]
        curves += [straight("transfer", seed, start=0.6 + seed / 100, per_step=0.003) for seed in range(4)]
        table = benefits(pd.concat(curves), rise=40, last=1).set_index("benefit")
        assert table.index.tolist() == [*BENEFITS] and set(table["treatment"]) == {"transfer"}
        np.testing.assert_allclose(table["difference"], [0.1, 0.2, 0.2])
        np.testing.assert_allclose(table["low"], table["difference"])  # seeds pair: what they share is in no interval
        np.testing.assert_allclose(table["high"], table["difference"])
        np.testing.assert_allclose(table["value"], [0.615, 0.3, 0.765])
        np.testing.assert_allclose(table["baseline"], [0.515, 0.1, 0.565])

    @settings(max_examples=3)
    @given(up=st.floats(-0.5, 0.5), seed=st.integers(0, 99))
    def test_a_shift(self, up, seed):
        rng = np.random.default_rng(seed)
        curves = pd.concat([straight(name, s) for name in (SCRATCH, "transfer") for s in range(5)])
        curves["score"] += rng.normal(0, 0.05, len(curves))
        shifted = curves.assign(score=curves.score + up * (curves.treatment == "transfer"))
        for column in ("difference", "low", "high"):
            moved = (benefits(shifted)[column] - benefits(curves)[column]).to_numpy()
            np.testing.assert_allclose(moved, [up, 0, up], atol=1e-9)

    def test_over_labels_and_another_baseline(self):
        scores = {(WORDS, 10): 0.5, (FEATURES, 10): 0.7, (WORDS, 100): 0.8, (FEATURES, 100): 0.75}
        frame = pd.DataFrame([(name, seed, n, score) for (name, n), score in scores.items() for seed in (0, 1)])
        frame.columns = ["treatment", "seed", "labels", "score"]
        table = paired(frame, by="labels", baseline=WORDS, value="score")
        assert table["labels"].tolist() == [10, 100]
        np.testing.assert_allclose(table["difference"], [0.2, -0.05])

    def test_bad_input(self):
        two = pd.concat([straight(SCRATCH, 0), straight("x", 1)])
        with pytest.raises(ValueError, match="'words' is not among the treatments"):
            benefits(two, baseline=WORDS)
        with pytest.raises(ValueError, match="x and scratch were not run with the same seeds"):
            benefits(two)
        with pytest.raises(ValueError, match="two finite values"):
            benefits(pd.concat([straight(SCRATCH), straight("x")]))


class TestInterval:
    @settings(max_examples=25)
    @given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=12), by=st.floats(-2, 2))
    def test_within_the_range_and_moves_along(self, values, by):
        low, high = bootstrap_interval(values)
        assert (
            min(values) - 1e-9 <= low <= np.mean(values) + 1e-9 and np.mean(values) - 1e-9 <= high <= max(values) + 1e-9
        )
        np.testing.assert_allclose(bootstrap_interval(np.array(values) + by), [low + by, high + by], atol=1e-9)

    def test_of_many_values_it_is_that_of_the_normal_distribution(self):
        values = np.random.default_rng(1).normal(3, 2, 400)
        low, high = bootstrap_interval(values)
        half = 1.966 * values.std(ddof=1) / 20
        np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.02)

    def test_how_often_it_covers_the_mean_of_five(self):
        rng = np.random.default_rng(0)
        inside = [
            low <= 0 <= high
            for low, high in (bootstrap_interval(rng.normal(size=5), resamples=2000) for _ in range(400))
        ]
        assert 0.90 < np.mean(inside) < 0.97  # plain percentiles: 0.83

    def test_confidence(self):
        values = np.arange(30.0)
        narrow, wide = bootstrap_interval(values, confidence=0.5), bootstrap_interval(values, confidence=0.99)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    @pytest.mark.parametrize(
        ("values", "confidence", "message"),
        [([1.0], 0.95, "two finite"), ([1.0, np.nan], 0.95, "two finite"), ([1, 2], 1.0, "between 0 and 1, not 1.0")],
    )
    def test_bad_input(self, values, confidence, message):
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(values, confidence=confidence)


class TestEncoder:
    def test_mean_of_true_pieces(self, folder):
        checkpoint = cut_encoder(folder)
        texts = ["The bank", "She sat on the bank of the river and counted boats.", "ใช้ขันตักน้ำบนเกาะ"]
        found = features(checkpoint, Pieces.of(checkpoint, texts, 64))
        for text, row in zip(texts, found, strict=True):
            with torch.inference_mode():
                alone = checkpoint.model(**checkpoint.tokeniser(text, return_tensors="pt")).last_hidden_state[0]
            np.testing.assert_allclose(row, alone.mean(0).numpy(), atol=1e-5)

    def test_first_layers(self, folder):
        whole, cut = AutoModel.from_pretrained(folder).eval(), cut_encoder(folder, layers=1)
        ids = torch.tensor([[0, 7, 9, 2]])
        with torch.inference_mode():
            states = whole(ids, output_hidden_states=True).hidden_states
            torch.testing.assert_close(cut.model(ids).last_hidden_state, states[1])
        with pytest.raises(ValueError, match=r"layers=3: .* has 1 to 2"):
            cut_encoder(folder, layers=3)

    def test_long_texts_are_cut_off(self, folder):
        checkpoint = cut_encoder(folder)
        assert Pieces.of(checkpoint, ["river " * 99], 1000).lengths == [small.POSITIONS]
        assert Pieces.of(checkpoint, ["river " * 99], 9).lengths == [9]

    def test_head_standardises(self):
        states = np.random.default_rng(0).normal(3, [1, 5, 0.1], (50, 3)).astype(np.float32)
        head = Head(states, 2)
        assert not head(torch.from_numpy(states)).any()  # zero weights: nothing is known
        torch.nn.init.ones_(head.linear.weight)
        expected = ((states - states.mean(0)) / states.std(0)).sum(1)
        np.testing.assert_allclose(head(torch.from_numpy(states))[:, 1].detach(), expected, atol=1e-3)
        assert sum(p.numel() for p in head.parameters()) == 8  # mean and deviation do not learn


class TestStepCurves:
    def test_what_is_measured(self, folder, task):
        curves = step_curves(*task, label="topic", labels=12, encoder=folder, recipe=SHORT, seeds=[3, 5])
        assert list(curves) == ["treatment", "seed", "steps", "score"] and len(curves) == 3 * 2 * 3
        assert set(curves.treatment) == set(TREATMENTS) and set(curves.seed) == {3, 5}
        assert set(curves.query("steps == 0").score) == {0.5}  # every text gets the first class
        again = step_curves(*task, label="topic", labels=12, encoder=folder, recipe=SHORT, seeds=[5])
        pd.testing.assert_frame_equal(again, curves.query("seed == 5").reset_index(drop=True))

    def test_learns(self, folder, task):
        recipe = Recipe(measured=(25,), batch_size=8, lr=3e-3, fresh_lr=3e-3, head_lr=3e-2)
        curves = step_curves(*task, label="topic", labels=24, encoder=folder, recipe=recipe, seeds=[0])
        assert curves.score.min() >= 0.9

    def test_treatments_differ_in_nothing_else(self, folder, task, monkeypatch):
        seen = {}
        real = curves_module.fit

        def fit(learner, *args, **more):
            before = copy.deepcopy(learner.model.state_dict())
            batches = [y.tolist() for _, y in learner.dls.train]
            learner.dls.train.load_state_dict({"epoch": 0, "step": 0})
            real(learner, *args, **more)
            seen[len(seen)] = before, batches, learner.model.state_dict(), learner.plan.rates

        monkeypatch.setattr(curves_module, "fit", fit)
        step_curves(*task, label="topic", labels=12, encoder=folder, recipe=SHORT, seeds=[0])
        (scratch, order, moved, slow), (_, same, _, head), (tuned, also, after, fast) = seen.values()
        assert order == same == also
        np.testing.assert_allclose(head[:, -1], [0.002, 0.004, 0.006, 0.008])
        np.testing.assert_allclose([slow[:, -1], fast[:, -1]], [head[:, -1]] * 2)
        np.testing.assert_allclose([slow[3, 0] / SHORT.fresh_lr, fast[3, 0] / SHORT.lr], 0.8)
        published = AutoModel.from_pretrained(folder).state_dict()
        key = "encoder.layer.0.attention.self.query.weight"
        torch.testing.assert_close(tuned[f"encoder.{key}"], published[key], rtol=0, atol=0)
        assert not torch.equal(scratch[f"encoder.{key}"], published[key])
        assert all(
            not torch.equal(new[f"encoder.{key}"], old[f"encoder.{key}"])
            for new, old in [(moved, scratch), (after, tuned)]
        )

    def test_frozen_states_are_computed_once(self, folder, task, monkeypatch):
        counted = []
        real = curves_module.features
        monkeypatch.setattr(
            curves_module, "features", lambda one, pieces: counted.append(len(pieces.ids)) or real(one, pieces)
        )
        step_curves(
            *task, label="topic", labels=20, encoder=folder, recipe=SHORT, treatments=[FEATURES], seeds=range(4)
        )
        assert len(counted) == 2 and counted[1] == 12 and 20 <= counted[0] <= 24

    def test_an_encoder_is_not_changed(self, folder, task):
        experiment = Experiment(*task, label="topic", encoder=folder, recipe=SHORT)
        before = copy.deepcopy(experiment.checkpoint.model.state_dict())
        experiment.learn(FINE_TUNING, experiment.draw(12, 0), seed=0)
        for name, tensor in experiment.checkpoint.model.state_dict().items():
            assert torch.equal(tensor, before[name])

    def test_a_class_that_training_has_not_is_wrong(self, folder, task):
        train, held = task
        curves = step_curves(
            train, held.assign(topic="c"), label="topic", labels=4, encoder=folder, recipe=SHORT, seeds=[0]
        )
        assert set(curves.score) == {0.0}

    def test_bad_input(self, folder, task):
        train, held = task
        more = {"label": "topic", "labels": 8, "encoder": folder, "recipe": SHORT}
        with pytest.raises(ValueError, match="'frozen' is no treatment here; they are scratch"):
            step_curves(train, held, treatments=["frozen"], **more)
        with pytest.raises(ValueError, match="no column 'stars'"):
            step_curves(train, held, **more | {"label": "stars"})
        with pytest.raises(ValueError, match="row 3: text is"):
            step_curves(train.assign(text=[*train.text[:3], None, *train.text[4:]]), held, **more)
        with pytest.raises(ValueError, match="nothing to measure on"):
            step_curves(train, held.head(0), **more)
        with pytest.raises(ValueError, match=r"all labels of training are \['b'\]"):
            step_curves(train.query("topic == 'b'"), held, **more)
        with pytest.raises(DataError, match=r"n must lie between 2 .* and 24"):
            step_curves(train, held, **more | {"labels": 25})

    @pytest.mark.parametrize("steps", [(), (0,), (5, 3), (1, 1), (-1, 4)])
    def test_steps(self, steps):
        with pytest.raises(ValueError, match="the steps to measure at ascend"):
            Recipe(measured=steps)


class TestLabelCurves:
    def test_what_is_measured(self, folder, task):
        curves = label_curves(
            *task, label="topic", counts=(4, 20), encoder=folder, recipe=SHORT, seeds=[0, 1],
            treatments=[WORDS, *TREATMENTS], words=lambda text: text.lower().split(),
        )  # fmt: skip
        assert list(curves) == ["treatment", "seed", "labels", "score"] and len(curves) == 2 * 2 * 4
        assert curves.query("treatment == 'words' and labels == 20").score.min() == 1.0  # each topic has its words
        assert curves.query("treatment == 'feature extraction' and labels == 20").score.min() >= 0.75

    def test_words_are_cut_as_said(self, folder, task):
        nothing = label_curves(
            *task, label="topic", counts=[20], encoder=folder, recipe=SHORT, seeds=[0], treatments=[WORDS],
            words=lambda text: ["?"],
        )  # fmt: skip
        assert nothing.score.tolist() == [0.5]

    def test_bad_input(self, folder, task):
        with pytest.raises(ValueError, match="'bert' is no treatment here; they are words, scratch"):
            label_curves(*task, label="topic", counts=[4], encoder=folder, treatments=["bert"])


class TestSources:
    other = pd.DataFrame({"text": ["a boat", "money lent", "boats", "farmers"] * 3, "about": ["water", "money"] * 6})

    def test_rows(self, folder, task):
        scores = source_scores(
            *task, {"near": self.other}, label="topic", labels=8, encoder=folder, recipe=SHORT, seeds=[0, 1]
        )
        assert list(scores) == ["source", "treatment", "seed", "labels", "score"]
        runs = {(source, treatment) for source in (FRESH, NONE, "near") for treatment in (FEATURES, FINE_TUNING)}
        assert set(zip(scores.source, scores.treatment, strict=True)) == runs and len(scores) == 12

    def test_what_passes_from_source_to_target(self, folder, task, monkeypatch):
        starts = []
        real = Experiment.learn

        def learn(self, *args, start, **more):
            starts.append(copy.deepcopy(start.model.state_dict()))
            return real(self, *args, start=start, **more)

        monkeypatch.setattr(Experiment, "learn", learn)
        source_scores(*task, {"near": self.other}, label="topic", labels=8, encoder=folder, recipe=SHORT, seeds=[0])
        key = "encoder.layer.1.output.dense.weight"
        fresh, _, none, _, near, unchanged = (state[key] for state in starts)
        assert torch.equal(none, AutoModel.from_pretrained(folder).state_dict()[key])
        assert torch.equal(near, unchanged)  # the target's fine-tuning works on a copy
        assert 0 < (near - none).norm() < 0.1 * none.norm() and (fresh - none).norm() > none.norm()

    def test_from_fresh_weights(self, folder, task):
        scores = source_scores(
            *task, {"near": self.other}, label="topic", labels=8, encoder=folder, recipe=SHORT, seeds=[0], fresh=True,
            treatments=[FEATURES],
        )  # fmt: skip
        assert scores.source.tolist() == [FRESH, "near"]

    @pytest.mark.parametrize(
        ("sources", "more", "message"),
        [
            ({NONE: other}, {}, "cannot be called 'none'"),
            ({"near": other.assign(text=other.text, two=1)}, {}, "say which column has the labels"),
            ({"near": other.head(0)}, {}, "no rows to train on"),
            ({"near": other}, {"source_recipe": Recipe(layers=1)}, "keeps 1 layers, the target None"),
            ({"near": other}, {"treatments": [SCRATCH]}, "'scratch' is no treatment here"),
        ],
    )
    def test_bad_input(self, folder, task, sources, more, message):
        with pytest.raises(ValueError, match=message):
            source_scores(*task, sources, label="topic", labels=8, encoder=folder, recipe=SHORT, seeds=[0], **more)


class TestSizes:
    @pytest.mark.parametrize("name", SIZES)
    def test_fit_together(self, name):
        sizes = SIZES[name]
        assert sizes.source_recipe.layers == sizes.target_recipe.layers
        assert sizes.start in sizes.recipe.measured and sum(step <= sizes.rise for step in sizes.recipe.measured) >= 3
        assert max(sizes.counts) > sizes.counts[0] and min(sizes.seeds) >= 2

    def test_rows_of_all_steps(self):
        rows = Rows(torch.from_numpy, np.arange(10), [1] * 10, steps=7, batch_size=4, seed=0)
        targets = [y.tolist() for _, y in rows]
        assert len(rows) == len(targets) == 7
        first, second = ({i for some in targets[at : at + 3] for i in some} for at in (0, 3))
        assert first == second == set(range(10))
