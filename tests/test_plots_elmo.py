"""The pictures of the lesson on ELMo, by what is on their axes; labels that do not overlap."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors, patches

from tlcourse import plots

pytestmark = pytest.mark.usefixtures("drawn")

LAYERS = ["0 ตัวอักษร", "1", "2"]
THAI = ["แมว", "นั่ง", "บน", "เสื่อ"]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def overlaps(ax) -> bool:
    """Whether two texts of the picture lie on each other."""
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent().shrunk(0.98, 0.98) for text in ax.texts]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def weights(tasks=("tags", "อารมณ์"), seeds=5) -> pd.DataFrame:
    """Layer 1 is the larger for the first task, layer 0 for the second."""
    drawn = np.random.default_rng(0)
    rows = []
    for t, task in enumerate(tasks):
        for seed in range(seeds):
            shares = drawn.dirichlet(50 * np.roll([0.2, 0.5, 0.3], -t))
            rows += [(task, seed, layer, share) for layer, share in zip(LAYERS, shares, strict=True)]
    return pd.DataFrame(rows, columns=["task", "seed", "layer", "weight"])


class TestLayerWeights:
    def test_means_deviations_and_runs(self):
        runs = weights()
        ax = plots.layer_weights(runs)
        by_task = runs.groupby(["task", "layer"], sort=False)["weight"].agg(["mean", "std"])
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], by_task["mean"])
        *_, dashed = ax.lines
        assert dashed.get_ydata() == [1 / 3, 1 / 3] and dashed.get_linestyle() == "--"
        ends = [path.vertices[:, 1] for path in ax.collections[0].get_paths()]
        np.testing.assert_allclose(np.diff(ends, axis=1)[:, 0], 2 * by_task["std"]["tags"])
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots[1].get_ydata(), runs.loc[runs["task"] == "อารมณ์", "weight"])
        assert labels(ax.xaxis) == LAYERS and legend(ax) == ["tags", "อารมณ์"]
        assert texts(ax) == [f"{mean:.2f}" for mean in by_task["mean"]] + ["1/3"] and not overlaps(ax)

    def test_runs_stand_over_their_own_bar(self):
        ax = plots.layer_weights(weights(seeds=2))
        dots = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
        places = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
        inside = [sum(low < x < high for x in dots) for low, high in places]
        assert inside == [2] * 6

    def test_summary(self):
        runs = weights(tasks=["tags", "ner", "topic"])
        summary = runs.groupby(["task", "layer"], sort=False)["weight"].agg(["mean", "std"]).reset_index()
        ax = plots.layer_weights(summary)
        assert [b.get_height() for b in ax.patches] == summary["mean"].tolist() and not overlaps(ax)
        assert not any(line.get_marker() == "o" for line in ax.lines)

    def test_one_run_has_no_deviation(self):
        ax = plots.layer_weights(weights(seeds=1))
        assert all(np.ptp(path.vertices[:, 1]) == 0 for path in ax.collections[0].get_paths())


class TestLayerScores:
    mixes = ("0", "1", "2", "mean", "learned")

    def runs(self, tasks) -> pd.DataFrame:
        rows = [
            (task, mix, seed, 0.9 - 0.01 * t + 0.005 * m + 0.001 * seed)
            for t, task in enumerate(tasks)
            for m, mix in enumerate(self.mixes)
            for seed in range(3)
        ]
        return pd.DataFrame(rows, columns=["task", "mix", "seed", "f1_score"])

    def test_every_seed_the_means_and_the_baselines(self):
        runs = self.runs(["ORCHID", "ชื่อ"])
        ax = plots.layer_scores(runs, score="f1_score", baseline={"ชื่อ": 0.8, "word2vec": 0.85})
        first, second, own, other = ax.lines
        np.testing.assert_allclose(second.get_ydata(), runs.loc[runs["task"] == "ชื่อ", "f1_score"])
        assert (first.get_color(), second.get_color()) == (plots.BLUE, plots.ORANGE)
        assert own.get_ydata() == [0.8, 0.8] and own.get_color() == plots.ORANGE and other.get_color() == plots.GREY
        means = [segment[0, 1] for segment in ax.collections[0].get_segments()]
        np.testing.assert_allclose(means, [0.901, 0.906, 0.911, 0.916, 0.921])
        assert texts(ax)[:2] == ["0.901", "0.906"] and not overlaps(ax)
        assert labels(ax.xaxis) == list(self.mixes) and ax.get_ylabel() == "f1 score"
        assert legend(ax) == ["ORCHID", "ชื่อ", "static, ชื่อ: 0.800", "static, word2vec: 0.850"]

    def test_each_seed_stands_with_its_mix(self):
        ax = plots.layer_scores(self.runs(["a", "b", "c"]), score="f1_score")
        for line in ax.lines:
            np.testing.assert_array_equal(np.round(line.get_xdata()), np.repeat(range(5), 3))

    def test_without_tasks(self):
        ax = plots.layer_scores(self.runs(["a"]).drop(columns="task"), score="f1_score")
        assert ax.get_legend() is None and len(ax.lines) == 1

    def test_by_source(self):
        runs = self.runs(["a", "b"]).rename(columns={"task": "source"})
        assert legend(plots.layer_scores(runs, score="f1_score", by="source")) == ["a", "b"]


class TestTriangle:
    @settings(max_examples=10)
    @given(steps=st.integers(1, 20))
    def test_grid(self, steps):
        grid = plots.weight_grid(steps)
        assert len(grid) == (steps + 1) * (steps + 2) // 2 == len(np.unique(grid, axis=0))
        np.testing.assert_allclose(grid.sum(axis=1), 1)
        assert (grid >= 0).all() and {tuple(row) for row in np.eye(3)} <= {tuple(row) for row in grid}

    def frame(self, steps=4) -> pd.DataFrame:
        grid = plots.weight_grid(steps)
        return pd.DataFrame(grid, columns=LAYERS).assign(accuracy=0.9 - ((grid - [0.25, 0.5, 0.25]) ** 2).sum(axis=1))

    def test_points_the_best_and_the_learned(self):
        learned = pd.DataFrame(
            [[0.2, 0.5, 0.3, "tags"], [0, 0, 1, "หัวข้อ"], [0, 0.1, 0.9, "หัวข้อ"]], columns=[*LAYERS, "task"]
        )
        ax = plots.layer_triangle(self.frame(), LAYERS, score="accuracy", learned=learned)
        mixes, best, tags, topic = ax.collections
        np.testing.assert_array_equal(mixes.get_array(), self.frame()["accuracy"])
        np.testing.assert_allclose(best.get_offsets(), [[0.5 + 0.125, 0.25 * 3**0.5 / 2]])
        np.testing.assert_allclose(topic.get_offsets()[0], [0.5, 3**0.5 / 2])  # all of the layer at the top
        assert len(tags.get_offsets()) == 1
        assert legend(ax) == ["best: 0.900", "learned: tags", "learned: หัวข้อ"] and texts(ax) == LAYERS
        assert ax.figure.axes[1].get_ylabel() == "accuracy" and not overlaps(ax)

    @pytest.mark.parametrize("steps", [1, 4, 15])
    def test_hexagons_of_a_grid_touch(self, steps):
        ax = plots.layer_triangle(self.frame(steps), LAYERS, score="accuracy")
        widths = [np.ptp(path.vertices[:, 0]) for path in ax.collections[0].get_paths()]
        np.testing.assert_allclose(widths, min(1 / steps, 0.2))

    def test_one_mix(self):
        plots.layer_triangle(self.frame().head(1), LAYERS, score="accuracy")

    def test_shares_that_are_none(self):
        with pytest.raises(ValueError, match=r"sum to 1; look at row 1: \[0.5, 0.6, 0.0\]"):
            plots.layer_triangle(pd.DataFrame([[1, 0, 0, 1], [0.5, 0.6, 0, 1]], columns=[*LAYERS, "score"]), LAYERS)

    def test_two_corners(self):
        with pytest.raises(ValueError, match="3 corners, not 2"):
            plots.layer_triangle(self.frame(), LAYERS[:2])


class TestLeak:
    @pytest.mark.parametrize("honest", [300.0, 1.5])
    def test_two_methods_and_the_floor(self, honest):
        rows = [("ซื่อสัตย์", 1e5, 2 * honest), ("ซื่อสัตย์", 2e5, honest), ("leaks", 1e5, honest), ("leaks", 2e5, 1.01)]
        ax = plots.leak(pd.DataFrame(rows, columns=["method", "tokens", "perplexity"]))
        *curves, floor = ax.lines
        assert [list(curve.get_ydata()) for curve in curves] == [[2 * honest, honest], [honest, 1.01]]
        assert floor.get_ydata() == [1, 1] and ax.get_yscale() == "log" and ax.get_xlabel() == "tokens read"
        assert ax.get_ylim()[0] < 1 and legend(ax)[1] == "leaks: 1.01"
        ax.figure.canvas.draw()
        low, high = ax.get_window_extent().intervaly
        assert low < ax.texts[0].get_window_extent().ymin < ax.texts[0].get_window_extent().ymax < high


def shapes(ax, kind) -> list:
    return [patch for patch in ax.patches if isinstance(patch, kind)]


def boxes(ax) -> dict[tuple[float, float], str]:
    """The colour of each box, by its middle."""
    found = {}
    for box in shapes(ax, patches.FancyBboxPatch):
        middle = round(box.get_x() + box.get_width() / 2, 2), round(box.get_y() + box.get_height() / 2, 2)
        found[middle] = colors.to_hex(box.get_facecolor()).upper()
    return found


def coloured(ax, colour) -> list:
    return [
        arrow for arrow in shapes(ax, patches.FancyArrowPatch) if colors.to_hex(arrow.get_edgecolor()).upper() == colour
    ]


class TestDiagrams:
    @pytest.mark.parametrize("layers", [1, 3])
    def test_two_chains_that_never_meet(self, layers):
        ax = plots.bilm_diagram(THAI, layers=layers)
        columns = len(THAI) + 2
        assert len(boxes(ax)) == columns * (1 + 2 * layers)
        in_a_chain = (columns - 1) * layers + columns * (layers - 1)
        assert len(coloured(ax, plots.BLUE)) == len(coloured(ax, plots.ORANGE)) == in_a_chain
        assert len(shapes(ax, patches.FancyArrowPatch)) == 2 * in_a_chain + 2 * columns
        assert texts(ax)[-columns:] == ["<S>", *THAI, "</S>"] and not overlaps(ax)

    @pytest.mark.parametrize("highlight", [0, 3])
    def test_each_direction_has_read_its_side(self, highlight):
        ax = plots.bilm_diagram(THAI, highlight=highlight)
        for (x, y), colour in boxes(ax).items():
            place = x - highlight - 1
            if y == max(y for _, y in boxes(ax)):  # the guess
                assert place == 0
                continue
            forward, backward = place % 1 > 0.5, 0 < place % 1 < 0.5
            column = round(place)
            if column < 0 and not backward:
                assert colour == plots.BLUE
            elif column > 0 and not forward:
                assert colour == plots.ORANGE
            else:
                assert colour == "#FFFFFF"
        cross = [line.get_xdata().mean() for line in ax.lines]
        assert cross == [highlight + 1] * 2 and {line.get_color() for line in ax.lines} == {plots.RED}
        assert not overlaps(ax)
        assert (ax.get_title("left"), ax.get_title("right")) == ("→  has read the words before", "those after  ←")

    @pytest.mark.parametrize("highlight", [0, 3])
    def test_the_way_of_the_leak(self, highlight):
        ax = plots.leak_diagram(THAI, highlight)
        red = [middle for middle, colour in boxes(ax).items() if colour == plots.RED]
        column = highlight + 1
        way = [(column - 1.22, 3.9), (column - 0.78, 2.4), (column, 0), (column + 0.22, 2.4)]
        np.testing.assert_allclose(sorted(red), way, atol=1e-9)
        assert len(coloured(ax, plots.RED)) == 4  # up, back, up, and to the guess
        across = 2 * (len(THAI) + 2)  # arrows that the honest network has not
        honest = shapes(plots.bilm_diagram(THAI), patches.FancyArrowPatch)
        assert len(shapes(ax, patches.FancyArrowPatch)) == len(honest) + across + 1
        assert "the answer travels up" in ax.get_title() and not overlaps(ax)

    def test_the_words_fit_their_columns(self):
        words = ["An", "uncharacteristically", "$long$", "antidisestablishmentarianism", "樺"]
        ax = plots.bilm_diagram(words, highlight=1)
        assert not overlaps(ax) and "□" in texts(ax)
        *shown, _ = ax.texts[-6:]
        assert shown[0].get_fontsize() == 20 > shown[1].get_fontsize() > shown[3].get_fontsize()

    def test_into_a_given_axes(self):
        figure, axes = plt.subplots(2, 1, figsize=(12, 10))
        assert plots.bilm_diagram(THAI, highlight=1, ax=axes[0]) is axes[0]
        assert plots.leak_diagram(THAI, 1, ax=axes[1]) is axes[1] and plt.get_fignums() == [figure.number]

    @pytest.mark.parametrize("position", [-1, 4])
    def test_no_such_position(self, position):
        with pytest.raises(ValueError, match=f"positions 0 to 3, not {position}"):
            plots.bilm_diagram(THAI, highlight=position)
        with pytest.raises(ValueError, match=f"positions 0 to 3, not {position}"):
            plots.leak_diagram(THAI, position)
