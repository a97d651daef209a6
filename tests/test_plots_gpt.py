"""The pictures of the lesson on GPT, by what is on their axes; labels that do not overlap."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors, patches
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text

from tlcourse import plots

pytestmark = pytest.mark.usefixtures("drawn")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def extents(ax) -> list:
    """Of the texts alone: an annotation's own extent has its arrow in it."""
    ax.figure.canvas.draw()
    return [Text.get_window_extent(text) for text in ax.texts if text.get_text()]


def overlaps(ax) -> bool:
    """Whether two texts of the picture lie on each other."""
    boxes = [extent.shrunk(0.98, 0.9) for extent in extents(ax)]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def means(ax) -> list:
    """The lines through the means, of (x, y) each, and their error bars, from where to where."""
    found = []
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            found.append((line, np.array([segment[:, 1] for segment in bars.get_segments()])))
    return found


def dots(ax) -> np.ndarray:
    """The heights of all seeds."""
    return np.concatenate([line.get_ydata() for line in ax.lines if line.get_markersize() == 4])


def level(ax, height: float) -> bool:
    """Whether a dashed line goes right across at this height."""
    across = [line for line in ax.lines if list(line.get_xdata()) == [0, 1] and line.get_linestyle() == "--"]
    return any(np.allclose(line.get_ydata(), height) for line in across)


# -------------------------------------------------------------------------------------------------------------- λ
COLUMNS = ["task", "labels", "weights", "lam", "seed", "accuracy", "general_loss"]
RUNS = pd.DataFrame(
    [
        ("ทรูวอยซ์", size, "ours", lam, seed, 0.6 + 0.1 * lam + size / 10_000 + 0.02 * seed, 5 - 2 * lam + 0.1 * seed)
        for lam, size, seed in product((1.0, 0.0, 0.5), (2000, 250), (0, 1))
    ],
    columns=COLUMNS,
)
FRESH = RUNS[(RUNS.lam == 0.5) & (RUNS.labels == 250)].assign(weights="fresh", accuracy=[0.3, 0.4])


class TestLambda:
    def test_means_deviations_and_seeds(self):
        ax = plots.lambda_curves(RUNS)
        (small, bars), (large, _) = means(ax)
        np.testing.assert_allclose(small.get_ydata(), [0.635, 0.685, 0.735])
        np.testing.assert_allclose(large.get_ydata(), [0.81, 0.86, 0.91])
        np.testing.assert_allclose(small.get_xdata(), np.sqrt([0, 0.5, 1]), atol=0.05)
        np.testing.assert_allclose(np.diff(bars), np.full((3, 1), 2 * 0.02 / np.sqrt(2)))
        assert sorted(dots(ax)) == pytest.approx(sorted(RUNS.accuracy)) and ax.get_ylabel() == "accuracy"
        assert sorted(texts(ax)) == ["2,000 labels", "250 labels"] and not overlaps(ax)

    def test_names_are_in_the_colours_of_their_lines(self):
        ax = plots.lambda_curves(RUNS)
        named = {text.get_text(): text.get_color() for text in ax.texts}
        small, large = (line.get_color() for line, _ in means(ax))
        assert named == {"250 labels": small, "2,000 labels": large} and small != large

    @pytest.mark.parametrize("lams", [(0, 0.5), (0, 2)])
    def test_the_paper_is_marked(self, lams):
        ax = plots.lambda_curves(RUNS[RUNS.labels == 250].replace({"lam": {0.5: lams[1], 1.0: lams[1]}}))
        ticks = dict(zip(labels(ax.xaxis), ax.get_xticks(), strict=True))
        assert ticks == pytest.approx(
            {"0.5\nthe paper": 0.5**0.5} | {f"{lam:g}": lam**0.5 for lam in lams if lam != 0.5}
        )
        assert any(list(line.get_xdata()) == [0.5**0.5] * 2 for line in ax.lines if line.get_linestyle() == ":")

    def test_perplexity(self):
        ax = plots.lambda_curves(RUNS[RUNS.labels == 250], score="general_loss")
        ((line, bars),) = means(ax)
        np.testing.assert_allclose(line.get_ydata(), np.exp([5.05, 4.05, 3.05]))
        np.testing.assert_allclose(np.log(bars[0]), 5.05 + 0.1 / np.sqrt(2) * np.array([-1, 1]))
        np.testing.assert_allclose(sorted(dots(ax)), np.exp([3, 3.1, 4, 4.1, 5, 5.1]))
        assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "perplexity of general text")
        ax.figure.canvas.draw()
        assert {"20", "50", "100"} <= set(labels(ax.yaxis))

    def test_fresh_weights_are_dashed(self):
        ax = plots.lambda_curves(pd.concat([RUNS, FRESH]))
        (small, _), (fresh, _), _ = means(ax)
        assert (fresh.get_linestyle(), fresh.get_color()) == ("--", small.get_color())
        np.testing.assert_allclose(fresh.get_xydata(), [[0.5**0.5, 0.35]], atol=0.05)
        assert level(ax, 0.35) and "250 labels, fresh" in texts(ax) and not overlaps(ax)

    def test_fresh_weights_of_several_lambdas_are_a_curve(self):
        ax = plots.lambda_curves(pd.concat([FRESH, FRESH.assign(lam=0.0, accuracy=0.2)]))
        ((fresh, _),) = means(ax)
        np.testing.assert_allclose(fresh.get_ydata(), [0.2, 0.35])
        assert not level(ax, 0.2) and not level(ax, 0.35)

    def test_one_run(self):
        ax = plots.lambda_curves(RUNS[:1])
        ((line, bars),) = means(ax)
        np.testing.assert_allclose([*line.get_ydata(), *bars[0]], [0.9, 0.9, 0.9])

    @settings(max_examples=3, deadline=None)
    @given(
        sizes=st.sets(st.integers(1, 10**6), min_size=1, max_size=6),
        ends=st.lists(st.floats(0.1, 0.9), min_size=6, max_size=6),
    )
    def test_names_never_overlap(self, sizes, ends):
        runs = pd.DataFrame({"labels": sorted(sizes), "accuracy": ends[: len(sizes)]})
        ax = plots.lambda_curves(runs.assign(task="a", weights="ours", lam=0.5, seed=0))
        assert not overlaps(ax) and len(texts(ax)) == len(sizes)
        plt.close("all")

    def test_into_a_given_axes(self):
        ax = plt.subplots(1, 2, figsize=(12, 4))[1][1]
        assert plots.lambda_curves(RUNS, ax=ax) is ax and not overlaps(ax)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="one task at a time, not of ทรูวอยซ์, SST-2"):
            plots.lambda_curves(pd.concat([RUNS, RUNS.assign(task="SST-2")]))
        with pytest.raises(ValueError, match="one kind of pretrained weights at a time, not of ours, gpt2"):
            plots.lambda_curves(pd.concat([RUNS, RUNS.assign(weights="gpt2")]))
        with pytest.raises(ValueError, match=r"λ is 0 or more, not -0\.5"):
            plots.lambda_curves(RUNS.assign(lam=-0.5))
        with pytest.raises(ValueError, match="no column 'macro_f1' among task, labels"):
            plots.lambda_curves(RUNS, score="macro_f1")
        with pytest.raises(ValueError, match="'general_loss' holds no value"):
            plots.lambda_curves(RUNS.assign(general_loss=np.nan), score="general_loss")


class TestForgetting:
    before = float(np.exp(3.05))

    def arrows(self, ax) -> list:
        return [line for line in ax.lines if line.get_marker() in ("<", ">")]

    def test_arrows_and_factors(self):
        small = RUNS[RUNS.labels == 250]
        ax = plots.forgetting(self.before, pd.concat([small, small.assign(task="SST-2", general_loss=2.0), FRESH]))
        ends = [line.get_xdata().tolist() for line in self.arrows(ax)]
        np.testing.assert_allclose(np.log(ends), [[3.05, x] for x in (5.05, 4.05, 2, 2)])
        assert [line.get_marker() for line in self.arrows(ax)] == [">", ">", "<", "<"]
        assert [line.get_color() for line in self.arrows(ax)] == [plots.RED, plots.BLUE] * 2
        assert texts(ax) == ["× 7.39", "× 2.72", "× 0.35", "× 0.35", "before: 21.1"] and not overlaps(ax)
        headings = [("ทรูวอยซ์, 250 labels", "black"), ("SST-2, 250 labels", "black")]
        rows = [("λ = 0", plots.RED), ("λ = 0.5", plots.BLUE)]
        drawn = [(label.get_text(), label.get_color()) for label in ax.get_yticklabels()]
        assert drawn == [headings[0], *rows, headings[1], *rows]
        assert ax.get_xscale() == "log" and ax.yaxis_inverted()

    def test_sizes_and_seeds(self):
        ax = plots.forgetting(self.before, RUNS)
        seeds = np.concatenate([line.get_xdata() for line in ax.lines if line.get_markersize() == 5])
        np.testing.assert_allclose(np.log(seeds), [5, 5.1, 4, 4.1] * 2)
        assert "ทรูวอยซ์, 2,000 labels" in labels(ax.yaxis)

    def test_a_task_without_one_of_both(self):
        ax = plots.forgetting(self.before, RUNS[(RUNS.lam == 0) & (RUNS.labels == 250)])
        assert labels(ax.yaxis) == ["ทรูวอยซ์, 250 labels", "λ = 0"] and len(self.arrows(ax)) == 1

    def test_a_great_factor_stays_in_the_picture(self):
        ax = plots.forgetting(20, RUNS[:2].assign(lam=0.0, general_loss=[12.0, 12.5]))
        right = max(extent.x1 for extent in extents(ax))
        assert right < ax.get_window_extent().x1 and "× 10,449" in texts(ax)

    def test_bad_input(self):
        for before in (0.9, np.nan):
            with pytest.raises(ValueError, match=f"a perplexity is at least 1, not {before}"):
                plots.forgetting(before, RUNS)
        for runs in (FRESH, RUNS[RUNS.lam == 1]):
            with pytest.raises(ValueError, match=r"no run of pretrained weights with λ = 0 or 0\.5"):
                plots.forgetting(20, runs)
        with pytest.raises(ValueError, match="no column 'general_loss'"):
            plots.forgetting(20, RUNS.drop(columns="general_loss"))


# -------------------------------------------------------------------------------------------------------------- shots
class TestShots:
    runs = pd.DataFrame(
        [
            (shots, layers, seed, 0.5 + 0.01 * shots * layers + 0.02 * seed)
            for shots, layers, seed in product((8, 0, 2), (4, 1), (0, 1))
        ],
        columns=["shots", "layers", "seed", "accuracy"],
    )

    def test_means_deviations_and_seeds(self):
        ax = plots.shots_curve(self.runs, chance=0.5)
        (one, bars), (four, _) = means(ax)
        np.testing.assert_allclose(one.get_ydata(), [0.51, 0.53, 0.59])
        np.testing.assert_allclose(four.get_ydata(), [0.51, 0.59, 0.83])
        np.testing.assert_allclose(one.get_xdata(), np.log2([1, 3, 9]), atol=0.1)
        np.testing.assert_allclose(np.diff(bars), np.full((3, 1), 2 * 0.02 / np.sqrt(2)))
        assert sorted(dots(ax)) == pytest.approx(sorted(self.runs.accuracy)) and labels(ax.xaxis) == ["0", "2", "8"]
        assert sorted(texts(ax)) == ["1 layer", "4 layers", "chance: 50.0%"]
        assert level(ax, 0.5) and not overlaps(ax)

    def test_names(self):
        names = self.runs.replace({"layers": {4: "ของเรา", 1: "gpt2"}}).rename(columns={"layers": "model"})
        ax = plots.shots_curve(names, chance=0.25, name="model")
        assert set(texts(ax)) == {"ของเรา", "gpt2", "chance: 25.0%"} and not overlaps(ax)
        assert means(ax)[0][0].get_ydata()[-1] == pytest.approx(0.83)  # in the order of the frame

    def test_all_at_chance(self):
        ax = plots.shots_curve(self.runs.assign(accuracy=0.5), chance=0.5)
        assert not overlaps(ax) and len(texts(ax)) == 3

    def test_chance_is_in_the_picture(self):
        ax = plots.shots_curve(self.runs, chance=0.02)
        assert ax.get_ylim()[0] < 0.02

    def test_bad_input(self):
        for chance in (50, -0.1, np.nan):
            with pytest.raises(ValueError, match=f"chance is a share from 0 to 1, not {chance}"):
                plots.shots_curve(self.runs, chance=chance)
        with pytest.raises(ValueError, match="0 examples or more, not -2"):
            plots.shots_curve(self.runs.replace({"shots": {2: -2}}), chance=0.5)
        with pytest.raises(ValueError, match="no column 'width' among shots, layers"):
            plots.shots_curve(self.runs, chance=0.5, name="width")
        with pytest.raises(ValueError, match="'accuracy' holds no value"):
            plots.shots_curve(self.runs[:0], chance=0.5)


# -------------------------------------------------------------------------------------------------------- drawings
THAI = ["ฉัน", "ชอบ", "กิน", "ข้าวเหนียว", "มะม่วง"]


class TestMasks:
    def test_a_triangle_and_a_square(self):
        ax = plots.who_sees_whom(THAI, masked=[3, 1])
        gpt, bert = (mesh.get_array() for mesh in ax.collections)
        np.testing.assert_array_equal(gpt, np.tril(np.ones((5, 5))))
        np.testing.assert_array_equal(bert, [[1, 2, 1, 2, 1]] * 5)
        assert {"GPT, left to right: a loss at 4 of 5", "BERT, masked: a loss at 2 of 5"} <= set(texts(ax))
        assert texts(ax).count("[MASK]") == 4 and not overlaps(ax)

    def test_where_there_is_a_loss(self):
        ax = plots.who_sees_whom(THAI, masked=[3, 1])
        rows = {text.get_position()[1]: [] for text in ax.texts}
        for text in ax.texts:
            rows[text.get_position()[1]].append(text.get_text())
        assert [rows[height] for height in sorted(rows, reverse=True) if height < 0] == [
            ["ฉัน", "→ ชอบ", "ฉัน"],
            ["ชอบ", "→ กิน", "[MASK]", "→ ชอบ"],
            ["กิน", "→ ข้าวเหนียว", "กิน"],
            ["ข้าวเหนียว", "→ มะม่วง", "[MASK]", "→ ข้าวเหนียว"],
            ["มะม่วง", "มะม่วง"],
        ]

    @pytest.mark.parametrize("size", [None, (5, 3)])
    def test_all_is_inside(self, size):
        ax = size and plt.figure(figsize=size).add_axes([0, 0, 1, 1])
        tokens = [*THAI, "$x$", "樺", "incomprehensibilities", *THAI, "."]
        ax = plots.who_sees_whom(tokens, masked=range(0, 14, 5), ax=ax)
        assert not overlaps(ax) and "□" in texts(ax)
        figure = ax.figure.bbox
        assert all(figure.x0 - 1 <= e.x0 and e.x1 <= figure.x1 + 1 and e.y1 <= figure.y1 + 1 for e in extents(ax))
        legend = ax.get_legend().get_window_extent()
        assert legend.y1 < min(extent.y0 for extent in extents(ax)) and legend.x1 < figure.x1

    def test_bad_input(self):
        for tokens in ([], ["ฉัน"]):
            with pytest.raises(ValueError, match=f"with {len(tokens)} token there is nothing to read"):
                plots.who_sees_whom(tokens, masked=[0])
        for masked in ([], [5], [-1]):
            with pytest.raises(ValueError, match=r"at least one of the positions 0 to 4, not \["):
                plots.who_sees_whom(THAI, masked=masked)


class TestTransformations:
    def blocks(self, ax) -> list[tuple[str, str, patches.FancyBboxPatch]]:
        """Their texts and colours, row by row from the top, each from the left."""
        found = []
        written = {tuple(np.round(text.get_position(), 2)): text.get_text() for text in ax.texts}
        for patch in ax.patches:
            if isinstance(patch, patches.FancyBboxPatch):
                middle = patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2
                found.append((*np.round(middle, 2), written[tuple(np.round(middle, 2))], patch))
        found.sort(key=lambda block: (-block[1], block[0]))
        return [(text, colors.to_hex(patch.get_facecolor()), patch) for _, _, text, patch in found]

    def test_rows(self):
        ax = plots.input_transformations()
        written = [text for text, *_ in self.blocks(ax)]
        assert [written.count(f"<{mark}>") for mark in ("start", "delimiter", "extract")] == [7, 6, 7]
        assert written.count("transformer") == written.count("h") == 7 and texts(ax).count("+") == 1
        assert written.count("linear") == 6 and written.count("softmax") == 1  # similarity adds, then has one
        assert not overlaps(ax)
        answers = [t.get_text() for t in ax.texts if t.get_color() == plots.RED]
        assert answers == ["positive", "follows", "the same", "94%", "4%", "2%"]

    def test_similarity_has_both_orders_and_choices_one_context(self):
        blocks = self.blocks(plots.input_transformations())
        starts = [i for i, (text, *_) in enumerate(blocks) if text == "<start>"]
        first = [blocks[i + 1][:2] for i in starts]
        second = [blocks[i + 3][:2] for i in starts[1:]]
        assert first[2] == second[2] and first[3] == second[1] and first[2] != first[3]
        assert len(set(first[4:])) == 1 and len(set(second[3:])) == 3

    def test_every_text_fits_its_block(self):
        plt.rcParams["figure.dpi"] = 100  # with fewer, letters are whole pixels wide
        ax = plots.input_transformations()
        ax.figure.canvas.draw()
        boxes = [patch.get_window_extent() for _, _, patch in self.blocks(ax)]
        for extent in extents(ax):
            x, y = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
            for box in (box for box in boxes if box.contains(x, y)):
                assert box.x0 - 1 <= extent.x0 and extent.x1 <= box.x1 + 1

    def test_into_a_given_axes(self):
        ax = plt.figure(figsize=(10, 5)).add_axes([0, 0, 1, 1])
        assert plots.input_transformations(ax=ax) is ax


class TestGrowth:
    table = pd.DataFrame(
        [("GPT", "GPT", 116_534_784), ("ใหญ่", "GPT-2", 1_557_611_200), ("175B", "GPT-3", 174_591_683_584)],
        columns=["model", "family", "parameters"],
    )

    def test_dots_values_and_families(self):
        ax = plots.growth(self.table)
        points = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
        assert points == [[[count, row]] for row, count in enumerate(self.table.parameters)]
        assert texts(ax) == ["GPT", "GPT-2", "GPT-3", "117 M", "1.56 B", "175 B"] and not overlaps(ax)
        assert labels(ax.yaxis) == ["GPT", "ใหญ่", "175B"] and ax.yaxis_inverted() and ax.get_xscale() == "log"
        ax.figure.canvas.draw()
        assert {"100 M", "1 B", "10 B", "100 B"} <= set(labels(ax.xaxis))

    def test_one_model_and_any_index(self):
        assert texts(plots.growth(self.table[1:2])) == ["GPT-2", "1.56 B"]

    def test_values_stay_left_of_the_families(self):
        ax = plots.growth(self.table)
        families, values = extents(ax)[:3], extents(ax)[3:]
        assert max(extent.x1 for extent in values) < min(extent.x0 for extent in families)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="no column 'family' among model, parameters"):
            plots.growth(self.table.drop(columns="family"))
        for nothing in (0, -1.0, np.nan):
            with pytest.raises(ValueError, match="more than 0 parameters; look at ใหญ่"):
                plots.growth(self.table.assign(parameters=[1e6, nothing, 1e7]))
