"""The pictures of the lesson on word vectors, by what is on their axes; labels that do not overlap."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors

from tlcourse import plots

WORDS = ["the", "ที่", "king", "น้ำ", "$x$", "樺", "ผู้หญิง", "กุมภาพันธ์"]


pytestmark = pytest.mark.usefixtures("drawn")


def frame(words, points, **columns) -> pd.DataFrame:
    return pd.DataFrame({"word": words, "x": np.asarray(points)[:, 0], "y": np.asarray(points)[:, 1], **columns})


def cloud(n, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def shade(artist) -> str:
    return colors.to_hex(np.ravel(artist.get_facecolor())[:4])


def boxes(ax) -> np.ndarray:
    """Where the labels lie, (N, 4) in pixels: left, bottom, right, top."""
    ax.figure.canvas.draw()
    return np.array([text.get_window_extent().extents for text in ax.texts]).reshape(-1, 4)


def overlaps(boxes: np.ndarray) -> bool:
    low, high = boxes[:, None, :2], boxes[None, :, 2:]
    pairs = ((low < high) & (boxes[None, :, :2] < boxes[:, None, 2:])).all(axis=-1)
    return bool(pairs[~np.eye(len(boxes), dtype=bool)].any())


class TestWordMap:
    def test_words_at_their_points(self):
        points = cloud(len(WORDS))
        ax = plots.word_map(frame(WORDS, points))
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), points)
        assert set(texts(ax)) == {*WORDS} - {"樺"} | {"□"} and ax.get_legend() is None
        np.testing.assert_array_equal([text.xy for text in ax.texts], points)

    def test_groups_have_colours_and_a_legend(self):
        groups = ["a", "ข", "a", "b"] * 2
        ax = plots.word_map(frame(WORDS, cloud(8), group=groups))
        assert legend(ax) == ["a", "ข", "b"]
        assert [shade(dots).upper() for dots in ax.collections] == plots.CYCLE[:3]
        assert [len(dots.get_offsets()) for dots in ax.collections] == [4, 2, 2]

    @settings(max_examples=7, deadline=None)
    @given(n=st.integers(0, 25), seed=st.integers(0, 99), flat=st.booleans())
    def test_no_label_covers_another_or_leaves_the_frame(self, n, seed, flat):
        points = cloud(n, seed) * (1, 0 if flat else 1)
        ax = plots.word_map(frame([f"คำว่า{i}" for i in range(n)], points))
        found = boxes(ax)
        inside = ax.get_window_extent().extents
        assert not overlaps(found)
        assert (found[:, :2] >= inside[:2] - 1).all() and (found[:, 2:] <= inside[2:] + 1).all()
        assert len(found) >= min(n, 1)
        plt.close(ax.figure)

    def test_where_there_is_no_room_the_first_words_keep_their_labels(self):
        points = np.repeat([[0, 0], [5, 5]], 20, axis=0)
        ax = plots.word_map(frame([f"word{i}" for i in range(40)], points))
        kept = texts(ax)
        assert "word0" in kept and "word20" in kept and "word19" not in kept and "word39" not in kept

    def test_tails_and_limits(self):
        before = np.stack([cloud(8, 1), cloud(8, 2)])
        limits = (-9, 9), (-8, 8)
        ax = plots.word_map(frame(WORDS, cloud(8)), tails=before, limits=limits)
        assert (ax.get_xlim(), ax.get_ylim()) == limits
        assert len(ax.lines) == 8
        np.testing.assert_array_equal(ax.lines[3].get_xydata(), [before[0, 3], before[1, 3], cloud(8)[3]])

    def test_limits_hold_all_points_and_labels_of_words_in_one_place(self):
        (left, right), (bottom, top) = plots.map_limits(np.array([[[0, 0], [10, 1]], [[5, 5], [2, 2]]]))
        assert left < 0 < 10 < right and bottom < 0 < 5 < top
        plots.word_map(frame(["only"], [[3, 3]]))


class TestTrainingMap:
    def test_small_multiples_share_their_scale(self):
        frames = {f"epoch {e}": frame(WORDS, e * cloud(8), group=["a", "b"] * 4) for e in (1, 2, 5, 9)}
        axes = plots.training_map(frames, columns=3)
        assert [ax.get_title() for ax in axes] == list(frames) and len(axes[0].figure.axes) == 4
        assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes}) == 1
        assert [ax.get_legend() is not None for ax in axes] == [False, False, True, False]
        assert not any(overlaps(boxes(ax)) for ax in axes)
        assert len(axes[3].texts) == len(WORDS) > len(axes[0].texts)

    def test_one_map(self):
        (ax,) = plots.training_map({"end": frame(WORDS, cloud(8))}, limits=((-3, 3), (-4, 4)))
        assert ax.get_ylim() == (-4, 4)


class TestParallelogram:
    points = frame(["man", "king", "ผู้หญิง", "queen"], [[0, 0], [1, 0.2], [0.1, 1], [1.2, 1.1]])

    def test_the_answer_beside_the_target(self):
        ax = plots.parallelogram(self.points, target=(1.1, 1.2))
        words, target = ax.collections
        np.testing.assert_array_equal(target.get_offsets(), [[1.1, 1.2]])
        assert [colors.to_hex(c).upper() for c in words.get_facecolors()] == [plots.BLUE] * 3 + [plots.ORANGE]
        assert set(texts(ax)) == {"", *self.points["word"]} and legend(ax) == ["b − a + c"]
        arrows = [text for text in ax.texts if text.arrow_patch is not None]
        assert [(tuple(a.xyann), tuple(a.xy)) for a in arrows] == [((0, 0), (1, 0.2)), ((0.1, 1), (1.1, 1.2))]

    def test_a_question_of_one_word(self):
        plots.parallelogram(self.points.assign(x=1.0, y=2.0), target=(1, 2))


class TestHeatMaps:
    def test_one_hot_beside_dense(self):
        vectors = np.random.default_rng(0).normal(size=(8, 5))
        one_hot, dense = plots.one_hot_to_dense(WORDS, vectors)
        np.testing.assert_array_equal(one_hot.images[0].get_array(), np.eye(8))
        np.testing.assert_array_equal(dense.images[0].get_array(), vectors)
        assert dense.images[0].get_clim() == (-np.abs(vectors).max(), np.abs(vectors).max())
        assert labels(one_hot.yaxis)[:2] == ["the", "ที่"] and "5 dimensions" in dense.get_xlabel()

    def test_more_words_than_vectors(self):
        with pytest.raises(ValueError, match="8 words for 3 rows"):
            plots.one_hot_to_dense(WORDS, np.ones((3, 5)))

    def test_cosines(self):
        matrix = np.array([[1, 0.5, -0.25], [0.5, 1, 0.1], [-0.25, 0.1, 1]])
        ax = plots.cosine_matrix(matrix, ["1", "2", "3"], ["eye", "eye", "ตา"])
        assert texts(ax)[:3] == ["1.00", ".50", "-.25"]
        assert ax.images[0].get_clim() == (-0.25, pytest.approx(0.5))  # the diagonal would drown the rest
        assert [line.get_ydata()[0] for line in ax.lines[::2]] == [1.5] and ax.lines[1].get_xdata()[0] == 1.5

    def test_many_cosines_are_not_written_out(self):
        ax = plots.cosine_matrix(np.eye(13), [f"คำ{i}" for i in range(10, 23)])
        assert texts(ax) == [] and len(ax.figure.axes) == 2 and not ax.lines

    def test_one_vector(self):
        assert texts(plots.cosine_matrix(np.ones((1, 1)), ["1"])) == ["1.00"]

    def test_labels_of_another_matrix(self):
        with pytest.raises(ValueError, match="2 labels for a matrix of 3 by 3"):
            plots.cosine_matrix(np.eye(3), ["a", "b"])


class TestWindow:
    def test_probabilities_and_the_centre(self):
        ax = plots.context_window(["แมว", "กิน", "$$", "ปลา"], 1, [1, 0, 1, 0.5])
        assert [bar.get_height() for bar in ax.patches] == [1, 0, 1, 0.5, 1]
        assert shade(ax.patches[-1]).upper() == plots.ORANGE and ax.patches[-1].get_center()[0] == 1
        assert texts(ax) == ["100%", "", "100%", "50%", "centre"]
        assert labels(ax.xaxis) == ["แมว", "กิน", "$$", "ปลา"]

    def test_a_long_sentence_is_slanted(self):
        ax = plots.context_window(["characteristically"] * 5, 0, [0, 1, 0, 0, 0])
        assert {label.get_rotation() for label in ax.get_xticklabels()} == {30}

    @pytest.mark.parametrize("rare", [0.1, 1e-6])
    def test_frequency_and_noise(self, rare):
        shares = pd.DataFrame({"word": ["ที่", "$x$"], "frequency": [0.5, rare], "noise": [0.4, 2 * rare]})
        ax = plots.noise_distribution(shares)
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.5, rare])
        np.testing.assert_array_equal(ax.lines[1].get_xdata(), [0.4, 2 * rare])
        ax.figure.canvas.draw()
        low, high = ax.get_xlim()
        assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 2  # however narrow the range
        assert ax.yaxis_inverted() and labels(ax.yaxis) == ["ที่", "$x$"]


class TestSenses:
    curve = pd.DataFrame(
        [(w, layer, 0.5 + 0.1 * layer + 0.01 * i) for i, w in enumerate(["ตา", "bank", "$x$"]) for layer in range(4)],
        columns=["word", "layer", "nearest_accuracy"],
    )

    def test_the_mean_the_words_and_chance(self):
        ax = plots.sense_curve(self.curve, score="nearest_accuracy", chance=0.5)
        *words, mean, chance = ax.lines
        np.testing.assert_allclose(mean.get_ydata(), [0.51, 0.61, 0.71, 0.81])
        assert len(words) == 3 and mean.get_linewidth() > 2 * words[0].get_linewidth()
        assert chance.get_ydata() == [0.5, 0.5] and chance.get_linestyle() == "--"
        assert ax.get_ylabel() == "nearest accuracy" and texts(ax) == ["ตา", "bank", "$x$"]
        assert not overlaps(boxes_of_text(ax))

    def test_words_that_end_together_are_labelled_apart(self):
        together = self.curve.assign(nearest_accuracy=1.0)
        assert not overlaps(boxes_of_text(plots.sense_curve(together, score="nearest_accuracy")))

    def test_map(self):
        points = cloud(6)
        ax = plots.sense_map(points, ["eye", "ตา", "eye", "ตา", "eye", "$"], labels=list("123456"))
        assert legend(ax) == ["eye", "ตา", "$"] and set(texts(ax)) == set("123456")
        np.testing.assert_array_equal(ax.collections[1].get_offsets(), points[[1, 3]])
        assert len({path.vertices.shape for dots in ax.collections for path in dots.get_paths()}) > 1  # markers

    def test_a_sense_a_sentence_needs_no_legend(self):
        assert plots.sense_map(cloud(3), ["1", "2", "3"]).get_legend() is None


def boxes_of_text(ax) -> np.ndarray:
    """As :func:`boxes`, of the text without its arrow."""
    ax.figure.canvas.draw()
    return np.array([mpl.text.Text.get_window_extent(text).extents for text in ax.texts])


class TestBars:
    def test_projections(self):
        words = pd.DataFrame({"word": ["แพทย์", "nurse", "$"], "projection": [0.2, -0.3, 0.0]})
        ax = plots.projections(words, ends=("she", "เขา"))
        assert texts(ax) == ["nurse", "$", "แพทย์"]  # from the bottom
        assert [text.get_ha() for text in ax.texts] == ["right", "left", "left"]
        assert (ax.get_title("left"), ax.get_title("right")) == ("←  she", "เขา  →")
        assert ax.get_xlim() == (pytest.approx(-0.45), pytest.approx(0.45))

    def test_pairs(self):
        pairs = pd.DataFrame({"kind": ["synonym"] * 3 + ["ตรงข้าม"] * 2, "cosine": [0.1, 0.5, 0.6, 0.3, 0.5]})
        ax = plots.pair_kinds(pairs)
        assert texts(ax) == ["0.50", "0.40"] and labels(ax.yaxis) == ["synonym", "ตรงข้าม"] and ax.yaxis_inverted()
        np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 0], [0.1, 0.5, 0.6])
        again = plots.pair_kinds(pairs)  # the same picture twice
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), again.collections[0].get_offsets())

    @pytest.mark.parametrize("values", [[2e6, 540, 4100], [1.0, 1.0, 1.0], [0.001, 9, 10]])
    def test_cost(self, values):
        costs = pd.DataFrame({"method": ["ตาราง", "BERT", "MiniLM"], "words_per_second": values})
        ax = plots.cost(costs, measure="words_per_second", highlight="BERT")
        assert [bar.get_width() for bar in ax.patches] == values and ax.get_xscale() == "log"
        assert [shade(bar).upper() for bar in ax.patches] == [plots.BLUE, plots.ORANGE, plots.BLUE]
        assert texts(ax) == [plots.short(value) for value in values] and ax.get_xlabel() == "words per second"
        assert ax.get_xlim()[0] < min(values) <= max(values) < ax.get_xlim()[1]

    @pytest.mark.parametrize("bad", [0, -1, np.nan])
    def test_a_cost_that_is_not_positive(self, bad):
        with pytest.raises(ValueError, match="seconds is positive on a logarithmic axis; look at BERT"):
            plots.cost(pd.DataFrame({"method": ["a", "BERT"], "seconds": [1, bad]}), measure="seconds")
