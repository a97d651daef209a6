"""The pictures, by what is on their axes, and the Thai letters in them."""

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fontTools.ttLib import TTFont
from matplotlib import colors, font_manager

from tlcourse import plots

CONSONANTS = [chr(c) for c in range(0x0E01, 0x0E2F)]  # ก to ฮ
VOWELS = [chr(c) for c in [*range(0x0E2F, 0x0E3B), *range(0x0E40, 0x0E46), 0x0E47, 0x0E4D]]  # ฯ ะ … ู ฺ เ … ๅ ็ ํ
TONES = list("่้๊๋์")  # four tone marks, and the mark of a silent letter
OTHERS = [*"ๆ฿", *"๐๑๒๓๔๕๖๗๘๙"]


@pytest.fixture(autouse=True)
def restored():
    """The course's style is for one test, and no figure outlives it."""
    with mpl.rc_context():
        yield
    plt.close("all")


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def drawn(ax) -> list[str]:
    """The warnings that come while the figure is drawn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ax.figure.canvas.draw()
    return [str(warning.message) for warning in caught]


def same_colour(a, b) -> bool:
    return colors.to_rgba(a) == colors.to_rgba(b)


class TestThai:
    @pytest.mark.parametrize("letters", [CONSONANTS, VOWELS, TONES, OTHERS])
    def test_the_font_has_every_letter(self, letters):
        cmap = TTFont(plots.thai_font()).getBestCmap()
        assert [letter for letter in letters if ord(letter) not in cmap] == []

    def test_the_style_uses_that_font_and_latin_beside_it(self):
        name = plots.use_course_style()
        assert mpl.rcParams["font.family"] == [name, "DejaVu Sans"]
        assert font_manager.findfont(name, fallback_to_default=False) == str(plots.thai_font())

    def test_thai_and_symbols_are_drawn_without_a_missing_glyph(self):
        plots.use_course_style()
        ax = plt.subplots()[1]
        ax.set_title("".join(CONSONANTS + VOWELS + TONES + OTHERS) + " near the input  →  ✓ μ é")
        ax.set_xlabel("ที่อยู่ใหม่ น้ำแข็ง ผู้ใหญ่ กตัญญู ฤๅษี")
        assert drawn(ax) == []

    def test_without_the_style_it_would_warn(self):
        mpl.rcParams["font.family"] = ["DejaVu Sans"]
        ax = plt.subplots()[1]
        ax.set_title("ค่าบริการ")
        assert any("missing" in message for message in drawn(ax))

    def test_a_package_without_a_font_says_what_to_do(self, monkeypatch, tmp_path):
        monkeypatch.setattr(plots.resources, "files", lambda package: tmp_path)
        with pytest.raises(FileNotFoundError, match=r"no font in .* pip install --force-reinstall fontpkg-noto"):
            plots.thai_font()


class TestClassCounts:
    def test_bars(self):
        counts = pd.Series({"true money": 1200, "อินเทอร์เน็ต": 7000, "billing": 30})
        ax = plots.class_counts(counts)
        assert [bar.get_width() for bar in ax.patches] == [30, 1200, 7000]  # from below: the largest on top
        assert labels(ax.yaxis) == ["billing", "true money", "อินเทอร์เน็ต"]
        assert [text.get_text() for text in ax.texts] == ["30", "1,200", "7,000"]
        assert ax.get_xlabel() == "texts" and ax.get_xlim()[0] == 0 and ax.get_xlim()[1] > 7000

    def test_categories(self):
        frame = pd.Series(["b", "a", "b"], dtype=pd.CategoricalDtype(["a", "b"]))
        ax = plots.class_counts(frame.value_counts())
        assert labels(ax.yaxis) == ["a", "b"] and [bar.get_width() for bar in ax.patches] == [1, 2]


class TestSchedule:
    def test_one_curve(self):
        ax = plots.schedule({"slanted": [0.1, 0.5, 0.2]})
        (line,) = ax.lines
        assert line.get_xydata().tolist() == [[0, 0.1], [1, 0.5], [2, 0.2]]
        assert ax.get_legend() is None and ax.get_ylim()[0] == 0
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("step t", "learning rate")

    def test_several(self):
        ax = plots.schedule({"a": [1, 2], "b": np.array([2, 1, 0])})
        assert legend(ax) == ["a", "b"]
        assert not same_colour(ax.lines[0].get_color(), ax.lines[1].get_color())


def test_layer_rates_has_a_line_for_each_of_many_rules():
    rules = {f"rule {k}": {"embedding": 0.1 * (k + 1), "LSTM 1": 0.2, "head": 0.3} for k in range(7)}
    ax = plots.layer_rates(rules)
    assert legend(ax) == list(rules) and ax.get_yscale() == "log"
    assert labels(ax.xaxis) == ["embedding", "LSTM 1", "head"]
    for k, line in enumerate(ax.lines):
        np.testing.assert_allclose(line.get_ydata(), [0.1 * (k + 1), 0.2, 0.3])


class TestUnfreezing:
    layers = ("embedding", "LSTM", "head")

    def test_grid(self):
        ax = plots.unfreezing([1, 2, 3, 3], self.layers)
        grid = ax.images[0].get_array()
        assert grid.astype(int).tolist() == [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
        assert ax.images[0].origin == "lower"  # the layer nearest the input below
        assert labels(ax.yaxis) == list(self.layers) and labels(ax.xaxis) == ["1", "2", "3", "4"]
        assert same_colour(ax.images[0].cmap(1.0), plots.ORANGE)
        assert len(ax.patches) == 0

    def test_colours_stay_when_all_layers_learn(self):
        ax = plots.unfreezing([3], self.layers)
        assert ax.images[0].norm.vmin == 0 and ax.images[0].norm.vmax == 1

    def test_the_frame_of_now(self):
        (frame,) = plots.unfreezing([1, 2, 3, 3], self.layers, now=2).patches
        assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (1.5, -0.5, 1, 3)
        assert not frame.get_fill()


class TestHistory:
    frame = pd.DataFrame({"stage": [1, 2, 2, 3], "train_loss": [4.0, 3, 2, 1], "accuracy": [0.1, 0.2, 0.3, 0.4]})

    def test_lines_and_the_boundaries_of_stages(self):
        ax = plots.history(self.frame, ["train_loss", "accuracy"])
        assert legend(ax) == ["train loss", "accuracy"]
        assert ax.lines[0].get_xydata().tolist() == [[1, 4], [2, 3], [3, 2], [4, 1]]
        boundaries = [line.get_xdata()[0] for line in ax.lines[2:]]
        assert boundaries == [1.5, 3.5]

    def test_without_stages(self):
        assert len(plots.history(self.frame[["accuracy"]], ["accuracy"]).lines) == 1

    def test_an_unknown_column_is_named(self):
        with pytest.raises(KeyError, match="perplexity"):
            plots.history(self.frame, ["perplexity"])


class TestScores:
    frame = pd.DataFrame({"recipe": ["a", "b", "a", "b", "ค"], "accuracy": [0.70, 0.9, 0.72, 0.8, 0.5]})

    def test_rows(self):
        ax = plots.scores(self.frame, name="recipe", score="accuracy", highlight="a")
        assert labels(ax.yaxis) == ["ค", "a", "b"]  # from below: the highest mean on top
        means, runs = ax.lines[::2], ax.lines[1::2]
        np.testing.assert_allclose([line.get_xdata()[0] for line in means], [0.5, 0.71, 0.85])
        assert [sorted(line.get_xdata()) for line in runs] == [[0.5], [0.70, 0.72], [0.8, 0.9]]
        assert [set(line.get_ydata()) for line in runs] == [{0}, {1}, {2}]
        assert [text.get_text() for text in ax.texts] == ["0.5", "0.71", "0.85"]
        assert [same_colour(line.get_color(), plots.ORANGE) for line in means] == [False, True, False]
        assert ax.get_xlabel() == "accuracy"

    def test_every_run_is_in_the_picture_also_on_a_logarithmic_axis(self):
        frame = pd.DataFrame({"recipe": list("abc"), "perplexity_after": [20.0, 50, 3000]})
        ax = plots.scores(frame, name="recipe", score="perplexity_after")
        for scale in ("linear", "log"):
            ax.set_xscale(scale)
            low, high = ax.get_xlim()
            assert low < 20 and high > 3000, scale
        assert ax.get_xlabel() == "perplexity after" and drawn(ax) == []

    def test_one_run(self):
        assert drawn(plots.scores(self.frame[:1], name="recipe", score="accuracy")) == []

    def test_categories_without_rows_have_no_row(self):
        frame = self.frame.assign(recipe=self.frame["recipe"].astype(pd.CategoricalDtype(["a", "b", "ค", "z"])))
        assert labels(plots.scores(frame, name="recipe", score="accuracy").yaxis) == ["ค", "a", "b"]


class TestLabelCurve:
    frame = pd.DataFrame(
        [
            {"method": method, "labels": n, "seed": seed, "macro_f1": base + n / 1000 + 0.02 * seed}
            for method, base in (("scratch", 0.3), ("transferred", 0.5))
            for n in (50, 1000)
            for seed in range(3)
        ]
    )

    def test_means_and_bands(self):
        ax = plots.label_curve(self.frame, score="macro_f1")
        assert legend(ax) == ["scratch", "transferred"]
        np.testing.assert_allclose(ax.lines[0].get_xydata(), [[50, 0.37], [1000, 1.32]])
        band = ax.collections[0].get_paths()[0].vertices
        at_50 = band[band[:, 0] == 50][:, 1]
        np.testing.assert_allclose([at_50.min(), at_50.max()], [0.35, 0.39])  # the standard deviation of 0, .02, .04
        assert labels(ax.xaxis) == ["50", "1,000"] and ax.get_xscale() == "log"
        assert ax.get_ylabel() == "macro f1"

    def test_one_seed_has_a_band_of_no_width(self):
        ax = plots.label_curve(self.frame[self.frame["seed"] == 0], score="macro_f1")
        band = ax.collections[0].get_paths()[0].vertices
        assert np.isfinite(band).all() and set(band[band[:, 0] == 50][:, 1].round(9)) == {0.35}

    def test_many_methods_all_have_a_line(self):
        frame = pd.concat(self.frame.assign(method=f"{m}") for m in range(8))
        assert len(plots.label_curve(frame, score="macro_f1").lines) == 8


class TestConfusion:
    matrix = np.array([[3, 1, 0], [0, 2000, 0], [0, 0, 0]])
    names = ("ค่าบริการ", "อินเทอร์เน็ต", "other")

    def test_rows_are_shares_of_the_true_class_and_counts_are_written(self):
        ax = plots.confusion(self.matrix, self.names)
        shares = ax.images[0].get_array()
        assert shares.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]  # a class without texts is no division by 0
        written = {text.get_position(): text.get_text() for text in ax.texts}
        assert written == {(0, 0): "3", (1, 0): "1", (1, 1): "2,000"}
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
        assert labels(ax.xaxis) == labels(ax.yaxis) == list(self.names)

    def test_counts_stand_out_from_their_cell(self):
        ax = plots.confusion(self.matrix, self.names)
        assert [text.get_color() for text in ax.texts] == ["white", "black", "white"]

    def test_thai_names_are_drawn(self):
        plots.use_course_style()
        assert drawn(plots.confusion(self.matrix, self.names)) == []

    def test_a_name_too_few(self):
        with pytest.raises(ValueError, match="2 names for a matrix of 3 by 3 classes"):
            plots.confusion(self.matrix, self.names[:2])


def test_layer_change_bars_stand_side_by_side():
    moves = {"paper": {"embedding": 0.01, "LSTM 1": 0.05}, "slide": {"LSTM 1": 0.03, "embedding": 0.2}}
    ax = plots.layer_change(moves)
    paper, slide = ax.containers
    assert [bar.get_height() for bar in paper] == [0.01, 0.05]
    assert [bar.get_height() for bar in slide] == [0.2, 0.03]  # by the layer's name, not by its place
    for a, b in zip(paper, slide, strict=True):
        assert a.get_x() + a.get_width() <= b.get_x()
    assert legend(ax) == ["paper", "slide"] and labels(ax.xaxis) == ["embedding", "LSTM 1"]


def test_drop_masks_shows_what_was_dropped_as_dark():
    weights = np.array([[1.0, -2.0], [3.0, 4.0]])
    kept = np.array([[2.0, 0.0], [0.0, 8.0]])
    activations = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 5.0]])
    axes = plots.drop_masks(weights, kept, activations)
    assert {ax.images[0].get_interpolation() for ax in axes} == {"nearest"}  # a blur would hide single weights
    dark = [np.isnan(np.ma.filled(ax.images[0].get_array(), np.nan)) for ax in axes]
    assert not dark[0].any() and dark[1].tolist() == (kept == 0).tolist()
    assert dark[2].tolist() == [[True, False]] * 3
    assert [ax.images[0].norm.vmax for ax in axes] == [4, 8, 5]
    assert [ax.images[0].norm.vmin for ax in axes] == [-4, -8, -5]  # zero in the middle of the colours
    assert sum(map(sum, (colors.to_rgb(ax.get_facecolor()) for ax in axes))) < 1.5
    assert (axes[2].get_xlabel(), axes[2].get_ylabel()) == ("dimension", "time")


def test_every_picture_draws_on_the_axes_it_is_given_and_returns_them():
    figure, ax = plt.subplots()
    frame = pd.DataFrame({"method": ["a"], "labels": [5], "stage": [1], "score": [0.5]})
    assert plots.class_counts(pd.Series({"a": 1}), ax=ax) is ax
    assert plots.schedule({"a": [1]}, ax=ax) is ax
    assert plots.layer_rates({"a": {"head": 1}}, ax=ax) is ax
    assert plots.unfreezing([1], ["head"], ax=ax) is ax
    assert plots.history(frame, ["score"], ax=ax) is ax
    assert plots.scores(frame, name="method", score="score", ax=ax) is ax
    assert plots.label_curve(frame, score="score", ax=ax) is ax
    assert plots.confusion(np.eye(2, dtype=int), ["a", "b"], ax=ax) is ax
    assert plots.layer_change({"a": {"head": 0.1}}, ax=ax) is ax
    assert plt.get_fignums() == [figure.number]


def test_the_colours_of_neighbouring_lines_are_apart():
    rgb = np.array([colors.to_rgb(colour) for colour in plots.CYCLE])
    distances = np.linalg.norm(rgb[:, None] - rgb[None], axis=-1)
    assert distances[np.triu_indices(len(rgb), 1)].min() > 0.25
