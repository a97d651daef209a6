"""The demos of the lesson on ELMo: every control moved, and what it changes read back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.elmo.characters import word_ids
from tlcourse.widgets.elmo import _letters, layer_mixer, word_inventor
from tlcourse.widgets.word2vec import sense_explorer

pytestmark = pytest.mark.usefixtures("styled")

NAMES = ["0 ตัวอักษร", "1", "2 <i>"]


def words(demo) -> str:
    return demo.ui.children[-1].value


def sweep(weights, gamma=1.0):
    """A task that layer 1 serves best, and gamma 1."""
    return 0.3 + 0.6 * weights[1] - 0.1 * abs(np.log(gamma))


class TestLayerMixer:
    vectors = np.random.default_rng(2).normal(size=(3, 12))

    @pytest.fixture
    def demo(self):
        sweeps = {"tags": sweep, "อารมณ์ <b>": lambda weights, gamma: 0.5 + 0.3 * weights[0]}
        return layer_mixer(sweeps, NAMES, self.vectors, "ธนาคาร")

    def test_the_start_is_the_mean(self, demo):
        np.testing.assert_allclose(demo.state.weights, 1 / 3)
        np.testing.assert_allclose(demo.state.vector, self.vectors.mean(axis=0))
        assert demo.state.gamma == 1 and demo.state.norm == pytest.approx(np.linalg.norm(self.vectors.mean(axis=0)))
        assert demo.state.accuracy == {"tags": sweep(np.full(3, 1 / 3)), "อารมณ์ <b>": pytest.approx(0.6)}
        assert (
            "0.33, 0.33, 0.33" in words(demo) and "<b>:" not in words(demo) and "at γ = 1, for which" not in words(demo)
        )

    @pytest.mark.parametrize("layer", range(3))
    def test_each_score(self, demo, layer, picture):
        before = picture(demo)
        demo.controls[f"s{layer}"].value = 2
        expected = np.exp(2 * np.eye(3)[layer]) / (np.exp(2) + 2)
        np.testing.assert_allclose(demo.state.weights, expected)
        np.testing.assert_allclose(demo.state.vector, expected @ self.vectors)
        assert demo.state.accuracy["tags"] == pytest.approx(sweep(expected)) and picture(demo) != before

    def test_gamma_scales_the_vector_and_hurts(self, demo, picture):
        before, seen = demo.state.vector, picture(demo)
        accuracy = demo.state.accuracy["tags"]
        demo.controls["gamma"].value = 0.05
        np.testing.assert_allclose(demo.state.vector, 0.05 * before)
        assert demo.state.norm == pytest.approx(0.05 * np.linalg.norm(before))
        assert demo.state.accuracy["tags"] < accuracy == demo.state.at_one["tags"] and picture(demo) != seen
        assert f"at γ = 1, for which its head was trained, {accuracy:.3f}" in words(demo)
        np.testing.assert_allclose(demo.state.weights, 1 / 3)
        demo.controls["gamma"].value = 1
        assert demo.state.accuracy["tags"] == accuracy and "was trained" not in words(demo)

    def test_the_best_stays(self, demo):
        demo.controls["s1"].value = 5
        value, shares = demo.state.best["tags"]
        assert value == demo.state.accuracy["tags"] and shares.argmax() == 1
        demo.controls["s0"].value = 5
        assert demo.state.accuracy["tags"] < value == demo.state.best["tags"][0]
        assert demo.state.best["อารมณ์ <b>"][1].argmax() == 0  # each task has its own

    def test_a_layer_alone(self, demo):
        demo.controls["gamma"].value = 3
        demo.controls["example"].value = f"{NAMES[2]} alone"
        assert demo.state.weights[2] > 0.999 and demo.state.gamma == 1
        demo.controls["example"].value = "all alike"
        np.testing.assert_allclose(demo.state.weights, 1 / 3)

    def test_one_task_and_two_layers(self, picture):
        demo = layer_mixer({"tags": lambda weights, gamma: 0.5}, ["a", "b"], np.ones((2, 80)), "$x$")
        assert set(demo.controls) == {"s0", "s1", "gamma", "example"} and len(picture(demo)) > 1000

    def test_vectors_of_other_layers(self):
        with pytest.raises(ValueError, match=r"3 names for vectors of the shape \(2, 12\): expected \(3, 2P\)"):
            layer_mixer({"tags": sweep}, NAMES, self.vectors[:2], "bank")


VOCABULARY = ["language", "luggage", "โรงเรียน", "โรงแรม", "$x$", "樺", "good"]


def encode(given: list[str]) -> np.ndarray:
    """How often a word has each byte."""
    return np.stack([np.bincount(np.array(word_ids(word)), minlength=262)[:257] for word in given]).astype(float)


class TestWordInventor:
    @pytest.fixture
    def demo(self):
        return word_inventor(encode, encode(VOCABULARY), VOCABULARY, examples=["language", "langauge", "โรงเรีนย"], k=4)

    def test_a_known_word_is_not_its_own_neighbour(self, demo):
        assert demo.state.word == "language" and demo.state.known and len(demo.state.neighbours) == 4
        assert demo.state.neighbours["word"][0] == "luggage" and "is in the vocabulary" in words(demo)

    def test_choosing(self, demo, picture):
        before = picture(demo)
        for typed, nearest in (("langauge", "language"), ("โรงเรีนย", "โรงเรียน")):
            demo.controls["example"].value = typed
            assert demo.controls["word"].value == demo.state.word == typed and not demo.state.known
            assert demo.state.neighbours["word"][0] == nearest
            assert demo.state.neighbours["cosine"][0] == pytest.approx(1)  # the same bytes
            assert picture(demo) != before and "not in the vocabulary of 7 words" in words(demo)

    def test_the_numbers_it_is_read_as(self, demo):
        demo.controls["word"].value = "a น้🙂"
        assert demo.state.ids[:5] == [259, 98, 33, 225, 185] and demo.state.ids == word_ids("a น้🙂")
        for cell in ("␣", "น", "◌้", "🙂", "F0 9F 99 82", "241 160 154 131", "E0 B9 89", "225 186 138", "259", "260"):
            assert f">{cell}</td>" in words(demo)
        assert ">36 × 261<" in words(demo)

    def test_a_long_word_is_cut(self, demo):
        demo.controls["word"].value = "โรงเรียนประถมศึกษา"
        assert demo.state.lost == "ษา" and "48" in words(demo) and "× 261" not in words(demo)
        demo.controls["word"].value = "good"
        assert demo.state.lost == "" and "cut off" not in words(demo)

    def test_the_mark_of_a_sentence(self, demo):
        demo.controls["word"].value = "<S>"
        assert demo.state.ids[:3] == [259, 257, 260] and ">&lt;S&gt;</td>" in words(demo) and ">257</td>" in words(demo)

    @pytest.mark.parametrize("typed", ["<script>", r"$\frac$", "樺樺", "🙂👩‍👩‍👧", "two words"])
    def test_anything_can_be_typed(self, demo, typed, picture):
        demo.controls["word"].value = typed
        assert len(demo.state.neighbours) == 4 and "<script>" not in words(demo)

    def test_nothing(self, demo, picture):
        before = picture(demo)
        demo.controls["word"].value = "  "
        assert demo.state.neighbours is None and demo.state.ids == [] and "Type any word" in words(demo)
        assert picture(demo) != before

    @given(word=st.text(min_size=1, max_size=60))
    def test_letters_and_ids_agree(self, word):
        word = word.encode("utf-8", "ignore").decode()
        letters, lost = _letters(word)
        read = b"".join(part for _, part in letters)
        ids = [259, *(byte + 1 for byte in read), 260]
        assert word_ids(word) == ids + [261] * (50 - len(ids)) or word in ("<S>", "</S>")
        assert "".join(letter for letter, _ in letters) + lost == word


class ThreeLayers:
    """As an ELMo would: characters, and two layers of both directions."""

    def occurrences(self, frame: pd.DataFrame) -> np.ndarray:
        word = [[len(row.text[row.start : row.end])] * 6 for row in frame.itertuples()]
        context = np.stack([np.random.default_rng(len(text)).normal(size=6) for text in frame["text"]])
        return np.stack([word, word + context, word + 2 * context], axis=1)  # (N, 3, 6)


def test_words_of_two_senses_in_three_layers(picture):
    demo = sense_explorer(
        ThreeLayers(), "ขัน", ["เธอหัวเราะเพราะเรื่องนั้นน่าขัน # funny", "เขาตักน้ำด้วยขัน # bowl", "ไก่ขันตอนเช้า # crow"]
    )
    assert demo.controls["layer"].max == 2 and "Layer <b>0</b> of 2" in words(demo)
    np.testing.assert_allclose(demo.state.cosines, 1)  # below the LSTMs a word has one vector
    for layer in (1, 2):
        demo.controls["layer"].value = layer
        assert demo.state.points.shape == (3, 2) and demo.state.cosines.min() < 0.99
