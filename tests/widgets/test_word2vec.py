"""The demos of the lesson on word vectors: every control moved, and what it changes read back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from tlcourse import plots
from tlcourse.widgets import word2vec
from tlcourse.widgets.word2vec import (
    LiveMap,
    align,
    analogy_calculator,
    locate,
    neighbours_explorer,
    project,
    sense_explorer,
    training_map,
    window_explorer,
)
from tlcourse.word2vec.subword import ngrams
from tlcourse.word2vec.vectors import SubwordVectors, WordVectors

WORDS = ["the", "king", "queen", "man", "woman", "ตา", "น้ำ", "$x$", "<b>", "paris"]


def words(demo) -> str:
    return demo.ui.children[-1].value


@pytest.fixture(autouse=True)
def unplaced(styled, request, monkeypatch):
    """Labels stand anywhere, where no one looks at them."""
    if not {"picture", "notebook"} & set(request.fixturenames):
        monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)


def vectors(*, seed=0) -> np.ndarray:
    """Random ones, but for queen = king - man + woman."""
    matrix = np.random.default_rng(seed).normal(size=(len(WORDS), 24)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix[2] = matrix[1] - matrix[3] + matrix[4]
    return matrix


@pytest.fixture
def models():
    inputs = np.random.default_rng(1).normal(size=(len(WORDS) + 200, 24))
    return {"skip-gram <i>": WordVectors(WORDS, vectors()), "fastText": SubwordVectors(WORDS, inputs)}


class TestProject:
    @settings(max_examples=15, deadline=None)
    @given(epochs=st.integers(1, 4), n=st.integers(1, 6), dim=st.integers(1, 5), fit=st.sampled_from(["last", "all"]))
    def test_shapes(self, epochs, n, dim, fit):
        points = project(np.random.default_rng(0).normal(size=(epochs, n, dim)), fit=fit)
        assert points.shape == (epochs, n, 2) and np.isfinite(points).all()

    def test_one_plane_for_all_epochs(self):
        way = np.random.default_rng(0).normal(size=(4, 9, 6))
        points = project(way)
        design = np.c_[way.reshape(-1, 6), np.ones(36)]  # one affine map explains all epochs
        assert np.linalg.lstsq(design, points.reshape(-1, 2))[1] == pytest.approx([0, 0], abs=1e-12)
        np.testing.assert_allclose(points[-1].mean(axis=0), 0, atol=1e-12)

    def test_the_last_epoch_is_spread_widest(self):
        way = np.random.default_rng(0).normal(size=(3, 30, 5)) * [9, 1, 1, 1, 1]
        way[-1] = np.random.default_rng(1).normal(size=(30, 5)) * [1, 1, 1, 1, 9]
        assert project(way)[-1].var(axis=0).sum() > project(way, fit="all")[-1].var(axis=0).sum()

    def test_distances_of_a_plane_are_kept(self):
        flat = np.random.default_rng(0).normal(size=(1, 8, 2))
        inside = flat @ np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0][:2]
        points = project(inside)[0]
        expected = np.linalg.norm(flat[0][:, None] - flat[0], axis=-1)
        np.testing.assert_allclose(np.linalg.norm(points[:, None] - points, axis=-1), expected, atol=1e-9)

    def test_turning_brings_unrelated_trainings_together(self):
        cloud = np.random.default_rng(0).normal(size=(12, 2))
        cloud -= cloud.mean(axis=0)
        mirror = np.array([[0, 1], [1, 0]])
        turned = project(np.stack([cloud @ mirror, cloud, -cloud]), turn=True)
        np.testing.assert_allclose(turned[0], turned[1], atol=1e-9)
        np.testing.assert_allclose(turned[1], turned[2], atol=1e-9)

    def test_what_it_does_not_take(self):
        with pytest.raises(ValueError, match=r"\(epochs, words, dimensions\), not \(3, 4\)"):
            project(np.ones((3, 4)))
        with pytest.raises(ValueError, match="'last' or 'all', not 'first'"):
            project(np.ones((3, 4, 5)), fit="first")

    @settings(max_examples=20, deadline=None)
    @given(angle=st.floats(0, 7), mirror=st.booleans(), seed=st.integers(0, 9))
    def test_align_undoes_a_turn(self, angle, mirror, seed):
        onto = np.random.default_rng(seed).normal(size=(6, 2))
        onto -= onto.mean(axis=0)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [1, -1 if mirror else 1]
        np.testing.assert_allclose(align(onto @ turn, onto), onto, atol=1e-9)


class TestTrainingMap:
    points = np.random.default_rng(0).normal(size=(4, len(WORDS), 2)).cumsum(axis=0)
    history = [(f"epoch {i} <i>", p) for i, p in enumerate(points)]  # noqa: RUF012

    @pytest.fixture
    def demo(self):
        return training_map(self.history, WORDS, ["a", "b"] * 5)

    def test_every_step(self, demo, picture):
        shown = set()
        for step in (3, 1, 2, 0):
            demo.controls["step"].value = step
            assert demo.state.label == f"epoch {step} <i>" and f"{step + 1} of 4" in words(demo)
            np.testing.assert_array_equal(demo.state.points, self.points[step])
            moved = np.linalg.norm(self.points[step] - self.points[max(step - 1, 0)], axis=1)
            np.testing.assert_allclose(demo.state.moved[WORDS], moved)
            shown.add(picture(demo))
        assert len(shown) == 4 and "<i>" not in words(demo)

    def test_the_words_that_moved_most_are_named(self, demo):
        demo.controls["step"].value = 2
        first = demo.state.moved.idxmax()
        assert f"Moved most since epoch 1 &lt;i&gt;: {word2vec.escape(first)}" in words(demo)

    def test_playing_moves_the_slider(self, demo):
        demo.controls["play"].value = 2
        assert demo.controls["step"].value == 2 and demo.state.label.startswith("epoch 2")
        demo.controls["step"].value = 1  # Play goes on from there
        assert demo.controls["play"].value == 1
        assert demo.controls["play"].max == 3

    def test_one_step(self):
        demo = training_map(self.history[:1], WORDS)
        assert demo.state.moved.sum() == 0

    def test_nothing_recorded(self):
        with pytest.raises(ValueError, match="the history is empty"):
            training_map([], WORDS)

    def test_points_of_other_words(self):
        with pytest.raises(ValueError, match=r"shape \(10, 2\), one a word; look at 'end'"):
            training_map([*self.history, ("end", np.ones((9, 2)))], WORDS)


class Handle:
    """In place of the notebook: what was shown, and what replaced it."""

    def __init__(self):
        self.shown, self.replaced = [], []

    def display(self, image, display_id):
        assert display_id
        self.shown.append(image.data)
        return self

    def update(self, image):
        self.replaced.append(image.data)


class TestLiveMap:
    way = np.random.default_rng(0).normal(size=(6, len(WORDS), 5)).cumsum(axis=0)

    @pytest.fixture
    def notebook(self, monkeypatch):
        handle = Handle()
        monkeypatch.setattr(word2vec, "display", handle.display)
        return handle

    def live(self, ticks=(), **options):
        """A map whose clock shows the ticks in turn and then stands still."""
        ticks = [*ticks, 0]
        return LiveMap(WORDS, clock=lambda: ticks.pop(0) if len(ticks) > 1 else ticks[0], **options)

    def test_the_first_is_shown_and_the_later_ones_replace_it(self, notebook):
        live = self.live(every=0)
        for epoch, epoch_vectors in enumerate(self.way[:3]):
            live.update(epoch, epoch_vectors)
        assert len(notebook.shown) == 1 and len(notebook.replaced) == 2
        assert live.picture == notebook.replaced[-1] != notebook.shown[0]
        assert [label for label, _ in live.history] == ["epoch 0", "epoch 1", "epoch 2"]

    def test_no_more_often_than_asked_for(self, notebook):
        live = self.live([0, 1, 5, 9, 12, 13], every=10)  # asked: 0, drawn: 1, asked: 5, 9, 12, drawn: 13
        for epoch in range(4):
            live.update(f"step {epoch}", self.way[epoch])
        assert len(notebook.replaced) == 1 and len(live.history) == 4

    def test_the_last_picture_is_drawn_at_the_end_and_does_not_depend_on_the_clock(self, notebook):
        with self.live(every=100) as slow:
            for epoch, epoch_vectors in enumerate(self.way[:3]):
                slow.update(epoch, epoch_vectors)
            assert not notebook.replaced
        with self.live(every=0) as quick:
            for epoch, epoch_vectors in enumerate(self.way[:3]):
                quick.update(epoch, epoch_vectors)
        assert slow.picture == quick.picture

    def test_vectors_are_copied(self, notebook):
        live, matrix = self.live(every=100), self.way[0].astype(np.float32)
        live.update(0, matrix)
        matrix[:] = 0
        assert live.history[0][1].any()

    def test_the_map_does_not_turn(self, notebook):
        live = self.live(every=100)
        live.update(0, self.way[0])
        before = live._points[-1]
        live.update(1, self.way[0] @ np.diag([1, 1, 1, 1, 1.001]))
        np.testing.assert_allclose(live._points[-1], before, atol=0.01)

    def test_its_history_makes_a_demo(self, notebook):
        with self.live(every=100) as live:
            live.update("a", self.way[0])
            live.update("b", self.way[1])
        labels, recorded = zip(*live.history, strict=True)
        assert training_map(list(zip(labels, project(np.stack(recorded)), strict=True)), WORDS).state.label == "a"

    def test_nothing_to_draw(self, notebook):
        with self.live() as live:
            pass
        assert live.picture == b"" and not notebook.shown

    @pytest.mark.parametrize("wrong", [np.ones((3, 5)), np.ones(10)])
    def test_vectors_of_other_words(self, wrong):
        with pytest.raises(ValueError, match="expected 10 vectors, one a word, not the shape"):
            self.live().update(0, wrong)


class TestNeighbours:
    @pytest.fixture
    def demo(self, models):
        return neighbours_explorer(models, examples=["รถไฟ", "king", "ตา"])

    def test_the_start_is_the_first_known_example(self, demo, models):
        assert demo.controls["example"].options == ("king", "ตา") and demo.state.word == "king"
        for name, model in models.items():
            assert demo.state.neighbours[name].equals(model.nearest("king", k=8))
        assert "skip-gram &lt;i&gt;: <b>king</b>, number 2 by frequency" in words(demo)

    def test_how_many(self, demo, picture):
        for k in (1, 20):
            before = picture(demo)
            demo.controls["k"].value = k
            assert len(demo.state.neighbours["fastText"]) == min(k, len(WORDS) - 1) and picture(demo) != before

    def test_choosing_and_typing(self, demo):
        demo.controls["example"].value = "ตา"
        assert demo.state.word == "ตา" == demo.controls["word"].value
        demo.controls["word"].value = "  น้ํา "  # typed with a decomposed vowel
        assert demo.state.word == "น้ำ" and not demo.state.unknown

    def test_an_unseen_word_is_unknown_or_composed(self, demo):
        demo.controls["word"].value = "kings"
        (name,) = demo.state.unknown
        assert name.startswith("skip-gram") and demo.state.neighbours[name] is None
        assert "there is king" in words(demo) and plots.RED in words(demo)
        assert demo.state.composed == {"fastText": ngrams("kings", 3, 6)} and "composed of the n-grams" in words(demo)
        assert len(demo.state.neighbours["fastText"]) == 8
        demo.controls["word"].value = "king"
        assert not demo.state.unknown and not demo.state.composed

    @pytest.mark.parametrize("typed", ["<script>", r"$\frac$", "樺樺樺"])
    def test_nonsense(self, demo, typed, picture):
        demo.controls["word"].value = typed
        assert len(demo.state.unknown) == 1 and "<script>" not in words(demo)

    def test_nothing(self, demo, picture):
        before = picture(demo)
        demo.controls["word"].value = "  "
        assert set(demo.state.neighbours.values()) == {None} and "Type a word" in words(demo)
        assert picture(demo) != before

    def test_examples_that_are_all_unknown(self, models):
        assert neighbours_explorer(models, examples=["รถไฟ"]).controls["example"].options == tuple(WORDS[:5])


class TestAnalogies:
    questions = (("ปู่", "ย่า", "ตา"), ("man", "king", "woman"), ("ตา", "น้ำ", "the"))

    @pytest.fixture
    def demo(self, models):
        return analogy_calculator(models, examples=self.questions)

    def test_the_start(self, demo, models):
        (expected, _) = (model.analogy("man", "king", "woman", k=5) for model in models.values())
        assert demo.state.answers.equals(expected) and demo.state.best == "queen"
        assert demo.controls["example"].options == ("man : king = woman : ?", "ตา : น้ำ = the : ?")
        assert f"is to <b style='color:{plots.GREEN}'>queen</b>" in words(demo)

    def test_the_method(self, demo, models, picture):
        before = picture(demo)
        demo.controls["method"].value = "mul"
        expected = models["skip-gram <i>"].analogy("man", "king", "woman", k=5, method="mul")
        assert demo.state.answers.equals(expected) and picture(demo) != before

    def test_the_three_words_are_let_in(self, demo):
        demo.controls["example"].value = "ตา : น้ำ = the : ?"
        assert demo.state.best not in ("ตา", "น้ำ", "the")
        demo.controls["exclude"].value = False
        assert demo.state.best in ("ตา", "น้ำ", "the")  # of random vectors
        assert "one of the three" in words(demo) and plots.RED in words(demo)

    def test_another_model(self, demo, models):
        demo.controls["model"].value = "fastText"
        assert demo.state.answers.equals(models["fastText"].analogy("man", "king", "woman", k=5))
        demo.controls["b"].value = "kingdom"  # composed
        assert demo.state.best and not demo.state.unknown

    def test_an_unknown_word(self, demo):
        demo.controls["b"].value = "kingdom"
        demo.controls["c"].value = "<script>"
        assert demo.state.unknown == ["kingdom", "<script>"] and demo.state.answers is None
        assert "no vector for" in words(demo) and "<script>" not in words(demo)
        demo.controls["example"].value = "ตา : น้ำ = the : ?"
        assert demo.state.unknown == [] and [demo.controls[x].value for x in "abc"] == ["ตา", "น้ำ", "the"]

    def test_an_empty_box(self, demo):
        demo.controls["b"].value = " "
        assert demo.state.best is None and "all three" in words(demo)

    def test_the_same_word_three_times(self, demo):
        for box in "abc":
            demo.controls[box].value = "$x$"
        demo.controls["exclude"].value = False
        assert demo.state.best == "$x$"

    def test_no_other_word_is_left(self):
        demo = analogy_calculator({"tiny": WordVectors(["a", "b", "c"], np.eye(3))}, examples=[("a", "b", "c")])
        assert demo.state.best is None and "no other words" in words(demo)

    def test_examples_that_are_all_unknown(self, models):
        demo = analogy_calculator(models, examples=[("x", "y", "z")])
        assert demo.controls["example"].options == ("the : king = queen : ?",)


class Encoder:
    """Vectors that spread with the layer, in two directions by the letter before the word's end; long texts refused."""

    def __init__(self):
        self.calls = 0

    def occurrences(self, frame):
        self.calls += 1
        if (frame["text"].str.len() > 200).any():
            raise ValueError("sentence 1 is longer than the encoder reads <i>")
        noise = np.random.default_rng(0).normal(size=(len(frame), 4, 8))
        sign = np.where(frame["text"].str.contains("river|ยาย"), 1.0, -1.0)
        return noise + sign[:, None, None] * np.arange(4)[None, :, None] * 2


SENTENCES = pd.DataFrame(
    {
        "text": ["The bank lends.", "The bank is open.", "A river bank.", "The river has a bank; a bank of sand."],
        "sense": ["money", "money", "shore", "shore"],
        "start": [4, 4, 8, 24],
        "end": [8, 8, 12, 28],
    }
)


class TestSenses:
    @pytest.fixture
    def encoder(self):
        return Encoder()

    @pytest.fixture
    def demo(self, encoder):
        return sense_explorer(encoder, "bank", SENTENCES)

    def test_the_start(self, demo):
        assert demo.state.sentences == list(SENTENCES["text"]) and demo.state.senses == list(SENTENCES["sense"])
        assert "has a bank; a *bank* of sand.  # shore" in demo.controls["sentences"].value
        assert demo.state.points.shape == (4, 2) and demo.state.cosines.shape == (4, 4) and demo.state.missing == []
        np.testing.assert_allclose(np.diag(demo.state.cosines), 1)
        assert demo.controls["layer"].max == 3 and "Layer <b>0</b> of 3" in words(demo)

    def test_every_layer_and_one_encoding(self, demo, encoder, picture):
        margins, shown = [], set()
        for layer in (0, 1, 2, 3):
            demo.controls["layer"].value = layer
            cosines = demo.state.cosines
            margins.append(cosines[0, 1] + cosines[2, 3] - cosines[0, 2] - cosines[1, 3])
            shown.add(picture(demo))
            assert demo.state.layer == layer
            assert np.sqrt((demo.state.points**2).sum(axis=1).mean()) == pytest.approx(1)
        assert margins[3] > margins[0] and len(shown) == 4 and encoder.calls == 1
        assert "Mean cosine within a sense" in words(demo)

    def test_layers_are_turned_onto_the_one_below(self, demo):
        demo.controls["layer"].value = 2
        below = demo.state.points
        demo.controls["layer"].value = 3
        np.testing.assert_allclose(align(demo.state.points, below), demo.state.points, atol=1e-9)

    def test_a_sentence_without_the_word_is_named_in_red(self, demo):
        demo.controls["sentences"].value = "The bank lends.\n\nNothing <i>here\nA river bank. # shore"
        assert demo.state.missing == ["Nothing <i>here"] and len(demo.state.points) == 2
        assert f"<b style='color:{plots.RED}'>no «bank» in: Nothing &lt;i&gt;here</b>" in words(demo)
        assert demo.state.senses == ["", "shore"] and "Mean cosine" not in words(demo)

    def test_another_word(self, demo):
        demo.controls["word"].value = "river"
        assert len(demo.state.missing) == 0  # the stars tell where the old word stands
        demo.controls["sentences"].value = "The river.\nNo sea."
        assert demo.state.missing == ["No sea."] and len(demo.state.points) == 1

    @pytest.mark.parametrize("text", ["\n \n", "no such word"])
    def test_no_sentence(self, demo, text):
        demo.controls["sentences"].value = text
        assert demo.state.points is None and demo.state.sentences == []
        demo.controls["layer"].value = 1  # moves on without a sentence
        assert demo.state.points is None

    def test_no_word(self, demo):
        demo.controls["sentences"].value = "The bank."
        demo.controls["word"].value = " "
        assert demo.state.points is None and demo.state.missing == ["The bank."]

    def test_what_the_encoder_refuses_is_said(self, demo):
        demo.controls["sentences"].value = "The bank " + "and so on " * 30
        assert demo.state.points is None and "longer than the encoder reads &lt;i&gt;" in words(demo)

    def test_sentences_without_senses(self, encoder):
        demo = sense_explorer(encoder, "ตา", ["ตากับยาย", "ตาแดง", "ลืมตา"])
        assert demo.state.senses == ["", "", ""] and "ลืม<b" in words(demo)

    def test_the_same_sentence_twice(self, demo):
        demo.controls["sentences"].value = "A bank.\nA bank."
        assert np.isfinite(demo.state.points).all()


class TestLocate:
    @pytest.mark.parametrize(
        ("line", "word", "found"),
        [
            ("A bank.", "bank", ("A bank.", 2, 6, "")),
            ("Banks and a BANK # shore", "bank", ("Banks and a BANK", 12, 16, "shore")),
            ("The *banks* of it", "bank", ("The banks of it", 4, 9, "")),
            ("ตามตา", "ตา", ("ตามตา", 0, 2, "")),
            ("ตาม*ตา* #eye", "ตา", ("ตามตา", 3, 5, "eye")),
            ("1+1 (a)", "+", ("1+1 (a)", 1, 2, "")),
            ("embankment, naïvebank", "bank", None),
            ("anything", "", None),
            ("** # only a sense", "bank", None),
        ],
    )
    def test_lines(self, line, word, found):
        assert locate(line, word) == found

    @settings(max_examples=50, deadline=None)
    @given(line=st.text(max_size=30), word=st.text(max_size=4))
    def test_what_is_found_is_in_the_text(self, line, word):
        if place := locate(line, word):
            text, start, end, _ = place
            assert 0 <= start < end <= len(text)
            assert "*" in line or len(text[start:end]) == len(word)


TOKENS = ("แมว", "กิน", "the", "ปลา", "<b>", "the")
COUNTS = {"the": 1000, "แมว": 100, "ปลา": 10, "<b>": 5, "$x$": 1}


class TestWindow:
    @pytest.fixture
    def demo(self):
        return window_explorer(TOKENS, COUNTS)

    def test_the_start(self, demo):
        assert demo.state.pairs == [("ปลา", word) for word in ("แมว", "กิน", "the", "<b>", "the")]
        np.testing.assert_allclose(demo.state.probabilities, [1 / 3, 2 / 3, 1, 1, 2 / 3])
        assert "&lt;b&gt;" in words(demo) and words(demo).count("<tr>") == 5

    @pytest.mark.parametrize("window", [2, 10])
    def test_each_window_at_each_centre(self, demo, window, picture):
        demo.controls["window"].value = window
        for centre in (0, 5):
            before = picture(demo)
            demo.controls["centre"].value = centre
            assert picture(demo) != before
            distances = [abs(i - centre) for i in range(6) if 0 < abs(i - centre) <= window]
            assert len(demo.state.pairs) == len(distances)
            np.testing.assert_allclose(demo.state.probabilities, [(window - d + 1) / window for d in distances])

    def test_the_probabilities_are_those_of_windows_drawn_evenly(self, demo):
        demo.controls["window"].value = 5
        sizes = np.random.default_rng(0).integers(1, 6, size=20_000)
        for (_, word), probability in zip(demo.state.pairs, demo.state.probabilities, strict=True):
            assert word in TOKENS
            assert min(abs((sizes >= d).mean() - probability) for d in range(1, 6)) < 0.015

    @pytest.mark.parametrize("power", [0, 0.75, 1])
    def test_the_noise(self, demo, power):
        demo.controls["power"].value = power
        noise = demo.state.noise.set_index("word")
        expected = pd.Series(COUNTS, dtype=float) ** power
        np.testing.assert_allclose(noise["noise"], (expected / expected.sum())[noise.index])
        np.testing.assert_allclose(noise["frequency"], (pd.Series(COUNTS) / 1116)[noise.index])
        assert list(noise.index) == ["the", "แมว", "ปลา", "<b>", "$x$"]

    def test_noise_words_are_never_the_context_word(self, demo):
        drawn = []
        for _ in range(3):
            demo.controls["again"].click()
            for (_, context), noise_words in zip(demo.state.pairs, demo.state.noise_words, strict=True):
                assert context not in noise_words and set(noise_words) <= set(COUNTS) and len(noise_words) == 5
            drawn.append(str(demo.state.noise_words))
        assert len(set(drawn)) == 3

    def test_a_seed_draws_the_same(self, demo):
        assert window_explorer(TOKENS, COUNTS).state.noise_words == demo.state.noise_words
        assert window_explorer(TOKENS, COUNTS, seed=1).state.noise_words != demo.state.noise_words

    def test_a_handful_of_a_large_vocabulary(self):
        demo = window_explorer(["a", "b"], {f"คำ{i}": 1000 - i for i in range(900)}, shown=4)
        assert demo.state.noise["word"].iloc[[0, -1]].tolist() == ["คำ0", "คำ899"] and len(demo.state.noise) == 4

    @pytest.mark.parametrize(("tokens", "counts"), [(["a"], COUNTS), (["a", "b"], {"a": 1}), ([], {})])
    def test_too_few_words(self, tokens, counts):
        with pytest.raises(ValueError, match="a sentence of two words and counts of two different words"):
            window_explorer(tokens, counts)
