"""The demos of the ULMFiT lesson: every control moved, and what it changes read back."""

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tlcourse.training import gradual_unfreezing, schedules
from tlcourse.widgets import schedule_explorer, sentence_box, unfreezing_timeline


def picture(demo) -> bytes:
    (image,) = (child for child in demo.ui.children if isinstance(child, ipywidgets.Image))
    return bytes(image.value)


def words(demo) -> str:
    return demo.ui.children[-1].value


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    assert plt.get_fignums() == []


class TestScheduleExplorer:
    @pytest.fixture
    def demo(self):
        return schedule_explorer()

    def test_the_start(self, demo):
        assert demo.state.rates.shape == (400,) and demo.state.cut == 40
        assert demo.state.peak == pytest.approx(0.01) and demo.state.rates.argmax() == 40
        assert demo.state.lowest == pytest.approx(0.01 / 32)
        assert "rises for <b>40</b> steps to <b>0.01</b>, then falls for 360 steps" in demo.state.text
        assert demo.state.text in words(demo)

    def test_T(self, demo):
        before = picture(demo)
        demo.controls["T"].value = 1000
        assert demo.state.rates.shape == (1000,) and demo.state.cut == 100
        assert "then falls for 900 steps" in words(demo) and picture(demo) != before

    def test_cut_frac(self, demo):
        before = picture(demo)
        demo.controls["cut_frac"].value = 0.5
        assert demo.state.cut == 200 == demo.state.rates.argmax() and picture(demo) != before

    def test_ratio(self, demo):
        before = picture(demo)
        demo.controls["ratio"].value = 1
        assert np.allclose(demo.state.rates, 0.01) and picture(demo) != before
        demo.controls["ratio"].value = 100
        assert demo.state.lowest == pytest.approx(1e-4)

    def test_lr(self, demo):
        before = picture(demo)
        demo.controls["lr"].value = 0.1
        assert demo.state.peak == pytest.approx(0.1) and demo.state.lowest == pytest.approx(0.1 / 32)
        assert picture(demo) != before and "<b>0.1</b>" in words(demo)

    @pytest.mark.parametrize(("T", "cut_frac"), [(400, 0.1), (20, 0.02), (2000, 0.9)])
    def test_the_rates_are_the_schedule_s_and_the_words_quote_the_last(self, demo, T, cut_frac):
        demo.controls["T"].value, demo.controls["cut_frac"].value = T, cut_frac
        factor = schedules.slanted_triangular(cut_frac=cut_frac, ratio=32)
        np.testing.assert_allclose(demo.state.rates, [0.01 * factor(t, T) for t in range(T)])
        assert f"to <b>{demo.state.rates[-1]:.3g}</b>." in words(demo)

    def test_every_end_of_every_slider(self, demo):
        for end in (min, max):
            for name, control in demo.controls.items():
                low, high = (1e-4, 1e-1) if name == "lr" else (control.min, control.max)
                control.value = end(low, high)
                assert np.isfinite(demo.state.rates).all() and (demo.state.rates > 0).all(), (name, end)


class TestUnfreezingTimeline:
    layers = ("embedding", "LSTM 1", "LSTM 2", "head")

    @pytest.fixture
    def demo(self):
        return unfreezing_timeline(self.layers)

    def test_the_start(self, demo):
        assert demo.state.trainable == [1, 2, 3, 4, 4, 4, 4]
        assert demo.state.learning == ["head"]
        assert "Epoch 1 of 7. Learning: <b>head</b>. Frozen: 3 of 4." in words(demo)

    def test_now(self, demo):
        for now, learning in ((2, ["LSTM 2", "head"]), (3, ["LSTM 1", "LSTM 2", "head"]), (4, list(self.layers))):
            before = picture(demo)
            demo.controls["now"].value = now
            assert demo.state.learning == learning and picture(demo) != before
            assert f"<b>{', '.join(learning)}</b>. Frozen: {4 - now} of 4." in words(demo)

    def test_epochs(self, demo):
        for epochs in (1, 3, 12):
            before = picture(demo)
            demo.controls["epochs"].value = epochs
            stages = gradual_unfreezing(4, epochs)
            assert demo.state.trainable == [stage.trainable for stage in stages for _ in range(stage.epochs)]
            assert len(demo.state.trainable) == epochs and picture(demo) != before

    def test_now_beyond_the_last_epoch_is_the_last(self, demo):
        demo.controls["now"].value = 12
        demo.controls["epochs"].value = 2
        assert demo.state.learning == ["LSTM 2", "head"] and "Epoch 2 of 2." in words(demo)


CLASSES = ("billing", "internet <fast>")


def classify(sentence):
    """Words by blanks; «slow» speaks for the internet desk, «bill» against it."""
    tokens = sentence.split()
    importance = np.array([{"slow": 0.4, "bill": -0.2}.get(token, 0.0) for token in tokens])
    p = 1 / (1 + np.exp(-4 * importance.sum() - 0.1))
    return tokens, importance, np.array([1 - p, p])


class TestSentenceBox:
    examples = ("so slow", "the bill", "so slow bill")

    @pytest.fixture
    def demo(self):
        return sentence_box(classify, CLASSES, examples=self.examples)

    def test_the_first_example_is_shown_at_once(self, demo):
        assert demo.state.label == "internet <fast>" and demo.state.tokens == ["so", "slow"]
        assert demo.state.probability == pytest.approx(classify("so slow")[2][1])
        np.testing.assert_array_equal(demo.state.importance, [0, 0.4])

    def test_typing(self, demo):
        before = words(demo)
        demo.controls["sentence"].value = "my bill"
        assert demo.state.label == "billing" and demo.state.tokens == ["my", "bill"]
        assert words(demo) != before and "my</span>" in words(demo)

    def test_choosing_an_example_types_it(self, demo):
        demo.controls["example"].value = "the bill"
        assert demo.controls["sentence"].value == "the bill"
        assert demo.state.label == "billing"
        demo.controls["example"].value = "so slow"
        assert demo.state.tokens == ["so", "slow"]

    def test_the_strongest_word_has_the_strongest_colour(self, demo):
        demo.controls["sentence"].value = "so slow bill"
        shown = words(demo)
        assert "title='+0.400' style='background:rgba(230,159,0,1.00)" in shown
        assert "title='-0.200' style='background:rgba(86,180,233,0.50)" in shown
        assert "title='+0.000' style='background:rgba(86,180,233,0.00)" in shown

    def test_classes_with_their_probabilities_the_likeliest_first(self, demo):
        demo.controls["sentence"].value = "slow slow"
        shown = words(demo)
        assert shown.index("internet &lt;fast&gt;") < shown.index("billing")
        assert f"{classify('slow slow')[2][1]:.0%}" in shown

    @pytest.mark.parametrize("nothing", ["", "   "])
    def test_nothing_typed_leaves_nothing_of_the_sentence_before(self, demo, nothing):
        demo.controls["sentence"].value = nothing
        assert "Type a sentence" in words(demo) and "slow" not in words(demo)
        assert (demo.state.label, demo.state.probability, demo.state.tokens) == (None, 0.0, [])
        assert len(demo.state.importance) == 0

    def test_what_is_typed_is_no_html(self, demo):
        demo.controls["sentence"].value = "<script>alert(1)</script> slow"
        assert "<script>" not in words(demo) and "&lt;script&gt;" in words(demo)

    def test_thai(self):
        def cut(sentence):
            return ["เน็ต", "ช้า"], np.array([0.1, 0.3]), np.array([0.2, 0.8])

        demo = sentence_box(cut, ("ค่าบริการ", "อินเทอร์เน็ต"), examples=["เน็ตช้า"])
        assert demo.state.label == "อินเทอร์เน็ต" and "ช้า</span>" in words(demo)

    def test_words_that_all_matter_nothing(self, demo):
        demo.controls["sentence"].value = "a b c"
        assert np.array_equal(demo.state.importance, np.zeros(3)) and "nan" not in words(demo)

    def test_a_classifier_that_raises_is_seen(self, demo):
        def broken(sentence):
            raise RuntimeError("no weights")

        with pytest.raises(RuntimeError, match="no weights"):
            sentence_box(broken, CLASSES, examples=["a"])
        calls = []

        def breaks_later(sentence):
            calls.append(sentence)
            return classify(sentence) if len(calls) == 1 else broken(sentence)

        demo = sentence_box(breaks_later, CLASSES, examples=["slow", "bill"])
        with pytest.raises(RuntimeError, match="no weights"):
            demo.controls["sentence"].value = "so"
        with pytest.raises(RuntimeError, match="no weights"):
            demo.controls["example"].value = "bill"

    def test_a_score_for_each_token(self):
        with pytest.raises(ValueError, match="zip"):
            sentence_box(lambda s: (["a", "b"], np.ones(3), np.ones(2)), CLASSES, examples=["a"])
