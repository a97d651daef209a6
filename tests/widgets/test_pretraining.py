"""The demos of the pretraining lesson: every control moved, and what it changes read back."""

import logging
import warnings
from contextlib import contextmanager
from types import MappingProxyType

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse import plots
from tlcourse.text import Vocab, characters, thai_words
from tlcourse.ulmfit import AWDLSTMConfig, LanguageModel, finish
from tlcourse.widgets.pretraining import (
    AMBIGUOUS,
    connection_dropout,
    connection_masks,
    generator,
    nearest,
    nearest_words,
    next_word,
    next_words,
    segmentation,
)

WORDS = ["ประเทศ", "ไทย", "ที่", "น้ำ", "เป็น", "<b>", "|", *(f"คำ{i}" for i in range(33))]
VOCAB = Vocab([*Vocab.SPECIALS, *WORDS])


def language_model(vocab=VOCAB, seed=0) -> LanguageModel:
    """A model of random weights, large enough that its beliefs differ from word to word."""
    torch.manual_seed(seed)
    model = LanguageModel(AWDLSTMConfig(len(vocab), emb_dim=8, hidden_dim=12, n_layers=2))
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_()
    return model


MODEL = language_model()


def picture(demo) -> bytes:
    (image,) = (child for child in demo.ui.children if isinstance(child, ipywidgets.Image))
    return bytes(image.value)


def words(demo) -> str:
    return demo.ui.children[-1].value


@contextmanager
def changes(demo, look):
    before = look(demo)
    yield
    assert look(demo) != before


@pytest.fixture(autouse=True)
def styled(caplog):
    """The course's font; no glyph is missing in any picture, and no figure stays open."""
    with mpl.rc_context(), warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.filterwarnings("error", message="Glyph")
        plots.use_course_style()
        mpl.rcParams["figure.dpi"] = 30  # quicker
        yield
    assert [record.message for record in caplog.records if record.name != "asyncio"] == []
    assert plt.get_fignums() == []


class TestNextWords:
    def test_a_distribution_over_the_vocabulary(self):
        belief = next_words(MODEL, VOCAB, ["ประเทศ", "ไทย"])
        assert sorted(belief.index) == sorted(VOCAB.words) and belief.sum() == pytest.approx(1)
        assert belief.is_monotonic_decreasing
        ids = torch.tensor([[2, VOCAB["ประเทศ"], VOCAB["ไทย"]]])
        expected = language_model().eval()(ids)[0, -1].softmax(-1)
        np.testing.assert_allclose(belief[VOCAB.words], expected.detach(), rtol=1e-5)

    def test_temperature_sharpens(self):
        cold, hot = (next_words(MODEL, VOCAB, [], temperature=t) for t in (0.2, 2))
        assert cold.index[0] == hot.index[0] and cold.iloc[0] > hot.iloc[0]

    def test_the_model_is_left_as_it_was(self):
        model = language_model().train()
        first = next_words(model, VOCAB, ["ไทย"])
        assert model.training and model.state is None
        assert next_words(model, VOCAB, ["ไทย"]).equals(first)  # without dropout, and nothing is carried over

    @pytest.mark.parametrize("temperature", [0, -1])
    def test_no_temperature(self, temperature):
        with pytest.raises(ValueError, match=f"temperature is positive, not {temperature}"):
            next_words(MODEL, VOCAB, [], temperature=temperature)

    def test_the_vocabulary_of_another_model(self):
        with pytest.raises(ValueError, match="the vocabulary has 5 words, the vectors 44"):
            next_words(MODEL, Vocab([*Vocab.SPECIALS, "a"]), [])


class TestNextWord:
    examples = ("ประเทศไทย", "น้ำที่")

    @pytest.fixture
    def demo(self):
        return next_word(MODEL, VOCAB, examples=self.examples, top=6)

    def test_the_start(self, demo):
        belief = next_words(MODEL, VOCAB, ["ประเทศ", "ไทย"])
        assert demo.state.tokens == ["ประเทศ", "ไทย"]
        assert demo.state.beliefs["The model"].equals(belief.head(6))
        assert demo.state.unknown == {"The model": []} and "Unknown" not in words(demo)
        assert demo.state.choices["The model"] == pytest.approx(np.exp(-(belief * np.log(belief)).sum()), rel=1e-4)
        assert f"<b>{demo.state.choices['The model']:,.1f}</b>" in words(demo)
        assert "temperature 1.0" in words(demo)

    def test_typing(self, demo):
        with changes(demo, picture), changes(demo, words):
            demo.controls["beginning"].value = "น้ำที่ประเทศ"
        assert demo.state.tokens == ["น้ำ", "ที่", "ประเทศ"]

    def test_temperature_from_end_to_end(self, demo):
        slider = demo.controls["temperature"]
        choices = []
        for value in (slider.min, 0.5, 1.5, slider.max):
            with changes(demo, picture):
                slider.value = value
            choices.append(demo.state.choices["The model"])
        assert choices == sorted(choices) and 1 <= choices[0] < 2 < choices[-1] <= len(VOCAB)

    def test_choosing_an_example_types_it(self, demo):
        demo.controls["example"].value = "น้ำที่"
        assert demo.controls["beginning"].value == "น้ำที่" and demo.state.tokens == ["น้ำ", "ที่"]

    def test_nothing_typed_asks_for_the_first_word(self, demo):
        demo.controls["beginning"].value = "  "
        assert demo.state.tokens == []
        assert demo.state.beliefs["The model"].equals(next_words(MODEL, VOCAB, []).head(6))

    def test_unknown_words_are_named_and_are_no_html(self, demo):
        demo.controls["beginning"].value = "ไทย <i> รถไฟ"
        assert "รถไฟ" in demo.state.unknown["The model"] and "ไทย" not in demo.state.unknown["The model"]
        assert "Unknown to it: " in words(demo) and "รถไฟ" in words(demo).split("Unknown to it: ")[1]
        assert "<i>" not in words(demo)

    def test_unknown_words_only(self, demo):
        demo.controls["beginning"].value = "รถไฟ"
        assert demo.state.unknown["The model"] == demo.state.tokens
        assert demo.state.beliefs["The model"].equals(next_words(MODEL, VOCAB, ["<unk>"]).head(6))

    def test_more_words_than_the_vocabulary_has(self):
        demo = next_word(MODEL, VOCAB, examples=["ไทย"], top=1000)
        assert len(demo.state.beliefs["The model"]) == len(VOCAB)

    def test_two_models_of_two_vocabularies(self):
        small = Vocab([*Vocab.SPECIALS, "น้ำ", "ไทย"])
        other = {"after <tuning>": (language_model(small, seed=1), small)}
        demo = next_word(MODEL, VOCAB, examples=self.examples, name="before", models=other)
        assert list(demo.state.beliefs) == ["before", "after <tuning>"]
        assert demo.state.unknown == {"before": [], "after <tuning>": ["ประเทศ"]}
        assert len(demo.state.beliefs["after <tuning>"]) == len(small)
        assert "after &lt;tuning&gt; is as unsure" in words(demo)
        with changes(demo, picture):
            demo.controls["beginning"].value = "น้ำ"


class TestGenerator:
    @pytest.fixture
    def demo(self):
        return generator(MODEL, VOCAB, examples=("ประเทศไทย", "น้ำ"))

    def expected(self, tokens, **how):
        how = {"length": 30, "temperature": 0.7, "seed": 1} | how
        return finish(MODEL, VOCAB, tokens, **how)

    def test_the_start(self, demo):
        assert demo.state.tokens == ["ประเทศ", "ไทย"] and demo.state.unknown == []
        assert f"ประเทศ|ไทย|{demo.state.generated}" == self.expected(["ประเทศ", "ไทย"])
        assert "temperature 0.7, 30 words, seed 1" in words(demo)

    @pytest.mark.parametrize(("control", "value"), [("temperature", 1.9), ("length", 60), ("seed", 7)])
    def test_each_control(self, demo, control, value):
        with changes(demo, words):
            demo.controls[control].value = value
        assert f"ประเทศ|ไทย|{demo.state.generated}" == self.expected(["ประเทศ", "ไทย"], **{control: value})

    def test_another_is_the_next_seed(self, demo):
        with changes(demo, lambda demo: demo.state.generated):
            demo.controls["another"].click()
        assert demo.controls["seed"].value == 2
        assert f"ประเทศ|ไทย|{demo.state.generated}" == self.expected(["ประเทศ", "ไทย"], seed=2)

    def test_every_end_of_every_slider(self, demo):
        for end in ("min", "max"):
            for name in ("temperature", "length"):
                demo.controls[name].value = getattr(demo.controls[name], end)
            assert len(demo.state.generated) >= demo.controls["length"].value

    def test_choosing_an_example_types_it(self, demo):
        demo.controls["example"].value = "น้ำ"
        assert demo.state.tokens == ["น้ำ"] == [demo.controls["beginning"].value]

    def test_nothing_typed(self, demo):
        demo.controls["beginning"].value = ""
        assert demo.state.tokens == [] and demo.state.generated == self.expected([])

    def test_unknown_words_only(self, demo):
        demo.controls["beginning"].value = "รถไฟ"
        assert demo.state.unknown == demo.state.tokens == ["รถไฟ"] and "Unknown to the model: รถไฟ" in words(demo)
        assert f"<unk>|{demo.state.generated}" == self.expected(["รถไฟ"])

    def test_what_is_typed_or_drawn_is_no_html(self, demo):
        demo.controls["beginning"].value = "ไทย <script>"
        demo.controls["temperature"].value = 2
        demo.controls["length"].value = 100
        shown = words(demo).replace("<b style", "").replace("</b>", "")
        assert "<b>" in demo.state.generated.split("|") and "<b>" not in shown and "&lt;b&gt;" in shown
        assert "<script>" not in words(demo)

    def test_a_bar_in_the_beginning_is_not_taken_for_the_end_of_a_word(self, demo):
        demo.controls["beginning"].value = "ไทย | น้ำ"
        assert demo.state.tokens == ["ไทย", "|", "น้ำ"]
        assert f"ไทย|||น้ำ|{demo.state.generated}" == self.expected(["ไทย", "|", "น้ำ"])


class TestSegmentation:
    engines = MappingProxyType({"newmm": thai_words, "blanks <b>": str.split, "characters": characters})

    @pytest.fixture
    def demo(self):
        return segmentation(self.engines)

    def test_the_start(self, demo):
        text = next(iter(AMBIGUOUS))
        assert demo.state.cuts == {name: engine(text) for name, engine in self.engines.items()}
        assert demo.state.counts["characters"] == len(text) and demo.state.counts["blanks <b>"] == 1
        assert f"<b>{len(text)}</b> tokens" in words(demo) and "<b>1</b> token<" in words(demo)
        assert AMBIGUOUS[text] in words(demo) and "blanks &lt;b&gt;" in words(demo)

    @pytest.mark.parametrize("text", list(AMBIGUOUS)[1:])
    def test_each_example(self, demo, text):
        with changes(demo, words):
            demo.controls["example"].value = text
        assert demo.state.cuts["newmm"] == thai_words(text) and AMBIGUOUS[text] in words(demo)
        assert all("".join(cut) == text for cut in demo.state.cuts.values())

    def test_the_default_examples_spell_what_they_gloss(self):
        for text, meaning in AMBIGUOUS.items():
            for reading in meaning.split(" or "):
                assert reading.split()[0].replace("|", "") == text

    def test_typing_html_and_a_blank(self, demo):
        demo.controls["sentence"].value = "<i>มา กว่า"
        assert "<i>" not in words(demo) and "&lt;</span>" in words(demo)
        assert "␣" in words(demo) and not any(meaning in words(demo) for meaning in AMBIGUOUS.values())

    def test_a_mark_without_a_letter_is_drawn_on_a_circle(self, demo):
        demo.controls["sentence"].value = "ที่"
        assert demo.state.cuts["characters"] == ["ท", "ี", "่"]
        assert ">◌ี</span>" in words(demo) and ">◌่</span>" in words(demo) and ">ท</span>" in words(demo)

    @pytest.mark.parametrize("nothing", ["", "   "])
    def test_nothing_typed(self, demo, nothing):
        demo.controls["sentence"].value = nothing
        assert "Type some Thai" in words(demo) and "<span" not in words(demo)

    def test_an_engine_that_raises_is_seen(self):
        with pytest.raises(ZeroDivisionError):
            segmentation({"broken": lambda text: 1 / 0})


class TestConnections:
    @given(p=st.floats(0, 1), units=st.integers(1, 6), steps=st.integers(1, 5), sequence=st.integers(0, 9))
    @settings(max_examples=25)
    def test_masks(self, p, units, steps, sequence):
        masks = connection_masks(p, units=units, steps=steps, sequence=sequence)
        for kept, weights in masks.values():
            assert kept.shape == (steps, units) and weights.shape == (steps, units, units)
        assert masks["dropout"][1].all() and masks["variational dropout"][1].all() and masks["DropConnect"][0].all()
        for constant in (masks["variational dropout"][0], masks["DropConnect"][1]):
            assert (constant == constant[0]).all()
        more = connection_masks(min(1, p + 0.1), units=units, steps=steps, sequence=sequence)
        for kind, pair in masks.items():
            assert all((still <= before).all() for still, before in zip(more[kind], pair, strict=True))

    def test_the_probability_is_the_share_that_is_dropped(self):
        masks = connection_masks(0.3, units=80, steps=80)
        assert 1 - masks["dropout"][0].mean() == pytest.approx(0.3, abs=0.02)
        assert 1 - masks["DropConnect"][1][0].mean() == pytest.approx(0.3, abs=0.02)

    @pytest.fixture
    def demo(self):
        return connection_dropout(units=5, steps=6)

    def test_the_start(self, demo):
        units, _ = demo.state.masks["dropout"]
        assert demo.state.removed_units["dropout"] == (~units[0]).sum()
        assert demo.state.removed_connections["dropout"] == 5 * demo.state.removed_units["dropout"]
        assert demo.state.removed_units["DropConnect"] == 0
        assert demo.state.removed_connections["DropConnect"] == (~demo.state.masks["DropConnect"][1][0]).sum() > 0
        assert f"DropConnect <b>{demo.state.removed_connections['DropConnect']}</b>" in words(demo)

    def test_probability_from_end_to_end(self, demo):
        removed = []
        for p in (0, 0.5, 0.9):
            with changes(demo, picture):
                demo.controls["p"].value = p
            removed.append(list(demo.state.removed_connections.values()))
        assert removed[0] == [0, 0, 0] and all(map(np.greater_equal, removed[2], removed[1]))
        assert min(removed[2]) > 0

    def test_only_dropout_draws_anew_at_each_step(self, demo):
        steps = {kind: set() for kind in demo.state.masks}
        for step in range(1, 7):
            demo.controls["step"].value = step
            assert f"step {step} of 6" in words(demo)
            for kind, (kept, weights) in demo.state.masks.items():
                steps[kind].add((kept[step - 1].tobytes(), weights[step - 1].tobytes()))
        assert len(steps["dropout"]) > 1 == len(steps["variational dropout"]) == len(steps["DropConnect"])

    def test_another_sequence_has_other_masks(self, demo):
        before = demo.state.masks
        with changes(demo, picture):
            demo.controls["sequence"].value = 2
        for kind in before:
            assert any((new != old).any() for new, old in zip(demo.state.masks[kind], before[kind], strict=True))


def vectors():
    """Row i at i degrees: the nearest words are those beside a word in the vocabulary."""
    angle = np.deg2rad(np.arange(len(VOCAB)))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


class TestNearestWords:
    def test_neighbours(self):
        found = nearest_words(vectors(), VOCAB, "น้ำ", k=3)
        assert list(found.columns) == ["word", "cosine"] and set(found["word"][:2]) == {"ที่", "เป็น"}
        np.testing.assert_allclose(found["cosine"], np.cos(np.deg2rad([1, 1, 2])), atol=1e-6)

    def test_a_model_is_its_embedding(self):
        matrix = MODEL.encoder.embedding.weight.detach()
        for given_vectors in (matrix, matrix.numpy(), matrix.bfloat16().float()):
            found = nearest_words(given_vectors, VOCAB, "ไทย", k=len(VOCAB))
            assert found["cosine"].is_monotonic_decreasing
        assert nearest_words(MODEL, VOCAB, "ไทย").equals(nearest_words(matrix, VOCAB, "ไทย"))

    def test_neither_the_word_nor_special_tokens_are_its_neighbours(self):
        found = nearest_words(vectors(), VOCAB, "ประเทศ", k=1000)  # more than there are
        assert sorted(found["word"]) == sorted(set(WORDS) - {"ประเทศ"})

    @pytest.mark.parametrize("word", ["ประเทศ", "คำ30"])
    def test_among_the_most_frequent(self, word):
        found = nearest_words(vectors(), VOCAB, word, most_frequent=5)
        assert sorted(found["word"]) == sorted(set(WORDS[:5]) - {word})  # a rare word has frequent neighbours

    def test_only_the_word_itself_is_frequent_enough(self):
        assert len(nearest_words(vectors(), VOCAB, WORDS[0], most_frequent=1)) == 0

    def test_a_row_of_zeros_is_near_nothing(self):
        rows = vectors()
        rows[VOCAB["เป็น"]] = 0
        found = nearest_words(rows, VOCAB, "น้ำ", k=len(WORDS)).set_index("word")["cosine"]
        assert found["เป็น"] == 0 and np.isfinite(found).all()

    @pytest.mark.parametrize("word", ["รถไฟ", "", "<pad>"])
    def test_a_word_out_of_the_vocabulary(self, word):
        with pytest.raises(ValueError, match=f"'{word}' is not among the 44 words"):
            nearest_words(vectors(), VOCAB, word)

    @pytest.mark.parametrize("how", [{"k": 0}, {"most_frequent": 0}])
    def test_none_of_them(self, how):
        with pytest.raises(ValueError, match=f"{next(iter(how))} is at least 1, not 0"):
            nearest_words(vectors(), VOCAB, "ไทย", **how)

    def test_vectors_of_another_vocabulary(self):
        with pytest.raises(ValueError, match="the vocabulary has 44 words, the vectors 40"):
            nearest_words(vectors()[:40], VOCAB, "ไทย")


class TestNearest:
    @pytest.fixture
    def demo(self):
        return nearest(vectors(), VOCAB, examples=("รถไฟ", "น้ำ", "ไทย"), k=4)

    def test_the_start_is_the_first_known_example(self, demo):
        assert demo.controls["example"].options == ("น้ำ", "ไทย") and demo.state.word == "น้ำ"
        assert demo.state.neighbours.equals(nearest_words(vectors(), VOCAB, "น้ำ", k=4, most_frequent=10))
        assert "<b>น้ำ</b>, number 4 by frequency, among the 10 most frequent words" in words(demo)

    def test_typing(self, demo):
        with changes(demo, picture):
            demo.controls["word"].value = "  คำ7 "
        assert demo.state.word == "คำ7" and len(demo.state.neighbours) == 4

    def test_every_place_of_the_slider(self, demo):
        slider = demo.controls["most_frequent"]
        sizes = [size for _, size in slider.options]
        assert sizes == [1, 2, 5, 10, 20, 40]
        demo.controls["word"].value = WORDS[0]
        for size in sizes:
            slider.value = size
            assert set(demo.state.neighbours["word"]) <= set(WORDS[:size]) and f"the {size} most" in words(demo)
        assert len(demo.state.neighbours) == 4

    def test_choosing_an_example_types_it(self, demo):
        demo.controls["example"].value = "ไทย"
        assert demo.state.word == "ไทย" == demo.controls["word"].value

    def test_a_word_out_of_the_vocabulary(self, demo):
        with changes(demo, picture):
            demo.controls["word"].value = "คำ"
        assert demo.state.neighbours is None and "คำ0" in words(demo)
        demo.controls["most_frequent"].value = 20  # moves on without a word
        assert demo.state.neighbours is None and "among the 20 most" in words(demo)

    @pytest.mark.parametrize("typed", ["", "   ", "<script>", r"$\frac$"])
    def test_nothing_and_nonsense(self, demo, typed):
        demo.controls["word"].value = typed
        assert demo.state.neighbours is None and "<script>" not in words(demo)

    def test_examples_that_are_all_unknown(self):
        assert nearest(vectors(), VOCAB, examples=["รถไฟ"]).controls["example"].options == tuple(WORDS[:5])


def test_a_vocabulary_of_one_word():
    tiny = Vocab([*Vocab.SPECIALS, "ก"])
    demo = nearest(np.ones((5, 2)), tiny)
    assert demo.state.word == "ก" and len(demo.state.neighbours) == 0
