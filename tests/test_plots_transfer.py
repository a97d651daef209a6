"""The pictures of what transfer buys, by what is on their axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tlcourse import plots

pytestmark = pytest.mark.usefixtures("drawn")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def overlaps(ax) -> bool:
    """Whether two texts of the picture lie on each other."""
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in ax.texts if text.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


STEPS = [0, 10, 20, 40]
CURVES = pd.DataFrame(
    [
        (name, seed, step, start + 0.01 * seed + gain * step)
        for name, start, gain in [("scratch", 0.5, 0.002), ("fine-tuning", 0.6, 0.005)]
        for seed in (0, 1)
        for step in STEPS
    ],
    columns=["treatment", "seed", "steps", "score"],
)
SUMMARY = pd.DataFrame(
    [("scratch", 0, 0.50, 0.2, 0.58), ("scratch", 1, 0.51, 0.2, 0.59), ("fine-tuning", 0, 0.60, 0.5, 0.80),
     ("fine-tuning", 1, 0.61, 0.5, 0.81)],
    columns=["treatment", "seed", "start", "slope", "asymptote"],
)  # fmt: skip


class TestLearningCurves:
    def test_seeds_and_means(self):
        ax = plots.learning_curves(CURVES)
        thick = [line for line in ax.lines if line.get_linewidth() == 5]
        np.testing.assert_allclose([line.get_ydata() for line in thick], [
            [0.505, 0.525, 0.545, 0.585], [0.605, 0.655, 0.705, 0.805]
        ])  # fmt: skip
        assert len(ax.lines) == 6 and texts(ax) == ["scratch", "fine-tuning"]
        assert [text.get_color() for text in ax.texts] == [line.get_color() for line in thick]

    def test_three_benefits(self):
        ax = plots.learning_curves(CURVES, SUMMARY, rise=20)
        assert {"start\n+0.100", "asymptote\n+0.220", "slope\n+0.30 / 100 steps"} <= set(texts(ax)) and not overlaps(ax)
        arrows = [text for text in ax.texts if text.arrow_patch is not None]
        np.testing.assert_allclose([(text.xyann, text.xy) for text in arrows], [
            [(0, 0.505), (0, 0.605)], [(42, 0.585), (42, 0.805)]
        ])  # fmt: skip
        slopes = [line for line in ax.lines if line.get_color() == plots.RED]
        np.testing.assert_allclose([line.get_ydata() for line in slopes], [[0.605, 0.705], [0.505, 0.545]])

    def test_read_elsewhere(self):
        ax = plots.learning_curves(CURVES, SUMMARY, start=10, rise=20, between=("scratch", "fine-tuning"))
        assert "start\n-0.100" in texts(ax) and next(t for t in ax.texts if t.arrow_patch is not None).xy[0] == 10

    def test_levels_and_names_that_lie_close(self):
        ax = plots.learning_curves(CURVES, levels={"ทายสุ่ม": 0.5, "words": 0.501, "$x$": 0.502})
        assert len(texts(ax)) == 5 and not overlaps(ax)
        assert ax.get_ylim()[0] < 0.5

    def test_into_a_given_axes(self):
        ax = plt.figure(figsize=(9, 5)).add_axes([0.1, 0.15, 0.6, 0.8])
        assert plots.learning_curves(CURVES, SUMMARY, ax=ax) is ax

    def test_bad_input(self):
        with pytest.raises(ValueError, match="no column 'score'"):
            plots.learning_curves(CURVES.drop(columns="score"))
        with pytest.raises(ValueError, match="no column 'slope'"):
            plots.learning_curves(CURVES, SUMMARY.drop(columns="slope"))
        with pytest.raises(ValueError, match="no curve of 'words' among scratch, fine-tuning"):
            plots.learning_curves(CURVES, SUMMARY, between=("words", "scratch"))


class TestSourceBars:
    frame = pd.DataFrame(
        [
            (source, treatment, seed, score + 0.02 * seed)
            for source, treatment, score in [
                ("fresh weights", "frozen", 0.48),
                ("none", "frozen", 0.6),
                ("รีวิวหนัง", "frozen", 0.7),
                ("none", "tuned", 0.65),
            ]
            for seed in (0, 1)
        ],
        columns=["source", "treatment", "seed", "score"],
    )

    def test_bars_from_chance_and_dots(self):
        ax = plots.source_bars(self.frame, chance=0.5)
        ends = {round(bar.get_y() + bar.get_height() / 2, 2): (bar.get_x(), bar.get_width()) for bar in ax.patches}
        np.testing.assert_allclose(ends[0.2], (0.5, -0.01), atol=1e-9)  # below chance, to the left
        np.testing.assert_allclose(ends[2.2], (0.5, 0.21))
        np.testing.assert_allclose(ends[0.8], (0.5, 0.16))
        assert len(ends) == 4 and texts(ax) == ["0.490", "0.610", "0.710", "0.660"] and not overlaps(ax)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["fresh weights", "none", "รีวิวหนัง"]
        dots = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots, [[0.48, 0.5], [0.6, 0.62], [0.7, 0.72], [0.65, 0.67]])
        assert ax.get_xlim()[0] < 0.48 and "chance is 0.50" in ax.get_xlabel()

    def test_legend_names_all_treatments(self):
        legend = plots.source_bars(self.frame, chance=0.5).get_legend()
        assert [text.get_text() for text in legend.get_texts()] == ["frozen", "tuned"]

    def test_bad_input(self):
        with pytest.raises(ValueError, match="no column 'source'"):
            plots.source_bars(self.frame.drop(columns="source"), chance=0.5)
