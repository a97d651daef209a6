"""The pictures of the course: each function takes data, draws on an ``Axes`` and returns it.

:func:`use_course_style` is called once a notebook; it makes figures readable from the back row and gives
matplotlib a font that draws Thai.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes

# Okabe and Ito's colours: they stay apart for colour-blind readers and on a weak projector
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
CYCLE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY]
GREY = "#8a8a8a"
MARKERS = "os^Dv"


def thai_font() -> Path:
    """The font file that draws Thai: Noto Sans Thai, from the package ``fontpkg-noto-sans-thai``.

    Raises:
        ModuleNotFoundError: the package is not installed.
        FileNotFoundError: it holds no font.
    """
    folder = Path(str(resources.files("fontpkg_noto_sans_thai")))
    fonts = sorted(path for path in folder.rglob("*") if path.suffix in (".ttf", ".otf"))
    if not fonts:
        raise FileNotFoundError(f"no font in {folder}; pip install --force-reinstall fontpkg-noto-sans-thai")
    return fonts[0]


def use_course_style() -> str:
    """Large type, thin frames, a colour-blind palette, and Thai letters beside Latin ones.

    Returns:
        The name of the Thai font in use.
    """
    path = thai_font()
    font_manager.fontManager.addfont(str(path))
    name = font_manager.FontProperties(fname=str(path)).get_name()
    mpl.rcParams.update(
        {
            "font.family": [name, "DejaVu Sans"],  # matplotlib falls back letter by letter
            "font.size": 13,
            "axes.titlesize": 15,
            "axes.prop_cycle": mpl.cycler(color=CYCLE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "axes.axisbelow": True,
            "lines.linewidth": 2.5,
            "figure.figsize": (9, 4.5),
            "figure.dpi": 100,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
        }
    )
    return name


def _axes(ax: Axes | None) -> Axes:
    return ax if ax is not None else plt.subplots()[1]


def class_counts(counts: pd.Series, *, ax: Axes | None = None) -> Axes:
    """How many texts each class has: a horizontal bar a class, the largest on top."""
    ax = _axes(ax)
    counts = counts.sort_values()
    bars = ax.barh([str(name) for name in counts.index], counts.to_numpy(), color=BLUE)
    ax.bar_label(bars, fmt="{:,.0f}", padding=4)
    ax.set(xlabel="texts", xlim=(0, counts.max() * 1.15))
    ax.grid(axis="y", visible=False)
    return ax


def schedule(curves: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Learning rates over the steps of a training, a line a schedule."""
    ax = _axes(ax)
    for name, rates in curves.items():
        ax.plot(np.arange(len(rates)), rates, label=name)
    ax.set(xlabel="step t", ylabel="learning rate", ylim=(0, None))
    if len(curves) > 1:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # beside the lines, not on them
    return ax


def layer_rates(rates: Mapping[str, Mapping[str, float]], *, ax: Axes | None = None) -> Axes:
    """The learning rate of each layer, logarithmic, input layer on the left; a line a rule."""
    ax = _axes(ax)
    for (rule, by_layer), marker in zip(rates.items(), cycle(MARKERS), strict=False):
        ax.plot(list(by_layer), list(by_layer.values()), marker=marker, markersize=9, label=rule)
    ax.set(yscale="log", ylabel="learning rate", xlabel="near the input  →  near the output")
    ax.legend(frameon=False)
    return ax


def unfreezing(
    trainable: Sequence[int], layers: Sequence[str], *, now: int | None = None, ax: Axes | None = None
) -> Axes:
    """Which layers train in which epoch: coloured squares train, grey ones are frozen.

    Args:
        trainable: for each epoch, how many layers from the top train.
        layers: names, the layer nearest the input first.
        now: an epoch to frame.
    """
    ax = _axes(ax)
    grid = np.array([[layer >= len(layers) - k for k in trainable] for layer in range(len(layers))])
    ax.imshow(
        grid,
        cmap=mpl.colors.ListedColormap(["#dddddd", ORANGE]),
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
    )
    ax.set_xticks(range(len(trainable)), [str(e + 1) for e in range(len(trainable))])
    ax.set_yticks(range(len(layers)), layers)
    ax.set_xticks(np.arange(len(trainable) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(layers) + 1) - 0.5, minor=True)
    ax.grid(visible=False)
    ax.grid(which="minor", color="white", linewidth=4)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    if now is not None:
        ax.add_patch(
            plt.Rectangle((now - 0.5, -0.5), 1, len(layers), fill=False, edgecolor="black", linewidth=3)
        )
    ax.set(xlabel="epoch")
    return ax


def history(frame: pd.DataFrame, columns: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Figures of a training by epoch; where the stage changes, a grey line."""
    ax = _axes(ax)
    epochs = np.arange(1, len(frame) + 1)
    for column in columns:
        ax.plot(epochs, frame[column], marker="o", label=column.replace("_", " "))
    if "stage" in frame:
        stage = frame["stage"].to_numpy()
        for boundary in np.flatnonzero(stage[1:] != stage[:-1]):
            ax.axvline(boundary + 1.5, color=GREY, linewidth=1, linestyle=":")
    ax.set(xlabel="epoch")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return ax


def scores(
    frame: pd.DataFrame,
    *,
    name: str,
    score: str,
    xlabel: str | None = None,
    highlight: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One row a method: every run a small dot, the mean a large one, with its value; the highest mean on top.

    Dots and no bars: a bar has to begin at zero, and differences that matter would be too small to see.

    Args:
        frame: one row a run, with the columns ``name`` and ``score``.
        highlight: the method to colour.
    """
    ax = _axes(ax)
    means = frame.groupby(name, observed=True)[score].mean().sort_values()
    for row, (method, mean) in enumerate(means.items()):
        runs = frame.loc[frame[name] == method, score]
        colour = ORANGE if method == highlight else BLUE
        ax.plot(mean, row, "o", color=colour, markersize=15)
        ax.plot(runs, np.full(len(runs), row), "o", color="black", markersize=4, alpha=0.7)
        beside_all = max(mean, runs.max()), row
        ax.annotate(f"{mean:.3g}", beside_all, xytext=(12, 0), textcoords="offset points", va="center")
    ax.margins(x=0.18, y=0.5 / max(len(means), 1))
    ax.set(xlabel=xlabel or score.replace("_", " "))
    ax.set_yticks(range(len(means)), [str(method) for method in means.index])
    return ax


def label_curve(frame: pd.DataFrame, *, score: str, ax: Axes | None = None) -> Axes:
    """A score against the number of labels: a line a method, its band one standard deviation over the seeds.

    Args:
        frame: one row a run, with the columns ``method``, ``labels``, ``seed`` and ``score``.
    """
    ax = _axes(ax)
    by_method = frame.groupby("method", observed=True, sort=False)
    for (method, runs), marker in zip(by_method, cycle(MARKERS), strict=False):
        by_size = runs.groupby("labels")[score].agg(["mean", "std"]).fillna(0)
        (line,) = ax.plot(by_size.index, by_size["mean"], marker=marker, markersize=8, label=method)
        ax.fill_between(
            by_size.index,
            by_size["mean"] - by_size["std"],
            by_size["mean"] + by_size["std"],
            color=line.get_color(),
            alpha=0.2,
            linewidth=0,
        )
    sizes = sorted(frame["labels"].unique())
    ax.set(xscale="log", xlabel="labelled texts", ylabel=score.replace("_", " "))
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.legend(frameon=False)
    return ax


def confusion(matrix: np.ndarray, names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """A confusion matrix, each row normalised to the true class; counts are written in the cells.

    Args:
        matrix: (classes, classes) counts, rows true, columns predicted.
        names: of the classes.

    Raises:
        ValueError: there are not as many names as classes.
    """
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} names for a matrix of {' by '.join(map(str, matrix.shape))} classes")
    if ax is None:
        ax = plt.subplots(figsize=(9, 7.5))[1]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            ax.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                color="white" if share[row, column] > 0.5 else "black",
                fontsize=12,
            )
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return ax


def layer_change(moves: Mapping[str, Mapping[str, float]], *, ax: Axes | None = None) -> Axes:
    """How far each layer moved in fine-tuning, relative to its size; bars side by side, a colour a recipe."""
    ax = _axes(ax)
    layers = list(next(iter(moves.values())))
    width = 0.8 / len(moves)
    for i, (recipe, moved) in enumerate(moves.items()):
        ax.bar(
            np.arange(len(layers)) + (i - (len(moves) - 1) / 2) * width,
            [moved[layer] for layer in layers],
            width * 0.92,
            label=recipe,
        )
    ax.set_xticks(range(len(layers)), layers)
    ax.set(ylabel="relative change of the weights", xlabel="near the input  →  near the output")
    ax.grid(axis="x", visible=False)
    ax.legend(frameon=False)
    return ax


def drop_masks(weights: np.ndarray, kept: np.ndarray, activations: np.ndarray) -> list[Axes]:
    """DropConnect beside dropout: single weights of a matrix set to zero, or whole activations over all times.

    Args:
        weights: the matrix before, (out, in).
        kept: the same after DropConnect, (out, in).
        activations: after variational dropout, (time, dim).

    Returns:
        The three axes.
    """
    _, axes = plt.subplots(1, 3, figsize=(12, 4))
    titles = ["hidden-to-hidden weights", "after DropConnect", "activations after\nvariational dropout"]
    for ax, values, title in zip(axes, [weights, kept, activations], titles, strict=True):
        limit = np.abs(values).max() or 1
        shown = np.where(values == 0, np.nan, values)
        ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        ax.set_facecolor("#222222")  # what was dropped is dark
        ax.set_title(title)
        ax.grid(visible=False)
        ax.set_xticks([])
        ax.set_yticks([])
    axes[2].set(xlabel="dimension", ylabel="time")
    return list(axes)
