"""The pictures of how transferable layers are, by what is on their axes; labels that do not overlap."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors, patches
from matplotlib.text import Text

from tlcourse import plots
from tlcourse.transferability import KINDS, Architecture, verdicts

pytestmark = pytest.mark.usefixtures("drawn")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def overlaps(ax) -> bool:
    """Whether two texts of the picture lie on each other."""
    ax.figure.canvas.draw()  # an annotation's own extent has its arrow in it
    boxes = [Text.get_window_extent(text).shrunk(0.98, 0.9) for text in ax.texts if text.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def grid(*, splits=("0", "1"), depths=(1, 2, 3), far=True, network="LSTM", seeds=(0,)) -> pd.DataFrame:
    """A table whose values are told by where they stand: base B is 0.7 and 0.72, AnB falls by 0.1 a layer."""
    rows = []
    for (i, split), seed in product(enumerate(splits), seeds):
        base = 0.7 + 0.02 * i + 0.001 * seed
        cells = [("B", "base", 0, base), ("A", "base", 0, 0.9)]
        for n in depths:
            cells += [("B", "BnB", n, base - 0.01), ("B", "BnB+", n, base + 0.001), ("A", "AnB", n, base - 0.1 * n)]
            cells += [("A", "AnB+", n, base + 0.03 + 0.01 * i), ("none", "random", n, base - 0.2 * n)]
            if far:
                cells += [("far", "AnB", n, base - 0.15 * n), ("far", "AnB+", n, base + 0.002)]
        rows += [(network, split, *cell[:3], seed, cell[3], cell[3] - 0.05, 0.4, 1.0) for cell in cells]
    columns = ["network", "split", "source", "treatment", "n", "seed", "accuracy", "macro_f1", "train_loss", "seconds"]
    return pd.DataFrame(rows, columns=columns)


TABLE = grid()


# ------------------------------------------------------------------------------------------------------------ surgery
class TestSurgery:
    def rows(self, ax) -> list[list[tuple[str, str]]]:
        """Of each row of blocks, from the top, words and colours; the legend's are left out by their size."""
        said = {tuple(np.round(text.get_position(), 2)): text.get_text() for text in ax.texts}
        found: dict[float, list] = {}
        for patch in ax.patches:
            if isinstance(patch, patches.FancyBboxPatch) and patch.get_width() > 1:
                y = round(patch.get_y() + patch.get_height() / 2, 2)
                middle = patch.get_x() + patch.get_width() / 2
                word = next(said[x, at] for x, at in said if at == y and abs(x - middle) < 0.3)
                found.setdefault(y, []).append((word, colors.to_hex(patch.get_facecolor()).upper()))
        return [found[y] for y in sorted(found, reverse=True)]

    def locks(self, ax) -> list[tuple[float, float]]:
        return [patch.get_xy() for patch in ax.patches if type(patch) is patches.Rectangle]

    def test_where_weights_come_from(self):
        rows = self.rows(plots.surgery_blocks(["words", "one", "two"], n=2))
        a, b, fresh, random = ("A", plots.RED), ("B", plots.BLUE), ("fresh", "#FFFFFF"), ("random", "#CCCCCC")
        assert rows[:2] == [[a] * 4, [b] * 4]
        assert rows[2:] == [[kept, kept, fresh, fresh] for kept in (b, b, a, a, random)]

    def test_marks(self):
        ax = plots.surgery_blocks(["words", "one", "two"], n=2)
        assert len(self.locks(ax)) == 3 * 2 + 1  # BnB, AnB and random; and the legend's
        pluses = [line for line in ax.lines if line.get_solid_capstyle() == "butt"]
        assert len(pluses) == 2 * (2 * 2 + 1)
        (cut,) = (line for line in ax.lines if line not in pluses)
        places = {text.get_text(): text.get_position()[0] for text in ax.texts}
        assert places["one"] < cut.get_xdata()[0] == cut.get_xdata()[1] < places["two"]

    def test_rows_and_layers_are_named(self):
        ax = plots.surgery_blocks(Architecture(kind="residual CNN", layers=3), ["base far", "AnB+ from far"], n=3)
        names = ["layer 1", "layer 2", "layer 3", "embedding", "conv", "head", "base far", "A3B+ from far", "far"]
        assert set(names) <= set(texts(ax))
        assert "frozen" not in texts(ax) and "copied, and learns on" in texts(ax)
        assert [word for word, _ in self.rows(ax)[1]] == ["far"] * 3 + ["fresh"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_network(self, kind):
        name = {"LSTM": "LSTM", "transformer": "attention"}.get(kind, "conv")
        ax = plots.surgery_blocks(Architecture(kind=kind, layers=8), ["AnB", "random"], n=8)
        assert texts(ax).count(name) == 7 and not overlaps(ax)

    def test_bases_alone_have_no_cut(self):
        ax = plots.surgery_blocks(["words", "one"], ["base A", "base B"], n=1, legend=False)
        assert len(ax.lines) == 0 and "learned on A" not in texts(ax) and not self.locks(ax)

    def test_all_is_inside_of_small_axes(self):
        names = ["ฝังคำ", "$x$", "樺", "a very long name of a layer"]
        ax = plots.surgery_blocks(names, n=1, ax=plt.subplots(2, 2, figsize=(13, 9))[1][1, 0])
        assert not overlaps(ax)
        inside = ax.get_window_extent().padded(1)
        extents = [text.get_window_extent() for text in ax.texts if text.get_text()]
        assert all(inside.contains(*corner) for extent in extents for corner in (extent.min, extent.max))

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"n=4: the network has layers 1 to 3"):
            plots.surgery_blocks(["a", "b", "c"], n=4)
        with pytest.raises(ValueError, match="no row 'CnB'; they are base far, base A"):
            plots.surgery_blocks(["a", "b"], ["CnB"], n=1)
        with pytest.raises(ValueError, match="no row 'BnB from far'"):
            plots.surgery_blocks(["a", "b"], ["BnB from far"], n=1)
        with pytest.raises(ValueError, match="no row to draw"):
            plots.surgery_blocks(["a", "b"], [], n=1)


# ------------------------------------------------------------------------------------------------------------- curves
def curves(ax) -> dict[str, tuple]:
    """The thick lines by the colour and line of each, with their marked points."""
    lines = [line for line in ax.lines if line.get_linewidth() == 3]
    return {(line.get_color(), line.get_linestyle()): line.get_xydata() for line in lines}


class TestTransferability:
    def test_means_from_base_b_on(self):
        ax = plots.transferability(TABLE)
        lines = curves(ax)
        np.testing.assert_allclose(lines[plots.RED, "-"][:, 1], [0.71, 0.61, 0.51, 0.41])
        np.testing.assert_allclose(lines[plots.PURPLE, "--"][:, 1], [0.71, 0.56, 0.41, 0.26])
        np.testing.assert_allclose(lines[plots.ORANGE, "-"][:, 1], [0.71, 0.745, 0.745, 0.745])
        np.testing.assert_allclose(lines[plots.RED, "-"][:, 0], [0, 1, 2, 3], atol=0.35)
        assert len(lines) == 7 and len({line[1, 0] for line in lines.values()}) == 7  # aside of each other
        assert set(texts(ax)) == {*plots.CURVES, "base B"} and not overlaps(ax)

    def test_every_run_is_a_dot(self):
        ax = plots.transferability(TABLE)
        dots = [line for line in ax.lines if line.get_linestyle() == "None" and line.get_markersize() < 8]
        drawn = np.concatenate([line.get_ydata() for line in dots])
        np.testing.assert_allclose(np.sort(drawn), np.sort(TABLE.query("source != 'A' or n > 0").accuracy))

    def test_base_b_goes_across_in_a_band(self):
        ax = plots.transferability(TABLE)
        assert any(line.get_xdata() == [0, 1] and set(line.get_ydata()) == {0.71} for line in ax.lines)
        (band,) = ax.patches
        half = np.std([0.7, 0.72], ddof=1)
        np.testing.assert_allclose([band.get_y(), band.get_height()], [0.71 - half, 2 * half])

    def test_difference_pairs_splits_and_seeds(self):
        ax = plots.transferability(grid(seeds=(0, 7)), difference=True)
        np.testing.assert_allclose(curves(ax)[plots.RED, "-"][:, 1], [0, -0.1, -0.2, -0.3], atol=1e-12)
        dots = [line for line in ax.lines if line.get_linestyle() == "None" and line.get_color() == plots.RED]
        np.testing.assert_allclose(np.sort(dots[0].get_ydata()), np.repeat([-0.3, -0.2, -0.1], 4))
        assert ax.get_ylabel() == "accuracy less that of base B, points"
        assert ax.yaxis.get_major_formatter()(-0.005, 0) == "−0.5" and ax.yaxis.get_major_formatter()(0, 0) == "0"

    def test_highlight(self):
        ax = plots.transferability(TABLE, highlight=("AnB from far", 2))
        (ring,) = (line for line in ax.lines if line.get_markersize() == 28)
        np.testing.assert_allclose(ring.get_xydata(), [[2, 0.41]], atol=0.3)
        assert ring.get_ydata() == pytest.approx([0.41])
        shown = {line.get_color(): line.get_alpha() for line in ax.lines if line.get_linewidth() == 3}
        assert shown[plots.RED] < 1
        dots = [line for line in ax.lines if line.get_markeredgecolor() == "black" and line.get_markersize() == 9]
        np.testing.assert_allclose(np.sort(dots[0].get_ydata()), [0.4, 0.42])

    def test_without_far_and_one_split_and_depth(self):
        ax = plots.transferability(grid(splits=["ไทย $"], depths=[2], far=False))
        assert set(texts(ax)) == {"base B", "BnB", "BnB+", "AnB", "AnB+", "random"} and not overlaps(ax)
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "2"]
        assert ax.patches[0].get_height() == 0

    def test_without_base_b(self):
        bare = TABLE[TABLE.treatment != "base"]
        ax = plots.transferability(bare)
        np.testing.assert_allclose(curves(ax)[plots.RED, "-"][:, 1], [0.61, 0.51, 0.41])
        with pytest.raises(ValueError, match="split 0, seed 0 has no base B to compare with"):
            plots.transferability(bare, difference=True)

    def test_other_metrics(self):
        assert plots.transferability(TABLE, metric="macro_f1").get_ylabel() == "macro f1 on B"
        ax = plots.transferability(TABLE, metric="train_loss", difference=True)
        assert ax.get_ylabel() == "train loss less that of base B" and ax.yaxis.get_major_formatter()(2, 0) == "+2"

    @settings(max_examples=3, deadline=None)
    @given(st.lists(st.floats(0.3, 0.9), min_size=7, max_size=7), st.booleans())
    def test_names_never_overlap(self, ends, difference):
        table = grid(splits=["0"], depths=[1])
        named = plots.curve_names(table)
        table = table.assign(accuracy=named.map(dict(zip(plots.CURVES, ends, strict=True))).fillna(0.6))
        assert not overlaps(plots.transferability(table, difference=difference))
        plt.close("all")

    def test_into_a_given_axes(self):
        ax = plt.subplots(1, 2, figsize=(16, 5))[1][1]
        assert plots.transferability(TABLE, ax=ax) is ax and not overlaps(ax)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="no column 'split' among network, source"):
            plots.transferability(TABLE.drop(columns="split"))
        with pytest.raises(ValueError, match="no column 'f2'"):
            plots.transferability(TABLE, metric="f2")
        with pytest.raises(ValueError, match="'accuracy' holds no value"):
            plots.transferability(TABLE[:0])
        with pytest.raises(ValueError, match="one network at a time, not LSTM, โครงข่าย"):
            plots.transferability(pd.concat([TABLE, TABLE.assign(network="โครงข่าย")]))
        with pytest.raises(ValueError, match="no treatment 'A3B'; they are base, BnB, "):
            plots.transferability(TABLE.replace({"treatment": {"AnB": "A3B"}}))
        for place in (("AnB", 9), ("AnC", 1)):
            with pytest.raises(ValueError, match=f"no run of {place[0]} at n={place[1]} to mark"):
                plots.transferability(TABLE, highlight=place)


# --------------------------------------------------------------------------------------------------------- prediction
class TestPrediction:
    measured = pd.DataFrame({1: [0.6, 0.7], 2: [0.5, 0.6], 3: [0.4, 0.5]}, index=["0", "1"])

    def test_expected_alone(self):
        ax = plots.prediction({3: 0.3, 1: 0.65}, base=0.7)
        (line,) = (line for line in ax.lines if line.get_linestyle() == "--")
        np.testing.assert_allclose(line.get_xydata(), [[0, 0.7], [1, 0.65], [3, 0.3]])
        assert texts(ax) == ["expected", "base B"] and ax.get_ylim()[0] < 0.3 and not overlaps(ax)

    def test_measured_too(self):
        ax = plots.prediction({1: 0.65, 3: 0.3}, self.measured, base=0.7)
        (line,) = (line for line in ax.lines if line.get_color() == plots.RED and line.get_linewidth() == 4)
        np.testing.assert_allclose(line.get_ydata(), [0.7, 0.65, 0.55, 0.45])
        gaps = [line.get_ydata() for line in ax.lines if line.get_color() == plots.GREY]
        np.testing.assert_allclose(gaps, [[0.65, 0.65], [0.3, 0.45]])
        assert set(texts(ax)) == {"expected", "base B", "measured"} and not overlaps(ax)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="nothing is expected"):
            plots.prediction({}, base=0.7)
        with pytest.raises(ValueError, match="AnB was not measured at n=5"):
            plots.prediction({1: 0.5, 5: 0.5}, self.measured, base=0.7)
        with pytest.raises(ValueError, match="no curve 'base B'; they are BnB"):
            plots.prediction({1: 0.5}, base=0.7, name="base B")


# ----------------------------------------------------------------------------------------------------------- likeness
class TestLikeness:
    matrix = np.array([[1, 0.5, 0.2], [0.4, 0.85, 0.3], [0.1, 0.25, 0.625]])

    def test_all_pairs_and_the_diagonal(self):
        left, right = plots.layer_likeness(self.matrix, ["ฝังคำ", "$x$", "樺"], of=("base A", "ฐาน $B"))
        np.testing.assert_array_equal(left.images[0].get_array(), self.matrix)
        assert texts(left) == ["1.00", ".50", ".20", ".40", ".85", ".30", ".10", ".25", ".62"]
        assert [patch.get_xy() for patch in left.patches] == [(i - 0.5, i - 0.5) for i in range(3)]
        (line,) = right.lines
        np.testing.assert_array_equal(line.get_ydata(), [1, 0.85, 0.625])
        assert [tick.get_text() for tick in left.get_xticklabels()] == ["ฝังคำ", "$x$", "□"]
        assert left.get_xlabel() == "layers of ฐาน $B" and left.get_ylabel() == "layers of base A"
        assert not overlaps(left) and not overlaps(right)

    def test_layers_have_numbers(self):
        axes = plt.subplots(1, 2)[1]
        assert plots.layer_likeness([[0.5]], axes=axes) == list(axes)
        assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["1"]

    @pytest.mark.parametrize("matrix", [np.ones((2, 3)), np.ones(3), np.ones((0, 0))])
    def test_no_square(self, matrix):
        with pytest.raises(ValueError, match=r"is \(N, N\), not \("):
            plots.layer_likeness(matrix)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="2 names for 3 layers"):
            plots.layer_likeness(self.matrix, ["a", "b"])
        for value in (np.nan, 1.5, -0.1):
            with pytest.raises(ValueError, match="from 0 to 1"):
                plots.layer_likeness([[1, value], [0, 1]])


# ----------------------------------------------------------------------------------------------------------- verdicts
class TestObservations:
    def frame(self, *rows) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["network", "observation", "contrast", "mean", "low", "high", "verdict"])

    def test_intervals_by_network(self):
        frame = self.frame(
            ("LSTM", "distance", "one over $other", 0.02, 0.01, 0.03, "holds"),
            ("LSTM", "สัญญาณ", "two", -0.05, -0.06, -0.04, "fails"),
            ("$CNN", "สัญญาณ", "two", 0.001, -0.01, 0.012, "undecided"),
        )
        left, right = plots.observations(frame)
        assert [tick.get_text() for tick in left.get_yticklabels()] == ["distance", "one over $other", "สัญญาณ", "two"]
        bars = [line.get_xydata() for line in left.lines if line.get_linewidth() == 5]
        np.testing.assert_allclose(bars, [[(1, 1), (3, 1)], [(-6, 3), (-4, 3)]])
        assert texts(left) == ["+2.0", "−5.0"] and texts(right) == ["+0.1"]
        assert [text.get_color() for text in left.texts] == [plots.GREEN, plots.RED]
        assert left.get_xlim() == right.get_xlim() and right.get_title() == "$CNN"
        assert [text.get_text() for text in left.get_legend().get_texts()] == ["holds", "undecided", "fails"]

    def test_of_a_table(self):
        found = verdicts(grid(splits=["0", "1", "2"]))
        (ax,) = plots.observations(found)
        assert len(ax.get_yticklabels()) == len(found) + found["observation"].nunique()
        assert texts(ax) == [plots.signed(100 * mean) for mean in found["mean"]] and not overlaps(ax)

    def test_one_split_has_no_interval(self):
        (ax,) = plots.observations(verdicts(grid(splits=["0"], far=False)))
        assert sum(line.get_linestyle() == ":" for line in ax.lines) == 8
        assert not [line for line in ax.lines if line.get_linewidth() == 5]

    def test_bad_input(self):
        row = ("LSTM", "distance", "one", 0.02, 0.01, 0.03, "holds")
        with pytest.raises(ValueError, match="no column 'low'"):
            plots.observations(self.frame(row).drop(columns="low"))
        with pytest.raises(ValueError, match="no verdict to draw"):
            plots.observations(self.frame())
        with pytest.raises(ValueError, match="no verdict 'maybe'; they are holds"):
            plots.observations(self.frame((*row[:-1], "maybe")))
        with pytest.raises(ValueError, match="2 axes for 1 networks"):
            plots.observations(self.frame(row), axes=plt.subplots(1, 2)[1])


def test_signed():
    assert [plots.signed(x) for x in (1.25, -0.31, 0.04, -0.04, 0)] == ["+1.2", "−0.3", "0", "0", "0"]
