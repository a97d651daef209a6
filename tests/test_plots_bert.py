"""The pictures of the lesson on BERT, by what is on their axes; labels that do not overlap."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors, patches
from scipy.stats import binom

from tlcourse import plots

pytestmark = pytest.mark.usefixtures("drawn")

DOG = ["[CLS]", "my", "dog", "is", "cute", "[SEP]", "he", "likes", "play", "##ing", "[SEP]"]
THAI = ["[CLS]", "ฉัน", "ชอบ", "ข้าวเหนียว", "##มะม่วง", "[SEP]"]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def overlaps(ax) -> bool:
    """Whether two texts of the picture lie on each other."""
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in ax.texts if text.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def blocks(ax) -> list[patches.FancyBboxPatch]:
    return [patch for patch in ax.patches if isinstance(patch, patches.FancyBboxPatch)]


def colour(block) -> str:
    return colors.to_hex(block.get_facecolor()).upper()


def inside(ax) -> bool:
    """Whether each block's text stays within it."""
    ax.figure.canvas.draw()
    found = [block.get_window_extent() for block in blocks(ax)]
    for text in ax.texts:
        extent = text.get_window_extent()
        middle = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
        for box in found:
            if box.contains(*middle) and (extent.x0 < box.x0 - 1 or extent.x1 > box.x1 + 1):
                return False
    return True


class TestInput:
    def test_three_rows_and_their_sum(self):
        ax = plots.bert_input(DOG, [0] * 6 + [1] * 5)
        n = len(DOG)
        assert len(blocks(ax)) == 4 * n and not overlaps(ax) and inside(ax)
        by_row = np.array(blocks(ax)).reshape(4, n)
        assert [colour(block) for block in by_row[1]] == [plots.BLUE] * 6 + [plots.ORANGE] * 5
        token = [colour(block) for block in by_row[0]]
        assert token[0] == token[5] == token[10] and len(set(token)) == 2
        assert texts(ax).count("+") == 2 * n and texts(ax).count("=") == n
        assert texts(ax).count("A") == 6 and texts(ax).count("B") == 5
        assert {str(i) for i in range(n)} <= set(texts(ax)) and "x₁₀" in texts(ax) and texts(ax).count("##ing") == 2

    def test_ids(self):
        ax = plots.bert_input(THAI, [0] * 6, ids=[2, 139, 117, 20345, 138, 3])
        assert "20345" in texts(ax) and texts(ax).count("ข้าวเหนียว") == 1 and not overlaps(ax)

    def test_long_and_strange_pieces_fit(self):
        pieces = ["antidisestablishmentarianism", "$x$", "樺"]
        ax = plots.bert_input(pieces, [0, 0, 1])
        assert inside(ax) and not overlaps(ax) and "□" in texts(ax)

    @pytest.mark.parametrize("wrong", [{"segments": [0]}, {"segments": [0] * 6, "ids": [1, 2]}])
    def test_lengths(self, wrong):
        with pytest.raises(ValueError, match=r"(1 segments|2 ids) for 6 pieces"):
            plots.bert_input(THAI, **wrong)


class TestMasking:
    kinds = ("special", "mask", "random", "kept", "untouched", "special")

    def test_colours_and_answers(self):
        read = ["[CLS]", "[MASK]", "ปลา", "ข้าวเหนียว", "##มะม่วง", "[SEP]"]
        ax = plots.masking_draw(THAI, read, self.kinds)
        grey = colour(blocks(ax)[0])
        assert [colour(b) for b in blocks(ax)] == [grey, plots.BLUE, plots.RED, plots.GREEN, "#FFFFFF", grey]
        assert [text for text in texts(ax) if text in THAI and text not in read] == ["ฉัน", "ชอบ"]
        answers = [
            (t.get_text(), t.get_color()) for t in ax.texts if t.get_color() in (plots.BLUE, plots.RED, plots.GREEN)
        ]
        assert answers == [("ฉัน", plots.BLUE), ("ชอบ", plots.RED), ("ข้าวเหนียว", plots.GREEN)]
        assert texts(ax).count("ข้าวเหนียว") == 2 and not overlaps(ax) and inside(ax) and len(legend(ax)) == 5

    @settings(max_examples=4, deadline=None)
    @given(seed=st.integers(0, 99), n=st.integers(1, 60))
    def test_nothing_overlaps_in_long_texts(self, seed, n):
        drawn = np.random.default_rng(seed)
        pieces = drawn.choice([*DOG, *THAI, "uncharacteristically", "a"], n)
        kinds = drawn.choice(list(plots.MASKING), n)
        read = [drawn.choice(pieces) if kind == "random" else piece for piece, kind in zip(pieces, kinds, strict=True)]
        ax = plots.masking_draw(pieces, read, kinds)
        assert not overlaps(ax) and inside(ax)
        assert all(ax.get_ylim()[0] <= b.get_y() and b.get_x() + b.get_width() <= ax.get_xlim()[1] for b in blocks(ax))
        plt.close("all")

    def test_into_a_given_axes(self):
        ax = plt.figure(figsize=(6, 4)).add_axes([0, 0, 1, 0.8])
        assert plots.masking_draw(DOG, DOG, ["kept"] * 11, ax=ax) is ax and not overlaps(ax) and inside(ax)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="6 pieces, 6 after masking and 1 kinds"):
            plots.masking_draw(THAI, THAI, ["mask"])
        with pytest.raises(ValueError, match="not 'hidden'"):
            plots.masking_draw(THAI, THAI, ["hidden"] * 6)


class TestCounts:
    @settings(max_examples=30, deadline=None)
    @given(total=st.integers(1, 5000), data=st.data())
    def test_exact_interval(self, total, data):
        count = data.draw(st.integers(0, total))
        low, high = plots.exact_interval(count, total)
        assert 0 <= low <= count / total <= high <= 1
        if count:
            assert binom.sf(count - 1, total, low) == pytest.approx(0.025, rel=1e-6)
        if count < total:
            assert binom.cdf(count, total, high) == pytest.approx(0.025, rel=1e-6)

    def test_against_what_was_asked(self):
        ax = plots.masking_counts(10_000, {"mask": 1213, "random": 141, "kept": 149})
        dots = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(
            dots, [0.03, 100 * (1213 / 1503 - 0.8), 100 * (141 / 1503 - 0.1), 100 * (149 / 1503 - 0.1)]
        )
        (interval,) = (
            line.get_xdata() for line in ax.lines if line.get_color() == plots.BLUE and len(line.get_xdata()) == 2
        )
        np.testing.assert_allclose(interval, 100 * (np.array(plots.exact_interval(1213, 1503)) - 0.8))
        assert texts(ax)[1] == "1,213 of 1,503 = 80.7%" and labels(ax.yaxis)[0] == "to be guessed: 15% asked"
        assert ax.get_xlim()[1] > max(line.get_xdata().max() for line in ax.lines if line.get_marker() == "o")

    def test_other_shares(self):
        ax = plots.masking_counts(100, {"mask": 20, "random": 0, "kept": 20}, share=0.4, mask=0.5, random=0.0)
        assert labels(ax.yaxis) == [
            "to be guessed: 40% asked",
            "[MASK]: 50% asked",
            "random: 0% asked",
            "kept: 50% asked",
        ]
        assert [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"] == [0, 0, 0, 0]

    def test_none_yet(self):
        assert texts(plots.masking_counts(10, {"mask": 0, "random": 0, "kept": 0}))[1:] == ["none yet"] * 3

    @pytest.mark.parametrize("positions", [0, 2])
    def test_more_than_there_are(self, positions):
        with pytest.raises(ValueError, match=f"3 of {positions} positions"):
            plots.masking_counts(positions, {"mask": 3, "random": 0, "kept": 0})


class TestAttention:
    weights = np.random.default_rng(0).dirichlet(np.ones(6), size=(3, 4, 6)).astype(np.float32)

    def test_heatmap(self):
        ax = plots.attention_heatmap(self.weights[1, 2], THAI)
        np.testing.assert_array_equal(ax.images[0].get_array(), self.weights[1, 2])
        assert labels(ax.xaxis) == labels(ax.yaxis) == THAI
        assert (ax.get_ylabel(), ax.get_xlabel()) == ("looks", "is looked at")

    def test_lines(self):
        ax = plots.attention_lines(self.weights[0, 0], THAI)
        (lines,) = ax.collections
        np.testing.assert_allclose(lines.get_colors()[:, 3].reshape(6, 6), self.weights[0, 0])
        np.testing.assert_array_equal(lines.get_segments()[8], [[0, 1], [1, 2]])  # from the second to the third
        assert not overlaps(ax) and texts(ax)[:4] == ["[CLS]", "[CLS]", "ฉัน", "ฉัน"]

    def test_lines_of_one(self):
        ax = plots.attention_lines(self.weights[0, 0], THAI, looks=4)
        (lines,) = ax.collections
        np.testing.assert_allclose(lines.get_colors()[:, 3], self.weights[0, 0, 4])
        assert [t.get_text() for t in ax.texts if t.get_color() == plots.RED] == ["##มะม่วง"]

    def test_many_tokens_do_not_overlap(self):
        uniform = np.full((40, 40), 1 / 40)
        assert not overlaps(plots.attention_lines(uniform, (DOG * 4)[:40]))

    def test_grid(self):
        ax = plots.attention_grid(self.weights, highlight=(2, 1))
        assert len(ax.images) == 12 and labels(ax.xaxis) == list("1234") and labels(ax.yaxis) == list("123")
        first, last = ax.images[0], ax.images[-1]
        np.testing.assert_allclose(last.get_array(), self.weights[2, 3] / self.weights[2, 3].max())
        assert first.get_extent()[2] < 1 < 2 < last.get_extent()[2]  # the first layer at the bottom
        (frame,) = (p for p in ax.patches if colors.to_hex(p.get_edgecolor()).upper() == plots.RED)
        assert (int(frame.get_x()), int(frame.get_y())) == (1, 2)
        assert ax.get_xlim() == (0, 4) and ax.get_ylim() == (0, 3)

    def test_bad_input(self):
        for draw in (plots.attention_heatmap, plots.attention_lines):
            with pytest.raises(ValueError, match=r"11 tokens for attention weights of the shape \(6, 6\)"):
                draw(self.weights[0, 0], DOG)
        with pytest.raises(ValueError, match="positions 0 to 5, not 6"):
            plots.attention_lines(self.weights[0, 0], THAI, looks=6)
        with pytest.raises(ValueError, match=r"\(layers, heads, T, T\), not \(4, 6, 6\)"):
            plots.attention_grid(self.weights[0])


class TestFourShapes:
    def test_which_outputs_the_heads_read(self):
        ax = plots.four_shapes()
        assert not overlaps(ax) and inside(ax)
        names = {(round(t.get_position()[0], 2), round(t.get_position()[1], 2)): t.get_text() for t in ax.texts}
        used = []
        for block in blocks(ax):
            if colour(block) == plots.GREEN:
                x, y = block.get_x() + block.get_width() / 2, block.get_y() + block.get_height() / 2
                used.append(names[round(x, 2), round(y, 2)])
        assert used == ["C", "C", "T₄", "T₅", "T₆", "T₁", "T₂", "T₃", "T₄", "T₅", "T₆"]
        assert texts(ax).count("BERT") == 4 and texts(ax).count("[CLS]") == 4
        assert texts(ax).count("linear") == texts(ax).count("linear, one for all") == 2
        assert {"spam", "start", "end", "B-PER"} <= set(texts(ax))

    def test_two_segments_where_there_are_two(self):
        pale = [colour(block) for block in blocks(plots.four_shapes())]
        assert pale.count("#FAECC9") == 2 + 3


class TestParameters:
    frame = pd.DataFrame(
        [
            ("ใหญ่", "piece embeddings", 60e6),
            ("ใหญ่", "position embeddings", 4e6),
            ("ใหญ่", "attention: norm", 30e6),
            ("ใหญ่", "feed-forward", 50e6),
            ("ใหญ่", "pooler", 1e6),
            ("tiny", "piece embeddings", 4e5),
        ],
        columns=["model", "part", "count"],
    )

    def test_blocks_and_totals(self):
        ax = plots.parameter_blocks(self.frame, highlight="tiny")
        widths = np.array([bar.get_width() for bar in ax.patches]).reshape(4, 2)
        np.testing.assert_allclose(widths, [[64e6, 4e5], [30e6, 0], [50e6, 0], [1e6, 0]])
        assert legend(ax) == ["embeddings", "attention", "feed-forward", "other"]
        assert {"145 M", "400 k", "64.0 M", "50.0 M"} <= set(texts(ax)) and not overlaps(ax)
        assert [label.get_color() for label in ax.get_yticklabels()] == ["black", plots.RED]
        assert labels(ax.yaxis) == ["ใหญ่", "tiny"]

    @pytest.mark.parametrize(
        ("number", "written"),
        [(512, "512"), (999.9, "1.00 k"), (109_482_240, "109 M"), (4.42e6, "4.42 M"), (1.5e9, "1.50 B")],
    )
    def test_numbers(self, number, written):
        assert plots.engineering(number) == written


class TestCurves:
    frame = pd.DataFrame(
        [("a", 2e6, 4.0, 0.6), ("a", 1e6, 6.0, 0.5), ("ข", 1e6, 6.5, np.nan), ("ข", 2e6, 3.5, np.nan)],
        columns=["run", "tokens", "mlm_loss", "nsp_accuracy"],
    )

    def test_losses(self):
        ax = plots.pretraining_curves(self.frame, measure="mlm_loss", chance=9.0)
        assert [list(line.get_ydata()) for line in ax.lines] == [[6, 4], [6.5, 3.5], [9, 9]]
        assert legend(ax) == ["a: 4", "ข: 3.5", "chance: 9"] and ax.get_ylabel() == "masked words: loss"

    def test_a_run_without_the_measure_has_no_line(self):
        ax = plots.pretraining_curves(self.frame.iloc[::-1], measure="nsp_accuracy", chance=0.5)
        run, _ = ax.lines
        assert legend(ax) == ["a: 60.0%", "chance: 50.0%"] and ax.get_ylabel() == "next sentence: accuracy"
        assert run.get_color() == plots.ORANGE  # the second of the frame, in every picture of it

    def test_bad_input(self):
        with pytest.raises(ValueError, match="no column 'loss' among run, tokens"):
            plots.pretraining_curves(self.frame, measure="loss")
        with pytest.raises(ValueError, match="holds no value"):
            plots.pretraining_curves(self.frame.tail(2), measure="nsp_accuracy")
