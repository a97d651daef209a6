"""The pictures of the pretraining lesson, by what is on their axes, and the Thai letters in them."""

import logging
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors

from tlcourse import plots
from tlcourse.widgets.pretraining import connection_masks


@pytest.fixture(autouse=True)
def styled():
    """The course's style is for one test, and no figure outlives it."""
    with mpl.rc_context():
        plots.use_course_style()
        yield
    plt.close("all")


@pytest.fixture
def draws_cleanly(caplog):
    """Draws a figure; a warning is a failure, of a missing glyph or a missing font."""

    def draw(ax):
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
            warnings.simplefilter("error", UserWarning)
            ax.figure.canvas.draw()
        assert [record.message for record in caplog.records if record.name.startswith("matplotlib")] == []

    return draw


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def same_colour(a, b) -> bool:
    return colors.to_rgba(a) == colors.to_rgba(b)


class TestWordBars:
    values = pd.Series({"น้ำ": 0.5, "<unk>": 0.25, "ที่": 0.004})

    def test_bars(self, draws_cleanly):
        ax = plots.word_bars(self.values, xlabel="probability", grey=["<unk>"])
        assert [bar.get_width() for bar in ax.patches] == [0.5, 0.25, 0.004]
        assert labels(ax.yaxis) == ["น้ำ", "<unk>", "ที่"] and ax.yaxis_inverted()  # the first on top
        assert [text.get_text() for text in ax.texts] == ["50.0%", "25.0%", "0.4%"]
        assert [same_colour(bar.get_facecolor(), plots.GREY) for bar in ax.patches] == [False, True, False]
        assert ax.get_xlabel() == "probability" and ax.get_xlim() == (0, pytest.approx(0.6))
        draws_cleanly(ax)

    def test_another_format_and_negative_numbers(self, draws_cleanly):
        ax = plots.word_bars(pd.Series({"a": 0.5, "b": -0.25}), xlabel="cosine", fmt="{:.2f}")
        assert [text.get_text() for text in ax.texts] == ["0.50", "-0.25"]
        assert ax.get_xlim()[0] < -0.25
        draws_cleanly(ax)

    def test_letters_that_no_font_has_are_boxes(self, draws_cleanly):
        counts = pd.Series({"樺樺ก": 5, "น้ำ": 2})
        ax = plots.word_bars(counts, xlabel="probability")
        assert labels(ax.yaxis) == ["□□ก", "น้ำ"]
        draws_cleanly(ax)
        draws_cleanly(plots.zipf(counts))

    def test_words_that_look_like_formulas(self, draws_cleanly):
        ax = plots.word_bars(pd.Series({"$$": 0.5, r"$\x$": 0.2}), xlabel="probability")
        draws_cleanly(ax)
        draws_cleanly(plots.zipf(pd.Series({"$$": 5, r"$\x$": 2})))

    def test_no_words(self, draws_cleanly):
        draws_cleanly(plots.word_bars(pd.Series(dtype=float), xlabel="cosine"))


class TestLanguageModelCurves:
    frame = pd.DataFrame(
        [
            {"method": method, "tokens": tokens, "seconds": tokens / speed, "perplexity": 1e8 / tokens / speed}
            for method, speed in (("full", 500), ("สุ่ม 1,000", 4000))
            for tokens in (200_000, 100_000, 400_000)
        ]
    )

    def test_against_tokens(self, draws_cleanly):
        ax = plots.language_model_curves(self.frame)
        assert legend(ax) == ["full: 0.5", "สุ่ม 1,000: 0.0625"]
        assert ax.lines[0].get_xydata().tolist() == [[1e5, 2], [2e5, 1], [4e5, 0.5]]  # in the order of reading
        assert ax.get_yscale() == "log" and ax.get_xlim()[0] == 0
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("tokens read", "validation perplexity")
        draws_cleanly(ax)

    def test_against_seconds_a_long_training_in_minutes(self, draws_cleanly):
        ax = plots.language_model_curves(self.frame, against="seconds")
        assert ax.get_xlabel() == "minutes of training"
        np.testing.assert_allclose(ax.lines[0].get_xdata(), [200 / 60, 400 / 60, 800 / 60])
        short = plots.language_model_curves(self.frame[self.frame["method"] != "full"], against="seconds")
        assert short.get_xlabel() == "seconds of training"
        assert short.lines[0].get_xdata().tolist() == [25, 50, 100]
        draws_cleanly(ax)

    @pytest.mark.parametrize("highest", [101, 130, 700, 90_000])
    def test_the_axis_of_perplexity_has_ticks_whatever_its_range(self, highest):
        frame = pd.DataFrame({"method": "a", "tokens": [1, 2], "perplexity": [highest, 100.0]})
        ax = plots.language_model_curves(frame)
        low, high = ax.get_ylim()
        assert 3 <= sum(low <= tick <= high for tick in ax.get_yticks()) <= 12

    def test_another_axis(self):
        with pytest.raises(ValueError, match="against tokens or seconds, not 'epochs'"):
            plots.language_model_curves(self.frame, against="epochs")


class TestPerplexityByFrequency:
    frame = pd.DataFrame({"band": ["1–100", "หายาก"], "perplexity": [9.34, 21000.0], "share": [0.95, 0.05]})

    def test_bars_and_shares(self, draws_cleanly):
        left, right = plots.perplexity_by_frequency(self.frame)
        assert [bar.get_width() for bar in left.patches] == [9.34, 21000]
        assert [bar.get_width() for bar in right.patches] == [0.95, 0.05]
        assert [text.get_text() for text in left.texts] == ["9.3", "21,000"]
        assert [text.get_text() for text in right.texts] == ["95.0%", "5.0%"]
        assert left.get_xscale() == "log" and left.get_xlim()[0] == 1 and left.get_xlim()[1] > 21000
        assert labels(left.yaxis) == ["1–100", "หายาก"]
        assert left.get_ylim()[0] > left.get_ylim()[1] and left.get_legend() is None  # the most frequent on top
        draws_cleanly(left)

    def test_methods_stand_together(self, draws_cleanly):
        both = pd.concat([self.frame.assign(method="full"), self.frame[::-1].assign(method="sampled", perplexity=50.0)])
        left, right = plots.perplexity_by_frequency(both)
        assert legend(left) == ["full", "sampled"] and len(right.patches) == 2
        full, sampled = left.containers
        assert [bar.get_width() for bar in full] == [9.34, 21000]  # by the band's name, not by its place
        for row, (above, below) in enumerate(zip(full, sampled, strict=True)):
            assert row - 0.5 < above.get_y() < above.get_y() + above.get_height() <= below.get_y() < row + 0.5
        draws_cleanly(left)


class TestZipf:
    def test_curve_law_words_and_coverage(self, draws_cleanly):
        counts = pd.Series({f"w{i}": 100_000 // i for i in range(1, 500)} | {"ที่": 500_000, "never": 0})
        counts = counts.sample(frac=1, random_state=0)
        ax = plots.zipf(counts, sizes=(10, 100, 60_000))
        ranks, occurrences = ax.lines[0].get_xydata().T
        assert ranks[0] == 1 and ranks[-1] == 500 and occurrences[0] == 500_000 and occurrences[-1] == 200
        assert (np.diff(ranks) > 0).all() and (np.diff(occurrences) <= 0).all()
        assert ax.get_xscale() == ax.get_yscale() == "log"
        sorted_counts = np.sort(counts)[::-1]
        cover = [f"{n} words: {sorted_counts[:n].sum() / counts.sum():.1%}" for n in (10, 100)]
        assert [text.get_text() for text in ax.texts] == ["ที่", "w9", "w99", *cover]
        assert [line.get_xdata()[0] for line in ax.lines[-2:]] == [10, 100]
        draws_cleanly(ax)

    def test_the_law_is_drawn_for_a_text_as_long(self):
        counts = pd.Series({f"w{i}": 5040 // i for i in range(1, 8)})
        curve, law = plots.zipf(counts, sizes=()).lines[:2]
        np.testing.assert_allclose(law.get_ydata(), curve.get_ydata())

    def test_a_large_vocabulary_is_a_few_hundred_points(self):
        counts = pd.Series(np.arange(200_000, 0, -1))
        assert len(plots.zipf(counts).lines[0].get_xdata()) < 500

    def test_one_word(self, draws_cleanly):
        draws_cleanly(plots.zipf(pd.Series({"ก": 3})))


class TestTrainingTime:
    def test_rows(self, draws_cleanly):
        speeds = {"เครื่องนี้": 500.0, "H200": 400_000, "sampled": 4000}
        ax = plots.training_time(speeds, tokens=40e6)
        assert [label.split("\n") for label in labels(ax.yaxis)] == [
            ["เครื่องนี้", "500 tokens/s"],
            ["sampled", "4,000 tokens/s"],
            ["H200", "400,000 tokens/s"],
        ]
        assert ax.lines[0].get_xdata().tolist() == [80_000, 10_000, 100]
        assert [text.get_text() for text in ax.texts] == ["22 h", "2.8 h", "1.7 min"]
        assert ax.get_xlabel() == "time for 40 M tokens" and ax.get_xscale() == "log"
        assert labels(ax.xaxis) == ["1 min", "10 min", "1 h", "6 h", "1 d"]
        draws_cleanly(ax)

    def test_one_way(self, draws_cleanly):
        draws_cleanly(plots.training_time({"here": 1000}, tokens=1e6))

    @pytest.mark.parametrize("speed", [0, -1, float("nan")])
    def test_no_speed(self, speed):
        with pytest.raises(ValueError, match="positive number of tokens per second; look at b"):
            plots.training_time({"a": 5, "b": speed}, tokens=1e6)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.5, "0.5 s"), (59, "59 s"), (60, "1 min"), (90, "1.5 min"), (3600, "1 h"), (86_400, "1 d"),
            (360_000, "4.2 d"), (8.64e6, "100 d"), (8.64e8, "10,000 d"),
        ],
    )  # fmt: skip
    def test_duration(self, seconds, text):
        assert plots.duration(seconds) == text


class TestConnectionDropout:
    masks = connection_masks(0.4, units=4, steps=3)

    def test_a_column_a_kind_and_a_row_a_step(self, draws_cleanly):
        axes = plots.connection_dropout(self.masks, steps=[0, 2])
        assert axes.shape == (2, 3)
        assert [ax.get_title() for ax in axes[1]] == [f"{kind}, step 3" for kind in self.masks]
        draws_cleanly(axes[0, 0])

    def test_what_is_dropped_is_faint_and_what_is_kept_is_not(self):
        for ax, (units, weights) in zip(plots.connection_dropout(self.masks)[0], self.masks.values(), strict=True):
            kept = weights[0] & units[0]
            bold = [same_colour(line.get_color(), plots.BLUE) for line in ax.lines]
            assert bold == kept.ravel().tolist() and [line.get_linestyle() == "-" for line in ax.lines] == bold
            drawn = [(line.get_ydata()[0], line.get_ydata()[1]) for line in ax.lines]
            assert drawn == [(3 - source, 3 - to) for to in range(4) for source in range(4)]
            filled = [same_colour(colour, plots.ORANGE) for colour in ax.collections[0].get_facecolors()]
            assert filled == units[0].tolist()
            assert len(ax.collections[1].get_facecolors()) == 4

    def test_the_counts_are_written(self):
        units = np.array([[True, False, True]])
        weights = np.ones((1, 3, 3), bool)
        weights[0, 0] = False
        ax = plots.connection_dropout({"both": (units, weights)})[0, 0]
        assert ax.get_xlabel() == "dropped: 1 of 3 units,\n3 of 9 weights"


def test_every_picture_draws_on_the_axes_it_is_given_and_returns_them():
    figure, axes = plt.subplots(2, 3)
    a, b, c, d, e, f = axes.flat
    curve = pd.DataFrame({"method": ["a"], "tokens": [5], "seconds": [1], "perplexity": [50.0]})
    band = pd.DataFrame({"band": ["1"], "share": [1.0], "perplexity": [50.0]})
    assert plots.word_bars(pd.Series({"a": 1}), xlabel="x", ax=a) is a
    assert plots.language_model_curves(curve, ax=b) is b
    assert plots.perplexity_by_frequency(band, axes=[c, d]) == [c, d]
    assert plots.zipf(pd.Series({"a": 1}), ax=e) is e
    assert plots.training_time({"a": 1}, tokens=1, ax=f) is f
    assert plt.get_fignums() == [figure.number]
