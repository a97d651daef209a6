"""The pictures of the course: each function takes data, draws on an ``Axes`` and returns it.

:func:`use_course_style` is called once a notebook; it makes figures readable from the back row and gives
matplotlib a font that draws Thai.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import resources
from itertools import cycle, pairwise, product
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import font_manager, patches, patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.optimize import isotonic_regression
from scipy.special import betaincinv

from tlcourse.data.frames import need

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
        ax.add_patch(plt.Rectangle((now - 0.5, -0.5), 1, len(layers), fill=False, edgecolor="black", linewidth=3))
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


# ------------------------------------------------------------------------------------------------- pretraining
def drawable(text: str) -> str:
    """The text with a box for each letter that no font in use has: real text holds words of every script."""
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in mpl.rcParams["font.family"]]
    return "".join(c if any(font.get_char_index(ord(c)) for font in fonts) else "□" for c in text)


def word_bars(
    values: pd.Series,
    *,
    xlabel: str,
    fmt: str = "{:.1%}",
    grey: Collection[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """A number for each word, as a horizontal bar: the probabilities of the next word, the cosines of neighbours.

    Args:
        values: by word, the word of the top bar first.
        fmt: how the number beside a bar is written.
        grey: words whose bars are grey, such as the special tokens.
    """
    ax = _axes(ax)
    words, values = [str(word) for word in values.index], values.to_numpy()
    rows = np.arange(len(words))
    bars = ax.barh(rows, values, color=[GREY if word in grey else BLUE for word in words])
    ax.bar_label(bars, fmt=fmt, padding=4, fontsize=14)
    ax.set_yticks(rows, map(drawable, words), fontsize=17, parse_math=False)  # a word may be $$
    ax.invert_yaxis()
    ax.set(xlabel=xlabel, xlim=(values.min(initial=0) * 1.2, values.max(initial=1e-9) * 1.2))
    ax.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter(fmt.replace("{:", "{x:")))
    ax.grid(axis="y", visible=False)
    return ax


def language_model_curves(frame: pd.DataFrame, *, against: str = "tokens", ax: Axes | None = None) -> Axes:
    """Perplexity, on a logarithmic axis, as a language model learns: a line a method, its last value in the legend.

    Args:
        frame: one row a measurement, with the columns ``method``, ``perplexity``, ``tokens`` (read so far) and
            ``seconds`` (trained so far).
        against: the column of the horizontal axis, ``tokens`` or ``seconds``; two pictures side by side show
            that a method may win the one race and lose the other.

    Raises:
        ValueError: ``against`` is another column.
    """
    if against not in ("tokens", "seconds"):
        raise ValueError(f"curves go against tokens or seconds, not {against!r}")
    ax = _axes(ax)
    minutes = against == "seconds" and frame["seconds"].max() > 600
    by_method = frame.groupby("method", observed=True, sort=False)
    for (method, rows), marker in zip(by_method, cycle(MARKERS), strict=False):
        rows = rows.sort_values(against)
        x, y = rows[against].to_numpy() / (60 if minutes else 1), rows["perplexity"].to_numpy()
        ax.plot(
            x, y, marker=marker, markersize=8, label=f"{method}: {short(y[-1])}"
        )  # beside the points they would overlap
    ax.set(yscale="log", ylabel="validation perplexity")
    perplexity_ticks(ax.yaxis, frame["perplexity"])
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=" "))
    ax.set(xlabel={"tokens": "tokens read"}.get(against, f"{'minutes' if minutes else 'seconds'} of training"))
    ax.set_xlim(0, None)
    ax.legend(frameon=False)
    return ax


def perplexity_ticks(axis: mpl.axis.Axis, values: np.ndarray | pd.Series) -> None:
    """Ticks of a logarithmic axis for these perplexities."""
    wide = np.max(values) > 4 * np.min(values)  # else powers of ten would be too far apart
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)) if wide else mpl.ticker.MaxNLocator(6))
    axis.set_minor_locator(mpl.ticker.NullLocator())
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A number in about three digits: 0.0625, 54.5, 1,355."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def perplexity_by_frequency(frame: pd.DataFrame, *, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """How hard words are to predict, by how frequent they are; beside it, how much of the text they make up.

    Bars of perplexity begin at 1, that of a model which is always sure and right; on the logarithmic axis their
    length is the cross-entropy.

    Args:
        frame: one row a band, the most frequent first, with the columns ``band`` (a name), ``perplexity`` and
            ``share`` (of the tokens, 0 to 1); with a column ``method`` too, the bars of a band stand together.
        axes: two, for the perplexities and for the shares.

    Returns:
        The two axes.
    """
    if axes is None:
        axes = plt.subplots(1, 2, figsize=(13, 5), sharey=True, gridspec_kw={"width_ratios": [3, 2]})[1]
    left, right = axes
    bands = list(dict.fromkeys(frame["band"]))
    methods = [(None, frame)]
    if "method" in frame:
        methods = list(frame.groupby("method", observed=True, sort=False))
    height = 0.8 / len(methods)
    for i, (method, of_method) in enumerate(methods):
        of_method = of_method.set_index("band")["perplexity"].reindex(bands)
        rows = np.arange(len(bands)) + (i - (len(methods) - 1) / 2) * height
        bars = left.barh(rows, of_method, height * 0.92, label=method, color=CYCLE[i % len(CYCLE)])
        left.bar_label(bars, [f"{p:,.0f}" if p >= 10 else f"{p:.2g}" for p in of_method], padding=4)
    share = frame.drop_duplicates("band").set_index("band")["share"]
    bars = right.barh(np.arange(len(bands)), share, 0.8, color=GREY)
    right.bar_label(bars, fmt="{:.1%}", padding=4)
    left.set(xscale="log", xlabel="perplexity", xlim=(1, frame["perplexity"].max() ** 1.15))
    left.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    right.set(xlabel="share of the tokens", xlim=(0, share.max() * 1.25))
    right.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    left.set_yticks(np.arange(len(bands)), [str(band) for band in bands])
    left.set_ylim(len(bands) - 0.5, -0.5)  # the most frequent on top
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    if len(methods) > 1:
        left.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(methods))
    return [left, right]


def zipf(counts: pd.Series, *, sizes: Sequence[int] = (10_000, 30_000, 60_000), ax: Axes | None = None) -> Axes:
    """Rank and frequency of words, both logarithmic, and how much of the text a vocabulary of some size covers.

    Zipf's law (1935) says that the frequency falls as 1 / rank: the dashed line, for a text as long. The words at
    ranks 1, 10, 100, … are written beside the curve.

    Args:
        counts: how often each word occurs, by word, in any order: all words, also those that a vocabulary leaves
            out.
        sizes: of vocabularies; those that would hold every word are not drawn.
    """
    ax = _axes(ax)
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    ranks = np.arange(1, len(counts) + 1)
    covered = counts.to_numpy().cumsum() / counts.sum()
    drawn = np.unique(np.geomspace(1, len(counts), 400).astype(int)) - 1  # a point for each word would be too many
    ax.plot(ranks[drawn], counts.iloc[drawn], linewidth=4)
    by_law = counts.sum() / (1 / ranks).sum() / ranks
    ax.plot(ranks[drawn], by_law[drawn], color=GREY, linestyle="--", label="1 / rank")
    for rank in 10 ** np.arange(int(np.log10(len(counts))) + 1):
        ax.plot(rank, counts.iloc[rank - 1], "o", color=BLUE, markersize=9)
        ax.annotate(
            drawable(str(counts.index[rank - 1])),
            (rank, counts.iloc[rank - 1]),
            xytext=(6, 11),
            textcoords="offset points",
            fontsize=17,
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )
    for size, colour in zip((size for size in sizes if size < len(counts)), cycle(CYCLE[1:]), strict=False):
        ax.axvline(size, color=colour, linewidth=2)
        ax.annotate(
            f"{size:,} words: {covered[size - 1]:.1%}",
            (size, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, -4),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
        )
    ax.set(xscale="log", yscale="log", xlabel="rank of the word", ylabel="occurrences")
    ax.set(xlim=(0.7, len(counts) * 3), ylim=(0.5, counts.iloc[0] * 4))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    ax.legend(frameon=False, loc="lower left")
    return ax


def training_time(speeds: Mapping[str, float], *, tokens: float, ax: Axes | None = None) -> Axes:
    """How long reading a corpus takes at measured speeds, on a logarithmic axis, the fastest on top.

    Args:
        speeds: tokens per second, by where and how they were measured.
        tokens: to be read, all epochs together.

    Raises:
        ValueError: a speed is not positive.
    """
    if slow := [name for name, speed in speeds.items() if not speed > 0]:
        raise ValueError(f"a speed is a positive number of tokens per second; look at {', '.join(slow)}")
    ax = _axes(ax)
    ways = sorted(speeds, key=speeds.__getitem__)
    seconds = np.array([tokens / speeds[way] for way in ways])
    ax.plot(seconds, range(len(ways)), "o", color=BLUE, markersize=15)
    for row, time in enumerate(seconds):
        beside = {"xytext": (14, 0), "textcoords": "offset points", "va": "center", "fontsize": 17}
        ax.annotate(duration(time), (time, row), **beside)
    ax.set(xscale="log", xlim=(seconds.min() / 3, seconds.max() * 8), ylim=(-0.6, len(ways) - 0.4))
    ax.set(xlabel=f"time for {mpl.ticker.EngFormatter(sep=' ')(tokens)} tokens")
    low, high = ax.get_xlim()
    ticks = [t for t in (1, 10, 60, 600, 3600, 21_600, 86_400, 864_000, 8_640_000) if low <= t <= high]
    ax.set_xticks(ticks, [duration(t) for t in ticks])
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.set_yticks(range(len(ways)), [f"{way}\n{speeds[way]:,.0f} tokens/s" for way in ways])
    return ax


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has one: 90 s is 1.5 min, 100 h are 4.2 d."""
    unit, size = next(((u, n) for u, n in (("d", 86_400), ("h", 3600), ("min", 60)) if seconds >= n), ("s", 1))
    amount = seconds / size
    return f"{amount:,.0f} {unit}" if amount >= 10 else f"{amount:.2g} {unit}"


def connection_dropout(
    masks: Mapping[str, tuple[np.ndarray, np.ndarray]], *, steps: Sequence[int] = (0,)
) -> np.ndarray:
    """Dropout and DropConnect between the hidden states of two time steps, drawn: a column a kind, a row a step.

    Units that are dropped are hollow, connections that carry nothing are faint and dotted.

    Args:
        masks: by kind, which units (T, D) and which weights (T, D_to, D_from) each step keeps, true for kept; see
            :func:`tlcourse.widgets.pretraining.connection_masks`.
        steps: the time steps to draw.

    Returns:
        The axes, (steps, kinds).
    """
    figure = plt.figure(figsize=(4.4 * len(masks), 4.2 * len(steps)))
    axes = figure.subplots(len(steps), len(masks), squeeze=False)
    for row, step in zip(axes, steps, strict=True):
        for ax, (kind, (units, weights)) in zip(row, masks.items(), strict=True):
            _connections(units[step], weights[step], ax)
            ax.set_title(f"{kind}, step {step + 1}")
            dropped = [f"{(~kept[step]).sum()} of {kept[step].size}" for kept in (units, weights)]
            ax.set_xlabel(f"dropped: {dropped[0]} units,\n{dropped[1]} weights")
    return axes


def _connections(units: np.ndarray, weights: np.ndarray, ax: Axes) -> None:
    """Draw units (D,) on the left, all their connections (D, D) to the units on the right; false is dropped."""
    height = np.arange(len(units))[::-1]
    for (to, source), kept in np.ndenumerate(weights & units):
        style = {"color": BLUE, "linewidth": 2} if kept else {"color": "#b0b0b0", "linewidth": 1.5, "linestyle": ":"}
        ax.plot([0, 1], [height[source], height[to]], zorder=1 + kept, **style)
    for x, kept in ((0, units), (1, np.ones_like(units))):
        ax.scatter(
            np.full(len(units), x),
            height,
            s=420,
            zorder=3,
            color=[ORANGE if k else "white" for k in kept],
            edgecolors=["black" if k else GREY for k in kept],
            linewidths=2,
        )
    ax.set_xticks([0, 1], ["$h_{t-1}$", "$h_t$"], fontsize=18)
    ax.set(yticks=[], xlim=(-0.15, 1.15), ylim=(-0.5, len(units) - 0.5))
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


# ------------------------------------------------------------------------------------------------ word vectors
def word_map(
    points: pd.DataFrame,
    *,
    tails: np.ndarray | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Words in the plane. Where there is no room for all their labels, the words that come first keep theirs.

    Args:
        points: one row a word, the most frequent first, with the columns ``word``, ``x``, ``y`` and, for colours,
            ``group``.
        tails: where the words were before, (steps, N, 2), the oldest first: drawn as faint lines.
        limits: of x and of y, for maps that are to be compared; see :func:`map_limits`.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(10, 7))[1]
    _map_points(points, ax, tails=tails, limits=limits)
    _label(points, ax)
    return ax


def training_map(
    frames: Mapping[str, pd.DataFrame],
    *,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    columns: int = 3,
) -> list[Axes]:
    """The map of the same words at chosen steps of a training, side by side, all on one scale.

    Args:
        frames: by the name of the step, what :func:`word_map` takes.
        limits: of x and of y; without them those of all points.
        columns: maps in a row.

    Returns:
        The axes of the maps.
    """
    if limits is None:
        limits = map_limits(np.stack([frame[["x", "y"]].to_numpy() for frame in frames.values()]))
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    axes = plt.figure(figsize=(5.2 * columns, 4.8 * rows)).subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, frame) in zip(axes, frames.items(), strict=False):
        _map_points(frame, ax, limits=limits, legend=ax is axes[columns - 1])
        ax.set_title(name)
    for ax in axes[len(frames) :]:
        ax.remove()
    for ax, frame in zip(axes, frames.values(), strict=False):  # once all stand where they stay
        _label(frame, ax, fontsize=13)
    return list(axes[: len(frames)])


def map_limits(points: np.ndarray, *, room: float = 0.12) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of x and y that hold all points (..., 2), and are no narrow strip.

    Args:
        room: for labels, on each side, as a share of the longer one.
    """
    points = np.reshape(points, (-1, 2))
    low, high = points.min(axis=0), points.max(axis=0)
    longer = max(*(high - low), 1e-9)
    half = np.maximum(high - low, 0.65 * longer) / 2 + room * longer
    (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
    return (float(left), float(right)), (float(bottom), float(top))


def _map_points(
    points: pd.DataFrame,
    ax: Axes,
    *,
    tails: np.ndarray | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    legend: bool = True,
) -> None:
    """The points of a map, in the colours of their groups, and their tails."""
    xy = points[["x", "y"]].to_numpy()  # (N, 2)
    groups = points["group"].to_numpy() if "group" in points else np.full(len(points), "")
    names = list(dict.fromkeys(groups))
    for i, name in enumerate(names):
        colour, marker, mine = CYCLE[i % len(CYCLE)], MARKERS[i // len(CYCLE) % len(MARKERS)], groups == name
        ax.scatter(*xy[mine].T, s=70, color=colour, marker=marker, edgecolors="white", label=str(name), zorder=3)
        if tails is not None:
            way = np.concatenate([tails[:, mine], xy[None, mine]])  # (steps + 1, N, 2)
            ax.plot(way[..., 0], way[..., 1], color=colour, alpha=0.35, linewidth=1.5, zorder=2)
    if limits is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    elif len(points):
        x, y = map_limits(xy if tails is None else np.concatenate([*tails, xy]))
        ax.set(xlim=x, ylim=y)
    _without_scale(ax)
    if legend and len(names) > 1:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _without_scale(ax: Axes) -> None:
    """The axes of a projection mean nothing by themselves; only distances do, so both have one scale."""
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color="#cccccc")


_PLACES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]  # right of a point, left, above, …


def _label(
    points: pd.DataFrame, ax: Axes, *, fontsize: float = 15, radius: float = 4.5, avoid: np.ndarray | None = None
) -> None:
    """Write each word beside its point where it covers neither a label, a point nor the frame, or not at all.

    The layout of the figure has to be final but for the labels, which take no part in it.

    Args:
        radius: of the points, in typographic points.
        avoid: other places to leave free, (M, 2).
    """
    ax.figure.draw_without_rendering()
    radius *= ax.figure.dpi / 72  # pixels, as all that follows
    at = ax.transData.transform(points[["x", "y"]].to_numpy())  # (N, 2)
    frame = ax.get_window_extent()
    occupied = at if avoid is None else np.concatenate([at, ax.transData.transform(avoid)])
    taken = list(np.concatenate([occupied - 0.9 * radius, occupied + 0.9 * radius], axis=1))  # low x, y, high x, y
    for point, word, xy in zip(at, points["word"], points[["x", "y"]].to_numpy(), strict=True):
        label = ax.annotate(
            drawable(str(word)),
            xy,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            parse_math=False,
            path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
            zorder=4,
        )
        label.set_in_layout(False)
        size = label.get_window_extent().size
        for direction in _PLACES:
            offset = np.array(direction) * (size / 2 + 1.6 * radius / np.linalg.norm(direction))
            low, high = point + offset - size / 2 - 1, point + offset + size / 2 + 1
            inside = (low >= frame.min).all() and (high <= frame.max).all()
            if inside and not any(_overlap(low, high, box) for box in taken):
                label.set_position(offset * 72 / ax.figure.dpi)
                taken.append(np.concatenate([low, high]))
                break
        else:
            label.remove()


def _overlap(low: np.ndarray, high: np.ndarray, box: np.ndarray) -> bool:
    return bool((low < box[2:]).all() and (high > box[:2]).all())


def parallelogram(points: pd.DataFrame, *, target: Sequence[float], ax: Axes | None = None) -> Axes:
    """An analogy in the plane: a to b as c to the answer, and the point that b - a + c hits.

    Args:
        points: the four words a, b, c and the answer, in this order, with the columns ``word``, ``x`` and ``y``.
        target: where b - a + c lies, (2,).
    """
    ax = ax if ax is not None else plt.subplots(figsize=(6.5, 5.5))[1]
    xy = points[["x", "y"]].to_numpy()
    ax.scatter(*xy.T, s=90, color=[BLUE, BLUE, BLUE, ORANGE], zorder=3)
    ax.scatter(*target, s=260, facecolors="none", edgecolors=ORANGE, linewidths=2.5, zorder=3, label="b − a + c")
    for start, end, style in ((xy[0], xy[1], "-"), (xy[2], target, "--")):
        arrow = {"arrowstyle": "-|>", "linewidth": 2.5, "color": GREY, "linestyle": style, "shrinkA": 6, "shrinkB": 8}
        ax.annotate("", end, xytext=start, arrowprops=arrow)
    x, y = map_limits(np.vstack([xy, target]), room=0.25)
    ax.set(xlim=x, ylim=y)
    _without_scale(ax)
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), markerscale=0.7)
    along = np.linspace(0, 1, 30)[:, None]
    arrows = np.concatenate([xy[0] + along * (xy[1] - xy[0]), xy[2] + along * (target - xy[2])])
    _label(points, ax, fontsize=17, radius=6, avoid=arrows)
    return ax


def one_hot_to_dense(
    words: Sequence[str], vectors: np.ndarray, *, axes: Sequence[Axes] | None = None
) -> tuple[Axes, Axes]:
    """The same words as one-hot vectors and as dense ones: a row a word, red positive, blue negative.

    Args:
        vectors: (N, D), the words' rows.
        axes: two, for one-hot and dense.

    Raises:
        ValueError: there are not as many words as rows.
    """
    if len(words) != len(vectors):
        raise ValueError(f"{len(words)} words for {len(vectors)} rows of vectors")
    if axes is None:
        axes = plt.subplots(1, 2, figsize=(13, 0.45 * len(words) + 1.6), sharey=True)[1]
    one_hot, dense = axes
    limit = np.abs(vectors).max(initial=1e-9)
    for ax, matrix, bound in ((one_hot, np.eye(len(words)), 1), (dense, vectors, limit)):
        ax.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
        ax.grid(visible=False)
        ax.set_xticks([])
        ax.tick_params(length=0)
    one_hot.set_yticks(range(len(words)), map(drawable, words), fontsize=16, parse_math=False)
    one_hot.set(title="one-hot", xlabel=f"{len(words)} words, {len(words)} dimensions\nevery cosine is 0")
    dense.set(title="dense", xlabel=f"{vectors.shape[1]} dimensions\nfor any number of words")
    return one_hot, dense


def context_window(
    tokens: Sequence[str], centre: int, probabilities: Sequence[float], *, ax: Axes | None = None
) -> Axes:
    """A sentence, its centre word, and how likely each word around it is a context word of a dynamic window.

    Args:
        centre: position of the centre word.
        probabilities: for each token, 0 for those that no window reaches and for the centre.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(max(6.0, 1.1 * len(tokens)), 3))[1]
    bars = ax.bar(range(len(tokens)), probabilities, color=BLUE, width=0.7)
    ax.bar_label(bars, [f"{p:.0%}" if p else "" for p in probabilities], padding=3, fontsize=13)
    ax.bar(centre, 1, color=ORANGE, width=0.7)
    ax.annotate("centre", (centre, 0.5), rotation=90, ha="center", va="center", fontsize=14)
    slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len("".join(tokens)) > 60 else {}
    ax.set_xticks(range(len(tokens)), map(drawable, tokens), fontsize=16, parse_math=False, **slanted)
    ax.tick_params(axis="x", length=0)
    ax.set(ylim=(0, 1.2), ylabel="in the window")
    ax.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    ax.grid(axis="x", visible=False)
    return ax


def noise_distribution(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How often words occur and how often they are drawn as noise, for a handful of words, logarithmic.

    Args:
        frame: one row a word, the most frequent first, with the columns ``word``, ``frequency`` and ``noise``
            (shares, 0 to 1).
    """
    ax = _axes(ax)
    rows = np.arange(len(frame))
    pairs = frame[["frequency", "noise"]].to_numpy()
    ax.hlines(rows, pairs.min(axis=1), pairs.max(axis=1), color=GREY, linewidth=3)
    ax.plot(frame["frequency"], rows, "o", color=BLUE, markersize=13, label="share of the text")
    ax.plot(frame["noise"], rows, "D", color=ORANGE, markersize=11, label="share of the noise")
    ax.set_yticks(rows, map(drawable, frame["word"]), fontsize=16, parse_math=False)
    ax.set(xscale="log", ylim=(len(frame) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    ax.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5) if pairs.max() < 100 * pairs.min() else (1,)))
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    ax.grid(axis="y", visible=False)
    return ax


def sense_curve(frame: pd.DataFrame, *, score: str, chance: float | None = None, ax: Axes | None = None) -> Axes:
    """How well the layers of an encoder tell the senses of a word apart: the mean thick, each word faint.

    Args:
        frame: one row a word and layer, with the columns ``word``, ``layer`` and ``score``.
        score: the column of the vertical axis, an accuracy or a margin.
        chance: where to draw a dashed line.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(10, 5.5))[1]
    by_word = frame.pivot(index="layer", columns="word", values=score)
    ax.plot(by_word.index, by_word, color=SKY, linewidth=1.5, alpha=0.7)
    ax.plot(by_word.index, by_word.mean(axis=1), color=BLUE, linewidth=5, marker="o", markersize=10, label="mean")
    if chance is not None:
        ax.axhline(chance, color=GREY, linestyle="--", label="chance")
    ax.set(xlabel="layer", ylabel=score.replace("_", " "))
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ends = by_word.ffill().iloc[-1].sort_values()
    bottom, top = ax.get_ylim()
    heights = _spread(ends.to_numpy(), gap=0.07 * (top - bottom))
    heights -= max(heights.max() - top, 0)
    for (word, end), height in zip(ends.items(), heights, strict=True):
        ax.annotate(
            drawable(str(word)),
            (by_word.index[-1], end),
            xytext=(1.03, height),
            textcoords=ax.get_yaxis_transform(),
            va="center",
            fontsize=14,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": SKY, "linewidth": 1, "relpos": (0, 0.5)},
        )
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def _spread(values: np.ndarray, *, gap: float) -> np.ndarray:
    """Rising values moved until neighbours are a gap apart, and no further; their mean stays."""
    steps = gap * np.arange(len(values))
    return isotonic_regression(values - steps).x + steps


def sense_map(
    points: np.ndarray, senses: Sequence[str], *, labels: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """The vectors of one word in its sentences, in the plane, a colour and a marker a sense.

    Args:
        points: (N, 2).
        senses: of the word in each of the N sentences.
        labels: short names of the sentences.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(8, 6))[1]
    senses = np.array([str(sense) for sense in senses])
    for i, sense in enumerate(dict.fromkeys(senses.tolist())):
        style = {"color": CYCLE[i % len(CYCLE)], "marker": MARKERS[i % len(MARKERS)]}
        ax.scatter(*points[senses == sense].T, s=190, edgecolors="white", label=drawable(sense), zorder=3, **style)
    (left, right), (bottom, top) = map_limits(points)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    _without_scale(ax)
    if len(set(senses)) < len(senses):  # or each colour stands for one sentence, and its label says which
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=14, handletextpad=0.2)
    if labels is not None:
        _label(pd.DataFrame({"word": labels, "x": points[:, 0], "y": points[:, 1]}), ax, fontsize=16, radius=7)
    return ax


def cosine_matrix(
    matrix: np.ndarray, labels: Sequence[str], groups: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Cosines of vectors with each other as a heat map; a line stands where one group ends and the next begins.

    The shades reach from the least cosine to the greatest off the diagonal, for the vectors of an encoder all lie
    in a narrow cone.

    Args:
        matrix: (N, N).
        labels: N names.
        groups: of the N vectors; those of a group stand together.

    Raises:
        ValueError: there are not as many labels as rows and columns.
    """
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(f"{len(labels)} labels for a matrix of {' by '.join(map(str, matrix.shape))} cosines")
    n = len(labels)
    ax = ax if ax is not None else plt.subplots(figsize=(8, 7))[1]
    others = matrix[~np.eye(n, dtype=bool)]
    low, high = (others.min(), others.max()) if n > 1 else (0, 1)
    image = ax.imshow(matrix, cmap="Blues", vmin=low, vmax=high + 1e-9, interpolation="nearest")
    if n <= 12:
        for (row, column), cosine in np.ndenumerate(matrix):
            colour = "white" if image.norm(cosine) > 0.6 else "black"
            text = f"{cosine:.2f}".replace("0.", ".", 1)
            ax.text(column, row, text, ha="center", va="center", fontsize=12, color=colour)
    else:
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label="cosine")
    ax.set_xticks(range(n), map(drawable, labels), fontsize=14, parse_math=False)
    ax.set_yticks(range(n), map(drawable, labels), fontsize=14, parse_math=False)
    if max(map(len, labels), default=0) > 3:
        ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if groups is not None:
        for i in np.flatnonzero([a != b for a, b in pairwise(groups)]) + 0.5:
            ax.axhline(i, color=ORANGE, linewidth=3)
            ax.axvline(i, color=ORANGE, linewidth=3)
    return ax


def projections(frame: pd.DataFrame, *, ends: tuple[str, str], ax: Axes | None = None) -> Axes:
    """Words along an axis of meaning, such as that from *she* to *he*: lollipops from the middle, sorted.

    Args:
        frame: one row a word, with the columns ``word`` and ``projection``.
        ends: what the negative and the positive end of the axis mean.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(9, 0.42 * len(frame) + 1.4))[1]
    frame = frame.sort_values("projection", kind="stable")
    rows, values = np.arange(len(frame)), frame["projection"].to_numpy()
    colours = [BLUE if value < 0 else ORANGE for value in values]
    ax.hlines(rows, 0, values, color=colours, linewidth=4)
    ax.scatter(values, rows, s=130, color=colours, zorder=3)
    for row, value, word in zip(rows, values, frame["word"], strict=True):
        side = -1 if value < 0 else 1
        ax.annotate(
            drawable(str(word)),
            (value, row),
            xytext=(11 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=15,
            parse_math=False,
        )
    reach = 1.5 * np.abs(values).max(initial=1e-9)
    ax.axvline(0, color="black", linewidth=1.5)
    ax.set(xlim=(-reach, reach), ylim=(-0.7, len(frame) - 0.3), yticks=[])
    ax.set_title(f"←  {drawable(ends[0])}", loc="left", fontsize=18, color=BLUE)
    ax.set_title(f"{drawable(ends[1])}  →", loc="right", fontsize=18, color=ORANGE)
    ax.set_xlabel("projection")
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    return ax


def pair_kinds(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Cosines of word pairs by kind, a dot a pair, the median a bar with its value: do antonyms look like synonyms?

    Args:
        frame: one row a pair, with the columns ``kind`` and ``cosine``; the first kind is drawn on top.
    """
    ax = _axes(ax)
    jitter = np.random.default_rng(0)
    kinds = list(dict.fromkeys(frame["kind"]))
    for row, (kind, colour) in enumerate(zip(kinds, cycle(CYCLE), strict=False)):
        cosines = frame.loc[frame["kind"] == kind, "cosine"].to_numpy()
        ax.scatter(cosines, row + jitter.uniform(-0.22, 0.22, len(cosines)), s=60, color=colour, alpha=0.5)
        median = np.median(cosines)
        ax.vlines(median, row - 0.33, row + 0.33, color="black", linewidth=4, zorder=3)
        ax.annotate(f"{median:.2f}", (median, row - 0.36), ha="center", va="bottom", fontsize=15)
    ax.set_yticks(range(len(kinds)), map(drawable, kinds), fontsize=16)
    ax.set(xlabel="cosine; the bar is the median", ylim=(len(kinds) - 0.5, -0.7))
    ax.grid(axis="y", visible=False)
    return ax


def cost(frame: pd.DataFrame, *, measure: str, highlight: str | None = None, ax: Axes | None = None) -> Axes:
    """What each method costs, on a logarithmic axis: a tick more to the right is ten times as much.

    Args:
        frame: one row a method, the one for the top first, with the columns ``method`` and ``measure``.
        measure: the column to draw, such as ``seconds`` or ``words_per_second``.
        highlight: the method to colour.

    Raises:
        ValueError: a measure is not positive.
    """
    if len(bad := frame.loc[~(frame[measure] > 0), "method"]):
        raise ValueError(f"{measure} is positive on a logarithmic axis; look at {', '.join(map(str, bad))}")
    ax = ax if ax is not None else plt.subplots(figsize=(9, 0.7 * len(frame) + 1.2))[1]
    methods, values = frame["method"].astype(str).tolist(), frame[measure].to_numpy()
    bars = ax.barh(range(len(methods)), values, color=[ORANGE if m == highlight else BLUE for m in methods], height=0.6)
    ax.bar_label(bars, [short(value) for value in values], padding=5, fontsize=16)
    low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    if values.min() < 1.5 * 10**low:
        low -= 1  # a bar to be seen
    ax.set(xscale="log", xlim=(10**low, values.max() * 10 ** (0.15 * (high - low))), xlabel=measure.replace("_", " "))
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=" "))
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.set_yticks(range(len(methods)), map(drawable, methods), fontsize=16)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    return ax


# -------------------------------------------------------------------------------------------------------- ELMo
def layer_weights(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The shares of the layers that each task learned: a bar a layer and task, its error bar the deviation by seed.

    Dashed is the share of each layer where all have the same, from which learning starts.

    Args:
        frame: one row a run and layer, with the columns ``task``, ``layer`` and ``weight``, and every run a dot; or
            one row a task and layer, with ``mean`` and ``std``.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(10, 5))[1]
    layers, tasks = list(dict.fromkeys(frame["layer"])), list(dict.fromkeys(frame["task"]))
    summary = frame
    if "weight" in frame:
        summary = frame.groupby(["task", "layer"], observed=True)["weight"].agg(["mean", "std"]).reset_index()
    width = 0.8 / len(tasks)
    for i, task in enumerate(tasks):
        of_task = summary[summary["task"] == task].set_index("layer").reindex(layers)
        x = np.arange(len(layers)) + (i - (len(tasks) - 1) / 2) * width
        mean, std = of_task["mean"].to_numpy(), of_task["std"].fillna(0).to_numpy()
        ax.bar(x, mean, width * 0.9, color=CYCLE[i % len(CYCLE)], label=drawable(str(task)))
        ax.errorbar(x, mean, std, fmt="none", ecolor="black", elinewidth=2, capsize=6)
        tops = mean + std
        if "weight" in frame:
            runs = frame[frame["task"] == task]
            at = x[runs["layer"].map(layers.index)] + _aside(runs["layer"], width * 0.3)
            ax.plot(at, runs["weight"], "o", color="black", markersize=4, alpha=0.6)
            tops = np.fmax(tops, runs.groupby("layer")["weight"].max().reindex(layers).to_numpy())
        for place, top, value in zip(x, tops, mean, strict=True):
            above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 14}
            ax.annotate(f"{value:.2f}", (place, top), path_effects=_HALO, zorder=4, **above)
    ax.axhline(1 / len(layers), color=GREY, linestyle="--", zorder=0.9)
    beside = {"xycoords": ("axes fraction", "data"), "xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    ax.annotate(f"1/{len(layers)}", (1, 1 / len(layers)), color=GREY, fontsize=17, **beside)
    ax.set_xticks(range(len(layers)), [drawable(str(layer)) for layer in layers])
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel="share of the layer", ylim=(0, ax.get_ylim()[1] * 1.1))
    ax.grid(axis="x", visible=False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


_HALO = [patheffects.withStroke(linewidth=3, foreground="white")]


def _aside(groups: pd.Series, width: float) -> np.ndarray:
    """Small steps to the left and the right, so that the dots of a group do not lie on each other."""
    number, size = groups.groupby(groups).cumcount(), groups.groupby(groups).transform("size")
    return ((number - (size - 1) / 2) * width / size).to_numpy()


def layer_scores(
    frame: pd.DataFrame,
    *,
    score: str = "score",
    by: str = "task",
    baseline: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Each layer alone and their mixes: every seed a dot, the mean a bar with its value, a colour a task.

    Dots and no bars from zero: the differences between layers would be too small to see.

    Args:
        frame: one row a run, with the columns ``mix`` (0, 1, 2, "mean", "learned", in the order to be drawn),
            ``score`` and ``by``; without the column ``by`` all is of one colour.
        by: the column that colours tell apart, such as ``task`` or ``source``.
        baseline: scores of static vectors, by the values of ``by``: dashed lines.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(11, 5.5))[1]
    mixes = list(dict.fromkeys(frame["mix"]))
    groups = dict.fromkeys(frame[by]) if by in frame else [None]
    width = 0.84 / len(groups)
    for i, (group, colour, marker) in enumerate(zip(groups, cycle(CYCLE), cycle(MARKERS), strict=False)):
        runs = frame if group is None else frame[frame[by] == group]
        x = np.arange(len(mixes)) + (i - (len(groups) - 1) / 2) * width
        at = x[runs["mix"].map(mixes.index)] + _aside(runs["mix"], width * 0.5)
        ax.plot(at, runs[score], marker, color=colour, markersize=7, alpha=0.75, label=group and drawable(str(group)))
        by_mix = runs.groupby("mix", sort=False)[score].agg(["mean", "max"]).reindex(mixes)
        ax.hlines(by_mix["mean"], x - width * 0.36, x + width * 0.36, color=colour, linewidth=4)
        for place, mean, top in zip(x, by_mix["mean"], by_mix["max"], strict=True):
            above = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 14}
            ax.annotate(f"{mean:#.3g}", (place, top), path_effects=_HALO, zorder=4, **above)
    for (group, value), style in zip((baseline or {}).items(), cycle(["--", ":", "-."]), strict=False):
        colour = CYCLE[list(groups).index(group) % len(CYCLE)] if group in groups and len(groups) > 1 else GREY
        label = drawable(f"static, {group}: {value:#.3g}")
        ax.axhline(value, color=colour, linestyle=style, label=label, zorder=0.9)
    ax.set_xticks(range(len(mixes)), [drawable(str(mix)) for mix in mixes])
    ax.tick_params(axis="x", length=0)
    ax.margins(y=0.12)
    ax.set(xlabel="one layer, or a mix of all", ylabel=score.replace("_", " "), xlim=(-0.5, len(mixes) - 0.5))
    ax.grid(axis="x", visible=False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if baseline else 3)
    return ax


def weight_grid(steps: int) -> np.ndarray:
    """All shares of three layers in steps of 1 / ``steps``: (N, 3), each row summing to 1, N the triangle's points."""
    return np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps


def layer_triangle(
    frame: pd.DataFrame,
    corners: Sequence[str],
    *,
    score: str = "score",
    learned: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every mix of three layers as a point of a triangle, coloured by its score; in a corner is one layer alone.

    The best point is a white dot.

    Args:
        frame: one row a mix, with the three columns ``corners`` (shares, summing to 1; see :func:`weight_grid`) and
            ``score``.
        corners: the columns that hold the shares, and the names of the corners: left, right, top.
        learned: shares that training found, a star each, a colour a task: the columns ``corners`` and ``task``.

    Raises:
        ValueError: there are not three corners, or shares that do not sum to 1.
    """
    if len(corners) != 3:
        raise ValueError(f"a triangle has 3 corners, not {len(corners)}")
    ax = ax if ax is not None else plt.subplots(figsize=(9, 7))[1]
    xy = _in_triangle(frame, corners)
    gaps = np.linalg.norm(xy[:, None] - xy, axis=-1)
    radius = np.clip(gaps[gaps > 1e-6].min(initial=0.2), 0.02, 0.2) / 3**0.5  # hexagons of a grid touch
    angles = np.arange(6) * np.pi / 3
    hexagon = radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)  # (6, 2)
    style = {"cmap": "Blues", "edgecolors": "#cccccc", "linewidths": 0.5}
    points = mpl.collections.PolyCollection(xy[:, None] + hexagon, array=frame[score].to_numpy(dtype=float), **style)
    ax.add_collection(points)
    best = frame[score].to_numpy().argmax()
    label = f"best: {frame[score].iloc[best]:#.3g}"
    ax.scatter(*xy[best], s=260, color="white", edgecolors="black", linewidths=4, label=label, zorder=3)
    if learned is not None:
        stars = {"marker": "*", "s": 420, "edgecolors": "white", "linewidths": 1.5, "zorder": 4}
        by_task = learned.groupby("task", sort=False)
        for (task, runs), colour in zip(by_task, cycle([ORANGE, RED, GREEN, PURPLE]), strict=False):
            ax.scatter(*_in_triangle(runs, corners).T, color=colour, label=f"learned: {drawable(str(task))}", **stars)
    ax.set(xlim=(-0.3, 1.3), ylim=(-0.12 - radius, 0.98 + radius), xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    for name, (x, y), va, side in zip(corners, _CORNERS, ("top", "top", "bottom"), (-1, -1, 1), strict=True):
        ax.text(x, y + side * (radius + 0.02), drawable(str(name)), ha="center", va=va, fontsize=17)
    ax.figure.colorbar(points, ax=ax, shrink=0.7, label=score.replace("_", " "))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(-0.02, 1), handletextpad=0.3, labelspacing=0.7)
    return ax


_CORNERS = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])


def _in_triangle(frame: pd.DataFrame, corners: Sequence[str]) -> np.ndarray:
    """Shares (N, 3) as points of the plane, (N, 2)."""
    shares = frame[list(corners)].to_numpy(dtype=float)
    if len(bad := np.flatnonzero(np.abs(shares.sum(axis=1) - 1) > 1e-3)):
        raise ValueError(f"the shares of the layers sum to 1; look at row {bad[0]}: {shares[bad[0]].tolist()}")
    return shares @ _CORNERS


def leak(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Perplexity as two language models learn, one of which reads the answer: it falls towards 1.

    Args:
        frame: one row a measurement, with the columns ``method``, ``tokens`` (read so far) and ``perplexity``.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(10, 6))[1]
    language_model_curves(frame, ax=ax)
    ax.axhline(1, color=RED, linestyle="--", linewidth=2)
    in_frame = {"xycoords": ("axes fraction", "data"), "xytext": (-4, -4), "textcoords": "offset points"}
    ax.annotate("1: always sure, always right", (1, 1), color=RED, fontsize=15, ha="right", va="top", **in_frame)
    ax.set_ylim(0.51, frame["perplexity"].max() * 1.5)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def bilm_diagram(
    words: Sequence[str], *, layers: int = 2, highlight: int | None = None, ax: Axes | None = None
) -> Axes:
    """ELMo's bidirectional language model: characters below, a forward and a backward chain that never meet.

    With ``highlight``, how one word is guessed, twice: blue is what the forward chain has read by then, the words
    before, and orange what the backward chain has, the words after. The word itself, crossed out, neither has.

    Args:
        words: of a sentence; the marks of its beginning and end are added.
        highlight: the position among ``words`` of the one to guess.

    Raises:
        ValueError: there is no such position.
    """
    if highlight is None:
        colours = {"characters": GREY, "forward": BLUE, "backward": ORANGE}
        return _chains(words, layers, lambda column, direction, layer: colours[direction], ax=ax)
    guessed = _column(words, highlight)

    def paint(column: int, direction: str, layer: int) -> str:
        if column < guessed and direction != "backward":
            return BLUE
        return ORANGE if column > guessed and direction != "forward" else "white"

    guesses = [(guessed - 1, "forward"), (guessed + 1, "backward")]
    ax = _chains(words, layers, paint, guesses=guesses, guessed=guessed, ax=ax)
    for slope in (-1, 1):  # the cross
        x, y = 0.3 * np.array([-1, 1]), slope * np.array([-0.95, 0.95])
        ax.plot(guessed + x, y - 0.55, color=RED, linewidth=5, zorder=5)
    for place, text, colour in (("left", "→  has read the words before", BLUE), ("right", "those after  ←", ORANGE)):
        ax.set_title(text, loc=place, color=colour, fontsize=19)
    return ax


def leak_diagram(words: Sequence[str], highlight: int, *, ax: Axes | None = None) -> Axes:
    """Why not an ordinary bidirectional LSTM of two layers: the way of a word, in red, to its own guess.

    Its second layer reads both directions of the first. So the backward state one place to the left, which has read
    the word, hands it to the forward state from which the word is guessed.

    Args:
        words: of a sentence; the marks of its beginning and end are added.
        highlight: the position among ``words`` of the one to guess.

    Raises:
        ValueError: there is no such position.
    """
    guessed = _column(words, highlight)
    way = {
        (guessed, "characters", 0),
        (guessed, "backward", 1),
        (guessed - 1, "backward", 1),
        (guessed - 1, "forward", 2),
    }
    pale = {"characters": "#e6e6e6", "forward": "#cfe3f1", "backward": "#faecc9"}

    def paint(*state: int | str) -> str:
        return RED if state in way else pale[state[1]]

    ax = _chains(words, 2, paint, across=True, guesses=[(guessed - 1, "forward")], guessed=guessed, ax=ax)
    ax.set_title("layer 2 reads both directions: the answer travels up", color=RED, fontsize=19)
    return ax


def _column(words: Sequence[str], highlight: int) -> int:
    """The column of a word in a drawing that begins with the mark of the sentence's beginning."""
    if not 0 <= highlight < len(words):
        raise ValueError(f"highlight is one of the positions 0 to {len(words) - 1}, not {highlight}")
    return highlight + 1


def _chains(
    words: Sequence[str],
    layers: int,
    paint: Callable[[int, str, int], str],
    *,
    across: bool = False,
    guesses: Sequence[tuple[int, str]] = (),
    guessed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw characters and two chains of LSTMs: a column a word, the forward states left of it, the backward right.

    What leads from one box to another of the same colour has this colour, and all else is a thin grey.

    Args:
        paint: the colour of (column, direction, layer); the characters are a direction of their own, layer 0.
        across: each layer reads both directions of the one below.
        guesses: columns and directions whose top states guess the word ``guessed``, a column too.
    """
    words = ["<S>", *map(drawable, words), "</S>"]
    columns, height = range(len(words)), 2.3 * layers + (1.9 if guesses else 0.4)
    if ax is None:
        width = np.clip(0.13 * max(map(len, words)), 1.5, 2.2) * len(words) + 1.8
        ax = plt.subplots(figsize=(width, 0.66 * (height + 2.2)))[1]
    ax.set(xlim=(-1.5, len(words) - 0.5), ylim=(-1.6, height + 0.6))
    ax.axis("off")

    def place(column: int, direction: str, layer: int) -> tuple[float, float]:
        return {
            "characters": (column, 0),
            "forward": (column - 0.22, 2.3 * layer - 0.7),
            "backward": (column + 0.22, 2.3 * layer + 0.1),
        }[direction]

    chains = [("forward", 1), ("backward", -1)]
    states = [(c, "characters", 0) for c in columns]
    links = []
    for column, (direction, step), layer in product(columns, chains, range(1, layers + 1)):
        state = (column, direction, layer)
        states.append(state)
        if column - step in columns:
            links.append(((column - step, direction, layer), state))
        below = [name for name, _ in chains] if across else [direction]
        links += [((column, name, layer - 1), state) for name in (below if layer > 1 else ["characters"])]
    signs = {"characters": "CNN", "forward": "→", "backward": "←"}
    for state in states:
        _box(ax, place(*state), signs[state[1]], paint(*state))
    for source, target in links:
        colour = paint(*target)
        used = colour == paint(*source) and colour != "white"
        style = {"color": colour, "linewidth": 4} if used else {"color": "#bdbdbd", "linewidth": 1.3}
        style |= {"arrowstyle": "-|>", "mutation_scale": 18, "zorder": 1 + used + (colour == RED)}
        start, end = np.array(place(*source)), np.array(place(*target))
        with np.errstate(divide="ignore"):
            inside = (end - start) * (_HALF_BOX / np.abs(end - start)).min()  # from the middle of a box to its edge
        ax.add_artist(patches.FancyArrowPatch(start + inside, end - inside, shrinkA=0, shrinkB=1, **style))
    for column, direction in guesses:
        x, y = place(column, direction, layers)
        side = guessed + _HALF_BOX[0] * (-1 if direction == "forward" else 1)
        way = mpl.path.Path([(x, y + _HALF_BOX[1]), (x, height), (side, height)])
        style = {"arrowstyle": "-|>", "mutation_scale": 22, "color": paint(column, direction, layers), "fill": False}
        ax.add_artist(patches.FancyArrowPatch(path=way, linewidth=4, zorder=3, **style))
    if guesses:
        _box(ax, (guessed, height), "?", RED if across else "black", filled=False)
    rows = [("characters", 0, "black")]
    rows += [
        (name, layer, colour)
        for layer in range(1, layers + 1)
        for (name, _), colour in zip(chains, (BLUE, ORANGE), strict=True)
    ]
    for name, layer, colour in rows:
        text = f"{name} {layer}" if layer else name
        ax.text(-0.62, place(0, name, layer)[1], text, ha="right", va="center", fontsize=16, color=colour)
    ax.figure.draw_without_rendering()
    room = 0.92 * np.ptp(ax.transData.transform([(0, 0), (1, 0)])[:, 0])
    for column, word in zip(columns, words, strict=True):
        style = {"color": RED} if guesses and column == guessed else {}
        style |= {"ha": "center", "va": "center", "path_effects": _HALO, "zorder": 7, "parse_math": False}
        label = ax.text(column, -1.1, word, fontsize=20, **style)
        label.set_fontsize(20 * min(1, room / label.get_window_extent().width))
    return ax


_HALF_BOX = np.array([0.17, 0.3])


def _box(ax: Axes, at: tuple[float, float], text: str, colour: str, *, filled: bool = True) -> None:
    """A box of a drawing of a network; a white one is out of use."""
    unused = colour == "white"
    ink = "white" if colour in (BLUE, RED, GREY) else GREY if unused else "black"
    style = {"fc": colour if filled else "white", "ec": "#bdbdbd" if unused else "black", "lw": 1.5, "zorder": 4}
    shape = patches.BoxStyle("round", pad=0, rounding_size=0.08)
    ax.add_artist(patches.FancyBboxPatch(at - _HALF_BOX, *(2 * _HALF_BOX), boxstyle=shape, **style))
    size = 13 if len(text) > 1 else 19
    ax.text(*at, text, ha="center", va="center", fontsize=size, color=ink if filled else colour, zorder=5)


# ------------------------------------------------------------------------------------------------------------- BERT
_PALE = {BLUE: "#cfe3f1", ORANGE: "#faecc9", GREEN: "#cdebe1", GREY: "#dddddd"}
SEGMENTS = [BLUE, ORANGE]  # sentence A, sentence B


def bert_input(
    pieces: Sequence[str], segments: Sequence[int], *, ids: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """What BERT reads: at each place the sum of three embeddings, the piece's, its segment's and its position's.

    The blocks stand for vectors, all of the same width (Devlin et al. 2019, figure 2). Before layer 1 reads the sums,
    the model normalises them (LayerNorm).

    Args:
        pieces: T pieces, special tokens among them.
        segments: T numbers, 0 for sentence A and 1 for sentence B.
        ids: T numbers of the pieces in the vocabulary; they are rows of the matrix of token embeddings.

    Raises:
        ValueError: there are not as many segments, or ids, as pieces.
    """
    n = len(pieces)
    for name, values in (("segments", segments), ("ids", ids)):
        if values is not None and len(values) != n:
            raise ValueError(f"{len(values)} {name} for {n} pieces")
    if ax is None:
        ax = plt.subplots(figsize=(min(3.1 + 1.15 * n, 22), 5.6))[1]
    ax.set(xlim=(-2.7, n - 0.4), ylim=(-0.5, 4.9))
    ax.axis("off")
    rows = {
        "token": [(piece, _PALE[GREY if piece in SPECIAL else GREEN]) for piece in pieces],
        "segment": [("AB"[s], SEGMENTS[s]) for s in segments],
        "position": [(str(i), SKY) for i in range(n)],
    }
    if ids is not None:
        rows["token"] = [(str(i), colour) for i, (_, colour) in zip(ids, rows["token"], strict=True)]
    fitted = [(ax.text(i, 4.45, drawable(piece), **_MIDDLE, fontsize=19), 0.94) for i, piece in enumerate(pieces)]
    for row, (name, blocks) in enumerate(rows.items()):
        y = 3.55 - 1.15 * row
        ax.text(-0.6, y, f"{name} embedding", ha="right", va="center", fontsize=18)
        for i, (text, colour) in enumerate(blocks):
            fitted.append((_block(ax, (i, y), (0.86, 0.72), text, colour), 0.8))
            ax.text(i, y - 0.575, "=" if row == 2 else "+", **_MIDDLE, fontsize=17)
    ax.text(-0.6, 4.45, "pieces", ha="right", va="center", fontsize=18)
    ax.text(-0.6, 0, "x, for layer 1", ha="right", va="center", fontsize=18)
    for i in range(n):
        fitted.append((_block(ax, (i, 0), (0.86, 0.8), f"x{_subscript(i)}", "#333333"), 0.8))
    _fit(ax, fitted)
    return ax


_MIDDLE = {"ha": "center", "va": "center", "parse_math": False}


SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>")


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _block(
    ax: Axes, at: tuple[float, float], size: tuple[float, float], text: str, colour: str, *, fontsize: float = 18
) -> mpl.text.Text:
    """A block of a drawing, white or black text in it; :func:`_fit` makes the text as small as it has to be."""
    dark = np.dot(mpl.colors.to_rgb(colour), [0.299, 0.587, 0.114]) < 0.57
    shape = patches.BoxStyle("round", pad=0, rounding_size=0.08)
    style = {"fc": colour, "ec": "#777777" if not dark else colour, "lw": 1.3, "zorder": 3}
    ax.add_artist(patches.FancyBboxPatch(np.subtract(at, np.divide(size, 2)), *size, boxstyle=shape, **style))
    ink = "white" if dark else "black"
    return ax.text(*at, drawable(text), fontsize=fontsize, color=ink, zorder=4, **_MIDDLE)


def _fit(ax: Axes, texts: Sequence[tuple[mpl.text.Text, float]]) -> None:
    """Make each text smaller that is wider than its room, in units of the axes."""
    if layout := ax.figure.get_layout_engine():
        layout.execute(ax.figure)
    unit = np.ptp(ax.transData.transform([(0, 0), (1, 0)])[:, 0])
    for text, room in texts:
        width = max(text.get_window_extent().width, 1)
        text.set_fontsize(text.get_fontsize() * min(1, room * unit / width))


MASKING = {
    "mask": ("[MASK] in its place", BLUE),
    "random": ("a random piece in its place", RED),
    "kept": ("kept, and to be guessed all the same", GREEN),
    "untouched": ("not to be guessed", "white"),
    "special": ("special: never", _PALE[GREY]),
}
"""What masking does to a piece: by kind, how a legend says it, and its colour."""


def masking_draw(pieces: Sequence[str], read: Sequence[str], kinds: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """A masked sentence as BERT reads it, a colour a kind; below each piece that is to be guessed, the answer.

    Args:
        pieces: T pieces of the sentence, special tokens among them.
        read: T pieces that stand there after masking.
        kinds: T keys of :data:`MASKING`.

    Raises:
        ValueError: the three are not of one length, or there is no such kind.
    """
    if not len(pieces) == len(read) == len(kinds):
        raise ValueError(f"{len(pieces)} pieces, {len(read)} after masking and {len(kinds)} kinds: not one of each")
    if wrong := set(kinds) - set(MASKING):
        raise ValueError(f"masking kinds are {', '.join(MASKING)}, not {min(wrong)!r}")
    width, height = 13.0, 0.0
    if ax is not None:
        width, height = np.array(ax.get_window_extent().size) / ax.figure.dpi
    size, line = 20, 1.12  # points, inches from a line of pieces to the next
    answers = [piece if kind in ("mask", "random", "kept") else "" for piece, kind in zip(pieces, kinds, strict=True)]
    rooms = np.maximum(_widths(read, size), _widths(answers, size)) + 0.24
    places, x, row = [], 0.0, 0
    for room in rooms:
        if x and x + room > width:
            x, row = 0.0, row + 1
        places.append((x + room / 2, -line * row))
        x += room + 0.08
    height = max(height, line * (row + 1))
    if ax is None:
        ax = plt.subplots(figsize=(width, height + 0.9))[1]
    ax.set(xlim=(-0.05, width + 0.05), ylim=(0.32 - height, 0.34))
    ax.axis("off")
    fitted = []
    for (x, y), room, text, answer, kind in zip(places, rooms, read, answers, kinds, strict=True):
        colour = MASKING[kind][1]
        fitted.append((_block(ax, (x, y), (min(room, width), 0.48), text, colour, fontsize=size), room - 0.1))
        if answer:
            below = ax.text(x, y - 0.47, drawable(answer), fontsize=size, color=colour, **_MIDDLE)
            fitted.append((below, room))
    handles = [patches.Patch(fc=colour, ec="#777777", label=label) for label, colour in MASKING.values()]
    style = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2}
    ax.legend(handles=handles, frameon=False, fontsize=15, handlelength=1.2, columnspacing=1.5, **style)
    _fit(ax, fitted)
    return ax


def _widths(texts: Sequence[str], size: float) -> np.ndarray:
    """Of texts in the font in use, in inches."""
    canvas = FigureCanvasAgg(mpl.figure.Figure())
    drawn = [canvas.figure.text(0, 0, drawable(text), fontsize=size, parse_math=False) for text in texts]
    return np.array([text.get_window_extent(canvas.get_renderer()).width for text in drawn]) / canvas.figure.dpi


def masking_counts(
    positions: int,
    kinds: Mapping[str, int],
    *,
    share: float = 0.15,
    mask: float = 0.8,
    random: float = 0.1,
    ax: Axes | None = None,
) -> Axes:
    """How far the shares of what masking did, counted, are from those that were asked for.

    A dot is what was counted, its line the exact 95 % interval (Clopper and Pearson 1934). Which pieces of a text are
    to be guessed is drawn, but not how many: the uppermost dot strays less than its line says.

    Args:
        positions: how many pieces could have been drawn.
        kinds: how many of them were, by ``"mask"``, ``"random"`` and ``"kept"``.
        share: of the pieces that is to be guessed.
        mask: the share of these that [MASK] replaces.
        random: the share of these that a random piece replaces; the rest is kept.

    Raises:
        ValueError: more pieces were drawn than could have been, or none could.
    """
    guessed = sum(kinds.values())
    if not 0 < positions >= guessed:
        raise ValueError(f"{guessed:,} of {positions:,} positions masked: count something, and no more than there is")
    ax = ax if ax is not None else plt.subplots(figsize=(12, 4.4))[1]
    rows = [("to be guessed", "black", guessed, positions, share)]
    of_guessed = {"mask": ("[MASK]", mask), "random": ("random", random), "kept": ("kept", 1 - mask - random)}
    rows += [(name, MASKING[kind][1], kinds[kind], guessed, p) for kind, (name, p) in of_guessed.items()]
    aside = {"xycoords": ("axes fraction", "data"), "xytext": (16, 0), "textcoords": "offset points", "va": "center"}
    widest = 0.0
    ax.axvline(0, color="black", linewidth=2)
    for row, (_, colour, count, total, asked) in enumerate(rows):
        text = "none yet"
        if total:
            low, high = exact_interval(count, total)
            low, off, high = (100 * (value - asked) for value in (low, count / total, high))
            ax.plot([low, high], [row, row], color=colour, linewidth=6, alpha=0.5, solid_capstyle="butt", zorder=3)
            ax.plot(off, row, "o", color=colour, markersize=14, markeredgecolor="white", zorder=4)
            text = f"{count:,} of {total:,} = {count / total:.1%}"
            widest = max(widest, -low, high)
        ax.annotate(text, (1, row), fontsize=18, color=colour, **aside)
    limit = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 100) if step > widest or step == 100)
    ax.set_yticks(range(len(rows)), [f"{name}: {asked:.0%} asked" for name, *_, asked in rows], fontsize=18)
    ticks = np.array([-1, -0.5, 0, 0.5, 1]) * limit
    ax.set_xticks(ticks, [f"{tick:+.3g}" if tick else "0" for tick in ticks])
    ax.axhline(0.5, color="#bdbdbd", linewidth=1)
    ax.set(
        xlim=(-1.03 * limit, 1.03 * limit),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="counted minus asked, in percentage points",
    )
    ax.grid(axis="y", visible=False)
    return ax


def exact_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The shares for which ``count`` of ``total`` would not be surprising (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = betaincinv(count, total - count + 1, tail) if count else 0.0
    high = betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return float(low), float(high)


def attention_heatmap(weights: np.ndarray, tokens: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """What one head looks at: a row a piece that looks, a column a piece that is looked at; a row sums to 1.

    Args:
        weights: (T, T).
        tokens: T pieces.

    Raises:
        ValueError: there are not as many tokens as rows and columns.
    """
    n = _same_tokens(weights, tokens)
    ax = ax if ax is not None else plt.subplots(figsize=(9, 8))[1]
    image = ax.imshow(weights, cmap="Blues", vmin=0, vmax=np.max(weights) + 1e-9, interpolation="nearest")
    size = float(np.clip(330 / n, 7, 18))
    labels = [drawable(token) for token in tokens]
    ax.set_xticks(range(n), labels, rotation=90, fontsize=size, parse_math=False)
    ax.set_yticks(range(n), labels, fontsize=size, parse_math=False)
    ax.set_xlabel("is looked at", fontsize=16)
    ax.set_ylabel("looks", fontsize=16)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.6, format=mpl.ticker.PercentFormatter(1))
    bar.outline.set_visible(False)
    return ax


def attention_lines(
    weights: np.ndarray, tokens: Sequence[str], *, looks: int | None = None, ax: Axes | None = None
) -> Axes:
    """What one head looks at: lines from the pieces on the left to those on the right, the darker the more.

    Args:
        weights: (T, T), a row a piece that looks.
        tokens: T pieces.
        looks: the position of one piece; the lines of the others are left out.

    Raises:
        ValueError: there are not as many tokens as rows and columns, or there is no such position.
    """
    n = _same_tokens(weights, tokens)
    if looks is not None and not 0 <= looks < n:
        raise ValueError(f"looks is one of the positions 0 to {n - 1}, not {looks}")
    ax = ax if ax is not None else plt.subplots(figsize=(9, float(np.clip(0.42 * n + 1, 4, 14))))[1]
    rows = range(n) if looks is None else [looks]
    lines = [((0, row), (1, column)) for row in rows for column in range(n)]
    seen = np.clip(weights[list(rows)].reshape(-1, 1), 0, 1)
    colours = np.hstack([np.tile(mpl.colors.to_rgb(BLUE if looks is None else RED), (len(lines), 1)), seen])
    ax.add_collection(mpl.collections.LineCollection(lines, colors=colours, linewidths=1 + 6 * seen[:, 0]))
    size = float(np.clip(330 / n, 8, 20))
    for row, token in enumerate(map(drawable, tokens)):
        style = {"va": "center", "fontsize": size, "parse_math": False}
        ax.text(-0.02, row, token, ha="right", color=RED if row == looks else "black", **style)
        ax.text(1.02, row, token, ha="left", **style)
    ax.set(xlim=(-0.6, 1.6), ylim=(n - 0.5, -1.6))
    ax.text(-0.02, -1.1, "looks", ha="right", va="center", fontsize=15, color=GREY)
    ax.text(1.02, -1.1, "is looked at", ha="left", va="center", fontsize=15, color=GREY)
    ax.axis("off")
    return ax


def _same_tokens(weights: np.ndarray, tokens: Sequence[str]) -> int:
    if np.shape(weights) != (len(tokens), len(tokens)):
        raise ValueError(f"{len(tokens)} tokens for attention weights of the shape {np.shape(weights)}")
    return len(tokens)


def attention_grid(weights: np.ndarray, *, highlight: tuple[int, int] | None = None, ax: Axes | None = None) -> Axes:
    """All heads of all layers at a glance, the first layer at the bottom.

    Each small map is as dark as its own greatest weight allows, so maps show where a head looks, not how sharply.

    Args:
        weights: (layers, heads, T, T).
        highlight: layer and head, from 0, to put a frame around.

    Raises:
        ValueError: the weights are not of this shape.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise ValueError(f"attention weights are of the shape (layers, heads, T, T), not {weights.shape}")
    layers, heads = weights.shape[:2]
    if ax is None:
        ax = plt.subplots(figsize=(0.95 * heads + 1.2, 0.95 * layers + 1.2))[1]
    shown = weights / np.maximum(weights.max(axis=(2, 3), keepdims=True), 1e-9)
    gap = 0.06
    for layer, head in product(range(layers), range(heads)):
        extent = (head + gap, head + 1 - gap, layer + gap, layer + 1 - gap)
        ax.imshow(shown[layer, head], cmap="Blues", vmin=0, vmax=1, extent=extent, interpolation="nearest")
        edge = {"ec": RED, "lw": 5} if (layer, head) == highlight else {"ec": "#bdbdbd", "lw": 1}
        ax.add_patch(patches.Rectangle(extent[::2], 1 - 2 * gap, 1 - 2 * gap, fill=False, zorder=3, **edge))
    ax.set(xlim=(0, heads), ylim=(0, layers), xlabel="head", ylabel="layer")
    ax.set_xticks(np.arange(heads) + 0.5, range(1, heads + 1), fontsize=15)
    ax.set_yticks(np.arange(layers) + 0.5, range(1, layers + 1), fontsize=15)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return ax


def four_shapes(*, ax: Axes | None = None) -> Axes:
    """How one encoder serves four kinds of task: what goes in, which output the head reads, and what it answers.

    Redrawn after Devlin et al. 2019, figure 4, with other sentences: one class from the output of [CLS], for two
    sentences or one; the start and the end of an answer, or a tag, from the outputs of the pieces themselves.
    """
    if ax is None:
        ax = plt.subplots(figsize=(18, 11))[1]
    ax.set(xlim=(-0.2, 20.2), ylim=(-0.9, 13.2))
    ax.axis("off")
    pair = ["[CLS]", "a", "dog", "runs", "[SEP]", "it", "moves", "[SEP]"]
    question = ["[CLS]", "where", "?", "[SEP]", "in", "Chiang", "Mai", "[SEP]"]
    shapes = [
        ("a  two sentences: one class", pair, [0], {0: "follows"}),
        ("b  one sentence: one class", ["[CLS]", "win", "a", "free", "phone", "now", "!", "[SEP]"], [0], {0: "spam"}),
        ("c  question and text: where the answer is", question, [4, 5, 6], {5: "start", 6: "end"}),
        (
            "d  every word: a tag",
            ["[CLS]", "สมชาย", "อยู่", "ที่", "เมือง", "น่าน", "ครับ", "[SEP]"],
            list(range(1, 7)),
            {1: "B-PER", 2: "O", 3: "O", 4: "B-LOC", 5: "I-LOC", 6: "O"},
        ),
    ]
    fitted = []
    for shape, (x, y) in zip(shapes, product((0, 10.2), (7, 0)), strict=True):
        fitted += _shape(ax, (x, y), *shape)
    _fit(ax, fitted)
    return ax


def _shape(
    ax: Axes,
    at: tuple[float, float],
    title: str,
    pieces: Sequence[str],
    read: Sequence[int],
    answers: Mapping[int, str],
) -> list[tuple[mpl.text.Text, float]]:
    """One of the four, from the pieces at the bottom to the answers on top; returns what is left to fit."""
    left, y = at
    x = left + 0.5 + 1.2 * np.arange(len(pieces))
    middle, whole = x.mean(), x[-1] - x[0] + 1.06
    segment = np.cumsum([piece == "[SEP]" for piece in ["", *pieces[:-1]]])
    ax.text(left, y + 5.9, title, va="center", fontsize=21)
    fitted = [(_block(ax, (middle, y + 1.65), (whole, 0.9), "BERT", "#333333", fontsize=22), whole)]

    def arrow(column: int, start: float, end: float, colour: str) -> None:
        style = {"arrowstyle": "-|>", "mutation_scale": 17, "color": colour, "linewidth": 2.5 if start > 3 else 1.5}
        ends = (x[column], y + start), (x[column], y + end)
        ax.add_artist(patches.FancyArrowPatch(*ends, shrinkA=0, shrinkB=0, zorder=2, **style))

    for i, piece in enumerate(pieces):
        colour = _PALE[GREY] if piece in SPECIAL else _PALE[SEGMENTS[segment[i]]]
        fitted.append((_block(ax, (x[i], y), (1.06, 0.72), piece, colour), 0.98))
        arrow(i, 0.36, 1.2, "#777777")
        arrow(i, 2.1, 2.62, "#777777")
        name = f"T{_subscript(i)}" if i else "C"
        fitted.append((_block(ax, (x[i], y + 2.95), (0.8, 0.62), name, GREEN if i in read else "#f2f2f2"), 0.7))
    for i in read:
        arrow(i, 3.26, 3.8, GREEN)
    width = x[read[-1]] - x[read[0]] + 1.06
    head = (x[read[0]] + x[read[-1]]) / 2
    fitted.append(
        (_block(ax, (head, y + 4.12), (width, 0.64), "linear, one for all" if len(read) > 1 else "linear", RED), width)
    )
    for i, answer in answers.items():
        arrow(i, 4.44, 4.86, RED)
        fitted.append((ax.text(x[i], y + 5.18, answer, color=RED, fontsize=20, **_MIDDLE), 1.15))
    return fitted


def parameter_blocks(frame: pd.DataFrame, *, highlight: str | None = None, ax: Axes | None = None) -> Axes:
    """Where the parameters of models are: a bar a configuration, a colour a block, the total beside it.

    Args:
        frame: one row a configuration and part, with the columns ``model``, ``part`` and ``count``, in the order to
            be drawn; a part belongs to the block that its name mentions, such as :func:`tlcourse.bert.parameters`'
            "attention: norm" to attention.
        highlight: the configuration whose name is coloured.
    """
    models = list(dict.fromkeys(frame["model"]))
    if ax is None:
        ax = plt.subplots(figsize=(12, 1.8 + 0.75 * len(models)))[1]
    blocks = frame["part"].map(_block_of)
    left = np.zeros(len(models))
    whole = frame.groupby("model")["count"].sum().max()
    for block, colour in _BLOCKS.items():
        counts = frame[blocks == block].groupby("model")["count"].sum().reindex(models, fill_value=0).to_numpy()
        ax.barh(range(len(models)), counts, 0.7, left=left, color=colour, label=block, ec="white")
        ink = "black" if colour == ORANGE else "white"
        for row, (start, count) in enumerate(zip(left, counts, strict=True)):
            if count > 0.08 * whole:
                ax.text(start + count / 2, row, engineering(count), fontsize=15, color=ink, **_MIDDLE)
        left = left + counts
    for row, total in enumerate(left):
        beside = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 17}
        ax.annotate(engineering(total), (total, row), **beside)
    ax.set_yticks(range(len(models)), [drawable(str(model)) for model in models], fontsize=17, parse_math=False)
    for label, model in zip(ax.get_yticklabels(), models, strict=True):
        label.set_color(RED if model == highlight else "black")
    ax.set(xlim=(0, 1.14 * whole), ylim=(len(models) - 0.5, -0.5), xlabel="parameters")
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=" "))
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=15)
    return ax


_BLOCKS = {"embeddings": BLUE, "attention": ORANGE, "feed-forward": GREEN, "other": GREY}


def _block_of(part: str) -> str:
    return next((block for block in _BLOCKS if block in part), "other")


def engineering(number: float) -> str:
    """A large number in three digits: 335 M, 4.42 M, 512."""
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + letter
    return f"{number:.0f}"


def pretraining_curves(
    frame: pd.DataFrame, *, measure: str, chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """A loss or an accuracy as models learn: a line a run, its last value in the legend.

    Args:
        frame: one row a measurement, with the columns ``run``, ``tokens`` (read so far) and ``measure``; a run
            without any, such as the accuracy of pairs where there were none, has no line.
        measure: the column of the vertical axis, such as ``mlm_loss``.
        chance: what guessing reaches, dashed.

    Raises:
        ValueError: there is no such column, or it has no value at all.
    """
    if measure not in frame:
        raise ValueError(f"no column {measure!r} among {', '.join(frame.columns)}")
    measured = frame.dropna(subset=[measure])
    if measured.empty:
        raise ValueError(f"the column {measure!r} holds no value")
    ax = _axes(ax)
    runs = list(dict.fromkeys(frame["run"]))  # a run has the same colour in every picture of the frame
    is_share = "accuracy" in measure
    for run, rows in measured.groupby("run", observed=True, sort=False):
        rows, i = rows.sort_values("tokens"), runs.index(run)
        last = rows[measure].iloc[-1]
        style = {"color": CYCLE[i % len(CYCLE)], "marker": MARKERS[i % len(MARKERS)], "markersize": 7}
        label = f"{drawable(str(run))}: {f'{last:.1%}' if is_share else short(last)}"
        ax.plot(rows["tokens"], rows[measure], markevery=max(1, len(rows) // 12), label=label, **style)
    if chance is not None:
        label = f"chance: {f'{chance:.1%}' if is_share else short(chance)}"
        ax.axhline(chance, color=GREY, linestyle="--", label=label, zorder=0.9)
    words = {"mlm": "masked words:", "nsp": "next sentence:"}
    ax.set(xlabel="tokens read", ylabel=" ".join(words.get(word, word) for word in measure.split("_")))
    ax.set_xlim(0, None)
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=" "))
    if is_share:
        ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    ax.legend(frameon=False, fontsize=15)
    return ax


# -------------------------------------------------------------------------------------------------------------- GPT
def lambda_curves(runs: pd.DataFrame, *, score: str = "accuracy", ax: Axes | None = None) -> Axes:
    """A score against λ, the weight of the language model's loss in fine-tuning: a line a number of labels.

    Every seed is a small dot, the mean a large one, and the bar one standard deviation over the seeds. Dashed is the
    same model without pretraining. λ stands at its root, so that small ones have room; the paper's is 0.5.

    Args:
        runs: those of one task, one row a run, with the columns ``task``, ``labels`` (how many), ``weights``
            ("fresh" for those that are not pretrained), ``lam``, ``seed`` and ``score``.
        score: the column of the vertical axis; a loss, such as ``general_loss`` or ``task_loss`` in nats a token, is
            drawn as a perplexity, its deviation taken before.

    Raises:
        ValueError: a column is missing or has no value, there are several tasks or pretrained models, or λ is
            negative.
    """
    runs = _measured(runs, ["task", "labels", "weights", "lam", score])
    pretrained = runs.loc[runs["weights"] != "fresh", "weights"]
    for what, values in (("task", runs["task"]), ("kind of pretrained weights", pretrained)):
        if len(several := values.unique()) > 1:
            raise ValueError(f"draw the runs of one {what} at a time, not of {', '.join(map(str, several))}")
    if (runs["lam"] < 0).any():
        raise ValueError(f"λ is 0 or more, not {runs['lam'].min():g}")
    ax = ax if ax is not None else plt.subplots(figsize=(11, 5.5))[1]
    is_loss = score.endswith("_loss")
    if is_loss:
        text = {"general": "general text", "task": "the task's text"}.get(kind := score.removesuffix("_loss"), kind)
        ax.set_yscale("log")
        ax.set_ylabel(f"perplexity of {text}", fontsize=16)
    else:
        ax.set_ylabel(score.replace("_", " "), fontsize=16)
    sizes = sorted(runs["labels"].unique())
    lines = runs.assign(at=runs["lam"] ** 0.5, fresh=runs["weights"] == "fresh").groupby(["labels", "fresh"])
    places = np.unique([*runs["lam"], 0.5]) ** 0.5
    shifts = _shifts(places, len(lines))
    ends = []
    for ((labels, fresh), of_line), shift in zip(lines, shifts, strict=True):
        i = sizes.index(labels)
        style = {"color": CYCLE[i % len(CYCLE)], "marker": MARKERS[i % len(MARKERS)]}
        if fresh:
            style |= {"linestyle": "--", "markerfacecolor": "white"}
        x, y = _by_seed(ax, of_line["at"] + shift, of_line[score], value=np.exp if is_loss else np.asarray, **style)
        if fresh and of_line["lam"].nunique() == 1:
            ax.axhline(y, color=style["color"], linestyle="--", linewidth=2, zorder=0.9)
            x = places.max()
        ends.append((f"{_counted(labels, 'labels')}{', fresh' if fresh else ''}", x, y, style["color"]))
    ax.axvline(0.5**0.5, color=GREY, linestyle=":", linewidth=2, zorder=0.9)
    names = {lam: f"{lam:g}" for lam in runs["lam"]} | {0.5: "0.5\nthe paper"}
    ax.set_xticks(np.sqrt(list(names)), names.values(), fontsize=15)
    ax.set_xlabel("λ, the weight of the language model's loss", fontsize=16)
    if is_loss:
        perplexity_ticks(ax.yaxis, np.exp(runs[score]))
    else:
        ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    _name_ends(ax, ends)
    return ax


def _measured(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows that have a value in the last of the columns, all of which there have to be."""
    for column in columns:
        need(frame, column)
    measured = frame.dropna(subset=columns[-1])
    if measured.empty:
        raise ValueError(f"the column {columns[-1]!r} holds no value")
    return measured


def _shifts(places: np.ndarray, lines: int) -> np.ndarray:
    """Small steps to the left and the right, a line each, so that their error bars do not lie on each other."""
    return (np.arange(lines) - (lines - 1) / 2) * 0.09 * np.diff(np.unique(places)).min(initial=1)


def _by_seed(ax: Axes, x: pd.Series, y: pd.Series, *, value: Callable = np.asarray, **style) -> tuple[float, float]:
    """Each run a dot, their means a line, the standard deviations its error bars; returns where the line ends.

    Args:
        value: what is drawn of a ``y``, of its mean and of the ends of its error bar.
    """
    by_place = y.groupby(x).agg(["mean", "std"]).fillna(0)
    places, middle, deviation = by_place.index.to_numpy(), by_place["mean"].to_numpy(), by_place["std"].to_numpy()
    low, mean, high = (value(middle + k * deviation) for k in (-1, 0, 1))
    ax.errorbar(places, mean, [mean - low, high - mean], markersize=11, capsize=6, elinewidth=2, **style)
    ax.plot(x, value(y), "o", color="black", markersize=4, alpha=0.6, zorder=3)
    return places[-1], mean[-1]


def _counted(number: float | str, things: str) -> str:
    """1 layer, 1,000 labels; of what is no number only its name."""
    if isinstance(number, str):
        return number
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}".replace("_", " ")


def _name_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names beside the axes, each at the height at which its line ends, moved apart where they would overlap.

    Args:
        ends: of each line its name, the x and y of its end, and its colour.
    """
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
    ends = sorted(ends, key=lambda end: end[2])
    points = [(x, y) for _, x, y, _ in ends]
    at = ax.transAxes.inverted().transform(ax.transData.transform(points))[:, 1]
    gap = 24 / (72 * ax.get_window_extent().height / ax.figure.dpi)  # 24 points for letters of 15
    heights = _spread(at, gap=gap)
    heights -= max(heights[-1] - 1, 0)
    for (name, _, _, colour), point, height in zip(ends, points, heights, strict=True):
        line = {"arrowstyle": "-", "color": colour, "linewidth": 1, "relpos": (0, 0.5)}
        style = {"color": colour, "fontsize": 15, "va": "center", "parse_math": False, "arrowprops": line}
        ax.annotate(drawable(name), point, xytext=(1.03, height), textcoords="axes fraction", **style)


def forgetting(before: float, runs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What fine-tuning on a task does to the perplexity of general text: arrows from before to after, logarithmic.

    Two arrows a task: red without the language model's loss, blue with λ = 0.5. Dots are the seeds, an arrow ends at
    their geometric mean, and beside it is how many times the perplexity has become.

    Args:
        before: the perplexity of general text before fine-tuning.
        runs: one row a run, with the columns ``task``, ``labels``, ``weights``, ``lam`` and ``general_loss`` (nats a
            token); those of other λ and of weights that are "fresh" are left out.

    Raises:
        ValueError: a column is missing, no run is left, or ``before`` is less than 1.
    """
    if not before >= 1:
        raise ValueError(f"a perplexity is at least 1, not {before}")
    runs = _measured(runs, ["task", "labels", "weights", "lam", "general_loss"])
    colours = {0.0: RED, 0.5: BLUE}
    runs = runs[runs["lam"].isin(list(colours)) & (runs["weights"] != "fresh")]
    if runs.empty:
        raise ValueError("no run of pretrained weights with λ = 0 or 0.5 has a general_loss")
    by_task = runs.groupby(["task", "labels"], sort=False, observed=True)
    rows = [(name, lam, some) for name, of_task in by_task for lam, some in (("", None), *of_task.groupby("lam"))]
    if ax is None:
        ax = plt.subplots(figsize=(12, 1.4 + 0.5 * len(rows)))[1]
    names = []
    for row, ((task, labels), lam, some) in enumerate(rows):
        if some is None:
            names.append((f"{task}, {_counted(labels, 'labels')}", "black"))
            continue
        names.append((f"λ = {lam:g}", colours[lam]))
        losses = some["general_loss"]
        after = np.exp(losses.mean())
        head = {"marker": ">" if after > before else "<", "markersize": 17, "markevery": [1]}
        ax.plot([before, after], [row, row], color=colours[lam], linewidth=6, solid_capstyle="butt", **head)
        ax.plot(np.exp(losses), np.full(len(losses), row), "o", color="black", markersize=5, alpha=0.6, zorder=4)
        beside = {"xytext": (15, 0), "textcoords": "offset points", "va": "center", "fontsize": 18}
        beyond = max(before, np.exp(losses.max()))
        ax.annotate(f"× {short(after / before)}", (beyond, row), color=colours[lam], **beside)
    ax.axvline(before, color="black", linewidth=2, zorder=0.9)
    beside = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 16}
    ax.annotate(f"before: {short(before)}", (before, 0), **beside)
    seen = np.array([before, *np.exp(runs["general_loss"])])
    low, high = seen.min(), max(seen.max(), 2 * seen.min())
    ax.set(xscale="log", xlim=(low * (low / high) ** 0.07, high * (high / low) ** 0.2), ylim=(len(rows) - 0.4, -0.6))
    perplexity_ticks(ax.xaxis, [low, high])
    ax.set_xlabel("perplexity of general text", fontsize=16)
    ax.set_yticks(range(len(rows)), [drawable(name) for name, _ in names], fontsize=16, parse_math=False)
    for label, (_, colour) in zip(ax.get_yticklabels(), names, strict=True):
        label.set_color(colour)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    return ax


def shots_curve(runs: pd.DataFrame, *, chance: float, name: str = "layers", ax: Axes | None = None) -> Axes:
    """How often a model is right that has examples in its prompt and learns nothing else: accuracy against shots.

    Every seed is a small dot, the mean a large one, and the bar one standard deviation over the seeds. The shots
    stand at the logarithm of one more than they are, so that none has a place.

    Args:
        runs: one row a run, with the columns ``shots``, ``name``, ``seed`` and ``accuracy`` (0 to 1).
        chance: the accuracy of guessing, dashed.
        name: the column that lines tell apart: numbers such as of ``layers``, or names.

    Raises:
        ValueError: a column is missing, no accuracy is there, shots are negative, or chance is no share.
    """
    if not 0 <= chance <= 1:
        raise ValueError(f"chance is a share from 0 to 1, not {chance}")
    runs = _measured(runs, ["shots", name, "accuracy"])
    if (runs["shots"] < 0).any():
        raise ValueError(f"a prompt has 0 examples or more, not {runs['shots'].min()}")
    ax = ax if ax is not None else plt.subplots(figsize=(11, 5.5))[1]
    runs = runs.assign(at=np.log2(1 + runs["shots"]))
    lines = runs.groupby(name, sort=not isinstance(runs[name].iloc[0], str), observed=True)
    ends = []
    for i, ((which, of_line), shift) in enumerate(zip(lines, _shifts(runs["at"], len(lines)), strict=True)):
        style = {"color": CYCLE[i % len(CYCLE)], "marker": MARKERS[i % len(MARKERS)]}
        end = _by_seed(ax, of_line["at"] + shift, of_line["accuracy"], **style)
        ends.append((_counted(which, name), *end, style["color"]))
    ax.axhline(chance, color=GREY, linestyle="--", zorder=0.9)
    ax.margins(y=0.1)
    shots = np.unique(runs["shots"])
    ax.set_xticks(np.log2(1 + shots), [f"{number:,}" for number in shots], fontsize=15)
    ax.set_xlabel("examples in the prompt", fontsize=16)
    ax.set_ylabel("accuracy", fontsize=16)
    ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    _name_ends(ax, [*ends, (f"chance: {chance:.1%}", ax.get_xlim()[1], chance, "#666666")])
    return ax


def who_sees_whom(tokens: Sequence[str], *, masked: Collection[int], ax: Axes | None = None) -> Axes:
    """Which tokens each position reads, and which it has to guess: left to right, as GPT, and masked, as BERT.

    A row is a position, the columns are what it reads. Red, beside the rows that have a loss, is what they guess: the
    next token at every position but the last, or, where [MASK] stands, what was there.

    Args:
        tokens: T of a sentence, without special ones.
        masked: the positions that [MASK] takes.

    Raises:
        ValueError: there are fewer than two tokens, no position is masked, or one that there is not.
    """
    n = len(tokens)
    if n < 2:
        raise ValueError(f"with {n} token there is nothing to read and nothing to guess: give at least 2")
    if not masked or not set(masked) <= set(range(n)):
        raise ValueError(f"masked holds at least one of the positions 0 to {n - 1}, not {sorted(masked)}")
    hidden = np.isin(np.arange(n), list(masked))
    read = ["[MASK]" if hide else token for token, hide in zip(tokens, hidden, strict=True)]
    answers = {i: tokens[i] for i in np.flatnonzero(hidden)}
    models = [  # title, what is read, who sees whom (T, T): 0 not, 1 the token, 2 [MASK] for it; what is guessed
        (f"GPT, left to right: a loss at {n - 1} of {n}", tokens, np.tri(n), dict(enumerate(tokens[1:]))),
        (f"BERT, masked: a loss at {len(answers)} of {n}", read, np.tile(1 + hidden, (n, 1)), answers),
    ]
    cell, size, gap = 0.52, 18, 0.8  # inches, points
    words, heads = _widths([*tokens, "[MASK]"], size).max(), _widths(["reads →", "guesses"], size)
    left, above, grid = max(words, heads[0]) + 0.15, words + 0.2, n * cell
    right = max(words + 0.35, heads[1]) + 0.1
    panel = max(left + grid + right, _widths([title for title, *_ in models], 20).max())
    width, height = 2 * panel + gap, above + grid + 1.3
    shrunk = min(1, 22 / width)
    if ax is None:
        ax = plt.subplots(figsize=(shrunk * width + 0.2, shrunk * height + 0.2))[1]
    shrunk = min(1, *(ax.get_window_extent().size / ax.figure.dpi / (width, height)))
    ax.set(xlim=(0, width), ylim=(-grid - 0.7, above + 0.6), aspect="equal")
    ax.axis("off")
    colours = {"#eeeeee": "does not see it", BLUE: "reads it", SKY: "reads [MASK] in its place"}
    for x, (title, reads, sees, guessed) in zip((0, panel + gap), models, strict=True):
        style = {"cmap": mpl.colors.ListedColormap(list(colours)), "vmin": 0, "vmax": 2}
        edges = cell * np.arange(n + 1)
        ax.pcolormesh(x + left + edges, -edges, sees, edgecolors="white", linewidth=3 * shrunk, **style)
        ax.text(x, above + 0.35, title, fontsize=20 * shrunk, va="center")
        style = {"fontsize": size * shrunk, "va": "center", "parse_math": False}
        ax.text(x + left - 0.12, 0.2, "reads →", ha="right", color="#666666", **style)
        ax.text(x + left + grid + 0.1, 0.2, "guesses", color="#666666", **style)
        for i, token in enumerate(map(drawable, reads)):
            middle = cell * (i + 0.5)
            ax.text(x + left - 0.12, -middle, token, ha="right", **style)
            ax.text(x + left + middle, 0.08, token, ha="center", rotation=90, **style | {"va": "bottom"})
            if i in guessed:
                ax.text(x + left + grid + 0.1, -middle, f"→ {drawable(guessed[i])}", color=RED, **style)
    handles = [patches.Patch(color=colour, label=label) for colour, label in colours.items()]
    ax.legend(handles=handles, frameon=False, fontsize=16 * shrunk, loc="lower left", ncols=3, borderaxespad=0)
    return ax


def input_transformations(*, ax: Axes | None = None) -> Axes:
    """How GPT reads four kinds of task as rows of tokens, and what is put on top (Radford et al. 2018, figure 1).

    A linear layer reads the state at <extract>, the only one that has seen the whole row. Similarity has no first
    text: both orders are read, and the states added. Of the choices, each has a row and a score.
    """
    if ax is None:
        ax = plt.subplots(figsize=(20, 10))[1]
    ax.set(xlim=(-0.1, 26), ylim=(0.6, 13.1))
    ax.axis("off")
    rain = "It rained, so Nok opened"
    same = "รถติดไหม", "การจราจรเป็นอย่างไร"
    fitted = _transformed(ax, 11.6, "classification", [["กาแฟหอม พนักงานน่ารัก"]], ["positive"])
    fitted += _transformed(ax, 9.2, "entailment", [["A dog runs in the park.", "An animal moves."]], ["follows"])
    fitted += _transformed(ax, 6.8, "similarity: both orders, added", [same, same[::-1]], ["the same"], joined="+")
    choices = [[rain, "her umbrella."], [rain, "the fridge."], [rain, "a piano."]]
    title = "multiple choice: a row a choice"
    fitted += _transformed(ax, 3.3, title, choices, ["94%", "4%", "2%"], joined="softmax")
    ax.text(
        25.9,
        12.6,
        "h: the state at <extract>, of the last layer",
        ha="right",
        va="center",
        fontsize=19,
        color="#00694c",
    )
    _fit(ax, fitted)
    return ax


def _transformed(
    ax: Axes, y: float, title: str, rows: Sequence[Sequence[str]], answers: Sequence[str], *, joined: str = ""
) -> list[tuple[mpl.text.Text, float]]:
    """One kind of task, its first row at the height y; returns what is left to fit."""
    ax.text(0, y + 0.95, title, va="center", fontsize=21)
    fitted = []
    first = rows[0][0]

    def block(x: float, at: float, width: float, text: str, colour: str, height: float = 0.8) -> None:
        fitted.append((_block(ax, (x, at), (width, height), text, colour), width - 0.2))

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str = "#777777") -> None:
        style = {"arrowstyle": "-|>", "mutation_scale": 18, "color": colour, "linewidth": 2, "zorder": 2}
        ax.add_artist(patches.FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))

    heights = y - 1.05 * np.arange(len(rows))
    middle = heights.mean()
    for at, texts in zip(heights, rows, strict=True):
        block(0.8, at, 1.6, "<start>", _PALE[GREY])
        colours = [_PALE[BLUE if text == first else ORANGE] for text in texts]
        if len(texts) == 1:
            block(7.55, at, 11.7, texts[0], colours[0])
        else:
            block(4.1, at, 4.8, texts[0], colours[0])
            block(7.65, at, 2.1, "<delimiter>", _PALE[GREY])
            block(11.1, at, 4.6, texts[1], colours[1])
        block(14.4, at, 1.8, "<extract>", _PALE[GREEN])
        arrow((15.3, at), (15.9, at))
        block(17.1, at, 2.4, "transformer", "#333333")
        arrow((18.3, at), (18.8, at))
        block(19.15, at, 0.7, "h", GREEN)
    if joined == "+":
        for at in heights:
            arrow((19.5, at), (20.1, middle + 0.25 * np.sign(at - middle)), GREEN)
        ax.text(20.3, middle, "+", fontsize=26, color=GREEN, **_MIDDLE)
        arrow((20.55, middle), (21.1, middle), GREEN)
    heights = [middle] if joined == "+" else heights
    for at, answer in zip(heights, answers, strict=True):
        if joined != "+":
            arrow((19.5, at), (21.1, at), GREEN)
        block(21.8, at, 1.4, "linear", RED)
        end = 22.5
        if joined == "softmax":
            arrow((22.5, at), (23.0, at), RED)
            end = 23.8
        arrow((end, at), (end + 0.5, at), RED)
        fitted.append((ax.text(end + 0.6, at, drawable(answer), color=RED, fontsize=20, va="center"), 2.4))
    if joined == "softmax":
        _block(ax, (23.4, middle), (0.8, np.ptp(heights) + 0.8), "softmax", RED).set_rotation(90)
    return fitted


def growth(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How many parameters models have, on a logarithmic axis: a dot a model with its value, a colour a family.

    Args:
        table: one row a model, in the order to be drawn, with the columns ``model``, ``family`` and ``parameters``;
            the models of a family stand together.

    Raises:
        ValueError: a column is missing, or a model has no parameters.
    """
    for column in ("model", "family", "parameters"):
        need(table, column)
    if len(bad := table.loc[~(table["parameters"] > 0), "model"]):
        raise ValueError(f"a model has more than 0 parameters; look at {', '.join(map(str, bad))}")
    if ax is None:
        ax = plt.subplots(figsize=(12, 1.2 + 0.48 * len(table)))[1]
    models, counts = table["model"].astype(str).tolist(), table["parameters"].to_numpy()
    for i, (family, rows) in enumerate(pd.Series(range(len(table))).groupby(table["family"].to_numpy(), sort=False)):
        colour = CYCLE[i % len(CYCLE)]
        ax.plot(counts[rows], rows, "o", color=colour, markersize=15)
        beside = {"xycoords": ("axes fraction", "data"), "xytext": (10, 0), "textcoords": "offset points"}
        ax.annotate(drawable(str(family)), (1, rows.mean()), va="center", fontsize=22, color=colour, **beside)
        if i:
            ax.axhline(rows.iloc[0] - 0.5, color=GREY, linewidth=1)
    for row, count in enumerate(counts):
        beside = {"xytext": (14, 0), "textcoords": "offset points", "va": "center", "fontsize": 17}
        ax.annotate(engineering(count), (count, row), **beside)
    low, high = counts.min(), max(counts.max(), 10 * counts.min())
    ax.set(xscale="log", xlim=(low / 1.6, high * (high / low) ** 0.16), ylim=(len(models) - 0.5, -0.5))
    ax.xaxis.set_major_locator(mpl.ticker.LogLocator())
    ax.xaxis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda count, _: f"{count / 1e9:g} B" if count >= 1e9 else f"{count / 1e6:g} M")
    )
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.set_xlabel("parameters", fontsize=16)
    ax.set_yticks(range(len(models)), map(drawable, models), fontsize=16, parse_math=False)
    ax.grid(axis="y", visible=False)
    return ax


def learning_curves(
    curves: pd.DataFrame,
    summary: pd.DataFrame | None = None,
    *,
    between: tuple[str, str] | None = None,
    start: float | None = None,
    rise: float | None = None,
    levels: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Scores over the steps of training, a colour a treatment: thin lines the seeds, thick ones their means.

    With a summary the three benefits stand on it as arrows from one curve to another: higher start, higher slope,
    higher asymptote (Torrey and Shavlik 2010, figure 2).

    Args:
        curves: ``treatment``, ``seed``, ``steps`` and ``score``, of :func:`tlcourse.transfer_curves.step_curves`.
        summary: of the same curves, by :func:`tlcourse.transfer_curves.summarise`.
        between: the treatment that has the benefits and the one without; the last and the first unless given.
        start, rise: as given to ``summarise``: the step of the start, and the last one of the slopes' lines.
        levels: scores without a curve, such as chance, by name: broken lines.

    Raises:
        ValueError: a column or a treatment is missing.
    """
    for column in ("treatment", "seed", "steps", "score"):
        need(curves, column)
    if ax is None:
        ax = plt.subplots(figsize=(12, 6.5))[1]
    colours = dict(zip(curves["treatment"].unique(), cycle([GREY, *CYCLE]), strict=False))
    means = curves.groupby(["treatment", "steps"])["score"].mean()
    ends = {}
    for treatment, runs in curves.groupby("treatment", sort=False):
        for _, run in runs.sort_values("steps").groupby("seed"):
            ax.plot(run["steps"], run["score"], color=colours[treatment], linewidth=1, alpha=0.45)
        mean = means[treatment]
        ax.plot(mean.index, mean, color=colours[treatment], linewidth=5, marker="o", markersize=9)
        ends[treatment] = mean.iloc[-1], colours[treatment]
    for name, level in (levels or {}).items():
        ax.axhline(level, color="black", linestyle=(0, (4, 3)), linewidth=1.5)
        ends[name] = level, "black"
    last = curves["steps"].max()
    scores = [*curves["score"], *(levels or {}).values()]
    bottom, top = min(scores) - 0.02, max(scores) + 0.04
    ax.set(xlim=(-0.03 * last, 1.1 * last), ylim=(bottom, top))
    names = sorted(ends, key=lambda name: ends[name][0])
    places = _spread(np.array([ends[name][0] for name in names]), gap=0.07 * (top - bottom))
    for name, place in zip(names, places, strict=True):
        ax.annotate(
            drawable(name), (1, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            color=ends[name][1], fontsize=18, va="center", parse_math=False,
        )  # fmt: skip
    if summary is not None:
        high, low = between or (list(colours)[-1], next(iter(colours)))
        start = curves["steps"].min() if start is None else start
        rise = last / 4 if rise is None else rise
        _three_benefits(ax, means, summary, (high, low), start=start, rise=rise)
    ax.set_xlabel("training steps", fontsize=18)
    ax.set_ylabel("score on texts held out", fontsize=18)
    ax.tick_params(labelsize=16)
    return ax


def _three_benefits(
    ax: Axes,
    means: pd.Series,
    summary: pd.DataFrame,
    between: tuple[str, str],
    *,
    start: float,
    rise: float,
) -> None:
    """Arrows between two curves at their starts and ends, and the lines of their slopes."""
    benefit = ["start", "slope", "asymptote"]
    for column in ("treatment", *benefit):
        need(summary, column)
    names = list(summary["treatment"].unique())
    if missing := [name for name in between if name not in means or name not in names]:
        raise ValueError(f"there is no curve of {missing[0]!r} among {', '.join(names)}")
    found = summary.groupby("treatment")[benefit].mean()
    high, low = between
    last = means.index.get_level_values("steps").max()
    for x, name in ((start, "start"), (1.05 * last, "asymptote")):
        ends = (x, found.loc[low, name]), (x, found.loc[high, name])
        arrow = {"arrowstyle": "-|>", "color": RED, "linewidth": 4, "mutation_scale": 26, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", ends[1], ends[0], arrowprops=arrow, zorder=5)
        _benefit(ax, (x, np.mean(ends, axis=0)[1]), f"{name}\n{ends[1][1] - ends[0][1]:+.3f}", left=name == "asymptote")
    for treatment in between:
        early = means[treatment][means[treatment].index <= rise]
        x = np.array([0, rise])
        slope = found.loc[treatment, "slope"] / 100
        ax.plot(x, early.mean() + slope * (x - early.index.to_numpy().mean()), color=RED, linewidth=3, linestyle="--")
    gain = found.loc[high, "slope"] - found.loc[low, "slope"]
    middle = np.mean([means[name][means[name].index <= rise].iloc[-1] for name in between])
    _benefit(ax, (rise, middle), f"slope\n{gain:+.2f} / 100 steps", left=False)


def _benefit(ax: Axes, at: tuple[float, float], text: str, *, left: bool) -> None:
    ax.annotate(
        text, at, (-12 if left else 12, 0), textcoords="offset points", color=RED, fontsize=17, va="center",
        ha="right" if left else "left", path_effects=_HALO, zorder=6,
    )  # fmt: skip


def source_bars(scores: pd.DataFrame, *, chance: float, ax: Axes | None = None) -> Axes:
    """The same target from different sources: bars from chance to the mean, dots the seeds; the best source on top.

    Args:
        scores: ``source``, ``treatment``, ``seed`` and ``score``, of :func:`tlcourse.transfer_curves.source_scores`.
        chance: the score of a guess, where bars begin.

    Raises:
        ValueError: a column is missing.
    """
    for column in ("source", "treatment", "seed", "score"):
        need(scores, column)
    means = scores.groupby(["treatment", "source"], sort=False)["score"].mean()
    order = means.groupby("source").max().sort_values().index
    treatments = scores["treatment"].unique()
    if ax is None:
        ax = plt.subplots(figsize=(12, 1.5 + 0.5 * len(order) * len(treatments)))[1]
    height = 0.8 / len(treatments)
    colours = dict(zip(treatments, cycle(CYCLE), strict=False))
    for i, (treatment, colour) in enumerate(colours.items()):
        for row, source in enumerate(order):
            if (treatment, source) not in means.index:
                continue
            at, mean = row + ((len(treatments) - 1) / 2 - i) * height, means[treatment, source]
            runs = scores.loc[(scores["source"] == source) & (scores["treatment"] == treatment), "score"]
            ax.barh(at, mean - chance, 0.9 * height, chance, color=colour)
            ax.plot(runs, np.full(len(runs), at), "o", color="black", markersize=6, alpha=0.7)
            ax.annotate(f"{mean:.3f}", (max(mean, runs.max()), at), (10, 0), textcoords="offset points", va="center")
    low, high = min(scores["score"].min(), chance), max(scores["score"].max(), chance)
    room = max(high - low, 0.01)
    ax.axvline(chance, color="black", linestyle=(0, (4, 3)), linewidth=1.5)
    ax.set(xlim=(low - 0.05 * room, high + 0.18 * room), ylim=(-0.6, len(order) - 0.4))
    ax.set_xlabel(f"score on texts held out; chance is {chance:.2f}", fontsize=16)
    ax.set_yticks(range(len(order)), [drawable(str(source)) for source in order], fontsize=16, parse_math=False)
    ax.grid(axis="y", visible=False)
    named = [patches.Patch(color=colour, label=treatment) for treatment, colour in colours.items()]
    ax.legend(handles=named, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(named), fontsize=16)
    return ax


# ------------------------------------------------------------------------------------ how transferable layers are
WEIGHTS = {
    "A": (RED, "learned on A"),
    "B": (BLUE, "learned on B"),
    "far": (PURPLE, "learned on far, another data set"),
    "fresh": ("white", "drawn anew, then learns"),
    "random": ("#cccccc", "drawn at random"),
}
"""Where the weights of a layer come from: its colour, and what the legend says."""
SURGERY = ("base A", "base B", "BnB", "BnB+", "AnB", "AnB+", "random")
"""The rows of :func:`surgery_blocks`; there are also base far, AnB from far and AnB+ from far."""
CURVES = {
    "BnB": (BLUE, "o", "-"),
    "BnB+": (SKY, "o", "-"),
    "AnB": (RED, "s", "-"),
    "AnB+": (ORANGE, "s", "-"),
    "AnB from far": (PURPLE, "D", "--"),
    "AnB+ from far": (PURPLE, "D", ":"),
    "random": (GREY, "^", "-"),
}
"""What :func:`transferability` draws beside base B: colour, marker and line."""
_MARKS = {"frozen": "frozen", "learns": "copied, and learns on"}
_BLOCK_NAMES = {"plain CNN": "conv", "residual CNN": "conv", "LSTM": "LSTM", "transformer": "attention"}  # by kind
_VERDICTS = {"holds": (GREEN, "o"), "undecided": ("#777777", "D"), "fails": (RED, "X")}


def surgery_blocks(
    network: Sequence[str] | object,
    rows: Sequence[str] = SURGERY,
    *,
    n: int = 3,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The surgery of Yosinski et al. 2014 (figure 1) as blocks: a row a network, a column a layer, and its head.

    Colours and words in the blocks say where weights come from, a lock that they are frozen, a plus that they were
    copied and learn on. A broken line is the cut, above the first n layers.

    Args:
        network: a :class:`tlcourse.transferability.Architecture`, or the names of all layers, the embedding's first.
        rows: some of :data:`SURGERY` or those from far, in the order to be drawn.
        n: layers that are copied, or random and frozen.
        legend: say below what colours and marks are.

    Raises:
        ValueError: there is no such row, no row at all, or no such depth.
    """
    names = [network] if isinstance(network, str) else network
    if not isinstance(names, Sequence):
        names = ["embedding", *[_BLOCK_NAMES[network.kind]] * (network.layers - 1)]
    if not rows:
        raise ValueError(f"no row to draw: give some of {', '.join(SURGERY)}")
    if not 1 <= n <= len(names):
        raise ValueError(f"n={n}: the network has layers 1 to {len(names)}")
    blocks = [_surgery(row, n, len(names)) for row in rows]
    labels = [row.replace("nB", f"{n}B") for row in rows]
    used = {kind for row in blocks for kind in row}
    entries = [(weights, "", text) for weights, (_, text) in WEIGHTS.items() if weights in {w for w, _ in used}]
    entries += [("", mark, text) for mark, text in _MARKS.items() if mark in {m for _, m in used}]
    entries = entries if legend else []
    # In units of the axes, in which a block is 1.35 wide: letters are as large as the axes are, 1 inch a unit or less.
    left = _widths(labels, 24).max() + 0.45
    columns = left + 1.45 * np.arange(len(names) + 1) + 0.7
    columns[-1] += 0.3
    width, cut = columns[-1] + 0.75, columns[n - 1 : n + 1].mean()
    places, lines = _legend_places([text for *_, text in entries], width)
    height = 1.35 + 0.95 * len(rows) + 0.6 * lines
    if ax is None:
        shrunk = min(1, 16 / width)
        ax = plt.subplots(figsize=(shrunk * width, shrunk * height))[1]
    ax.set(xlim=(0, width), ylim=(-height, 0), aspect="equal")
    ax.axis("off")
    if layout := ax.figure.get_layout_engine():
        layout.execute(ax.figure)
    ax.apply_aspect()
    inch = np.ptp(ax.transData.transform([(0, 0), (1, 0)])[:, 0]) / ax.figure.dpi  # of a unit
    middle = _MIDDLE | {"zorder": 5}
    for x, number, name in zip(columns, [*range(1, len(names) + 1), ""], [*names, "head"], strict=True):
        size = 19 * min(1, 1.3 / _widths([name], 19)[0])
        ax.text(x, -0.4, f"layer {number}" if number else "", fontsize=17 * inch, color="#555555", **middle)
        ax.text(x, -0.8, drawable(name), fontsize=size * inch, **middle)
    for y, label, row in zip(-1.6 - 0.95 * np.arange(len(rows)), labels, blocks, strict=True):
        ax.text(left - 0.25, y, label, fontsize=24 * inch, **middle | {"ha": "right"})
        for x, (weights, mark) in zip(columns, row, strict=True):
            _weights(ax, (x, y), weights, mark, inch)
    if any("base" not in row for row in rows):
        top = -1.1 - 0.95 * next(i for i, row in enumerate(rows) if "base" not in row)
        ax.plot([cut, cut], [top, -1.1 - 0.95 * len(rows)], color="black", linestyle=(0, (2, 1.5)), linewidth=4 * inch)
    for (x, line), (weights, mark, text) in zip(places, entries, strict=True):
        y = 0.6 * (lines - line) - height - 0.25
        _weights(ax, (x + 0.3, y), weights, mark, inch, size=(0.55, 0.4), text=False)
        ax.text(x + 0.7, y, text, fontsize=18 * inch, **middle | {"ha": "left"})
    return ax


def _surgery(row: str, n: int, layers: int) -> list[tuple[str, str]]:
    """Of each layer and of the head, where its weights come from, and a mark."""
    treatment, _, far = row.partition(" from ")
    source = "far" if far else treatment[0]
    known = ("base far", *SURGERY, "AnB from far", "AnB+ from far")
    if row not in known:
        raise ValueError(f"there is no row {row!r}; they are {', '.join(known)}")
    if treatment.startswith("base"):
        return [(treatment.removeprefix("base "), "")] * (layers + 1)
    kept = ("random", "frozen") if row == "random" else (source, "learns" if treatment.endswith("+") else "frozen")
    return [kept] * n + [("fresh", "")] * (layers - n + 1)


def _weights(
    ax: Axes,
    at: tuple[float, float],
    weights: str,
    mark: str,
    inch: float,
    *,
    size: tuple[float, float] = (1.35, 0.75),
    text: bool = True,
) -> None:
    """A block of :func:`surgery_blocks`: a layer's weights, with a mark; without weights the mark alone."""
    x, y = at
    ink = "black"
    if weights:
        colour, _ = WEIGHTS[weights]
        ink = "white" if colour in (RED, BLUE) else "black"
        style = {"fc": colour, "ec": "#555555", "lw": 1.5 * inch, "zorder": 3}
        if weights == "random":
            style |= {"hatch": "//", "ec": "#888888"}
        shape = patches.BoxStyle("round", pad=0, rounding_size=0.08)
        ax.add_artist(patches.FancyBboxPatch(np.subtract(at, np.divide(size, 2)), *size, boxstyle=shape, **style))
        if text:
            letters = 24 if len(weights) == 1 else 16
            style = {"path_effects": [patheffects.withStroke(linewidth=4 * inch, foreground="#cccccc")]}
            shift = (0.17 if len(weights) < 4 else 0.2) if mark else 0
            ax.text(
                x - shift, y, weights, fontsize=letters * inch, color=ink, **_MIDDLE, zorder=5,
                **style if weights == "random" else {},
            )  # fmt: skip
            x += 0.46 if len(weights) > 3 else 0.3
    if mark == "frozen":
        ax.add_artist(patches.Rectangle((x - 0.14, y - 0.2), 0.28, 0.23, color=ink, lw=0, zorder=5))
        ax.add_artist(patches.Arc((x, y + 0.03), 0.19, 0.3, theta2=180, color=ink, lw=3.5 * inch, zorder=5))
    if mark == "learns":
        for across in ([x - 0.16, x + 0.16], [y, y]), ([x, x], [y - 0.16, y + 0.16]):
            ax.plot(*across, color=ink, linewidth=5 * inch, solid_capstyle="butt", zorder=5)


def _legend_places(texts: Sequence[str], width: float) -> tuple[list[tuple[float, int]], int]:
    """Where the entries of a legend begin, x and line, set one after the other; and how many lines there are."""
    places, x, lines = [], np.inf, 0
    for wide in _widths(texts, 18) + 1.1:
        if x + wide > width + 0.4:
            x, lines = 0.0, lines + 1
        places.append((x, lines - 1))
        x += wide
    return places, lines


def curve_names(table: pd.DataFrame) -> pd.Series:
    """Which curve each row of a grid's table belongs to: ``base B``, ``AnB``, ``AnB from far`` …

    Raises:
        ValueError: the column ``treatment`` or ``source`` is missing, or there is no such treatment.
    """
    for column in ("treatment", "source"):
        need(table, column)
    known = [name for name in CURVES if "far" not in name]
    if unknown := set(table["treatment"]) - {"base", *known}:
        raise ValueError(f"there is no treatment {min(map(str, unknown))!r}; they are base, {', '.join(known)}")
    from tlcourse.transferability import grid  # heavy, and there where its table is drawn

    return grid.curve_names(table)


def transferability(
    table: pd.DataFrame,
    *,
    metric: str = "accuracy",
    difference: bool = False,
    highlight: tuple[str, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Figure 2 of Yosinski et al. 2014: a score on B against the depth n; runs are dots, means over splits lines.

    Nothing is copied at n = 0, which is base B; its line goes right across, in a band of one standard deviation over
    the splits.

    Args:
        table: of one network, by :func:`tlcourse.transferability.run_grid`: ``network``, ``split``, ``source``,
            ``treatment``, ``n``, ``seed`` and the metric.
        metric: the column to draw.
        difference: each run less base B of its split and seed, so that how hard a split is does not matter.
        highlight: a curve, such as ``AnB from far``, and a depth to mark.

    Raises:
        ValueError: a column is missing, a treatment is unknown, there is more than one network or no run, no base B
            to compare with, or nothing at the place to mark.
    """
    table = _measured(table, ["network", "split", "source", "treatment", "n", "seed", metric])
    if len(networks := table["network"].unique()) > 1:
        raise ValueError(f"draw one network at a time, not {', '.join(map(str, networks))}")
    table = table.assign(curve=curve_names(table), value=_less_base(table, metric) if difference else table[metric])
    if highlight and not ((table["curve"] == highlight[0]) & (table["n"] == highlight[1])).any():
        raise ValueError(f"there is no run of {highlight[0]} at n={highlight[1]} to mark")
    ax = ax if ax is not None else plt.subplots(figsize=(13, 6.5))[1]
    curves = [name for name in CURVES if (table["curve"] == name).any()]
    deepest = max(table["n"].max(), 1)
    ax.set_xlim(-0.45, deepest + 0.45)
    base, ends = table[table["curve"] == "base B"], []
    if len(base):
        by_split = base.groupby("split")["value"].mean()
        level, spread = by_split.mean(), by_split.std() if len(by_split) > 1 else 0
        ax.axhspan(level - spread, level + spread, color="black", alpha=0.07, lw=0)
        ax.axhline(level, color="black", linewidth=2, zorder=1.5)
        if not difference:
            ax.plot(base["n"], base["value"], "o", color="black", markersize=7, alpha=0.4)
        ax.plot(0, level, "o", color="black", markersize=13, zorder=4)
        ends.append(("base B", deepest + 0.45, level, "black"))
    for name, shift in zip(curves, _shifts(np.arange(2), len(curves)), strict=True):
        colour, marker, line = CURVES[name]
        runs = table[table["curve"] == name]
        means = runs.groupby(["n", "split"])["value"].mean().groupby("n").mean()
        pale = 0.25 if highlight and highlight[0] != name else 1
        x, y = (means.index + shift).to_numpy(), means.to_numpy()
        if len(base):
            x, y = [0, *x], [level, *y]
        face = "white" if "+" in name else colour
        style = {"color": colour, "marker": marker, "markerfacecolor": face, "markeredgewidth": 2.5}
        ax.plot(runs["n"] + shift, runs["value"], marker, color=colour, markersize=6, alpha=0.4 * pale, zorder=2)
        ax.plot(x, y, line, **style, markersize=11, linewidth=3, alpha=pale, markevery=slice(len(x) - len(means), None))
        ends.append((name, x[-1], y[-1], colour))
        if highlight and highlight[0] == name:
            at = highlight[1]
            chosen = runs.loc[runs["n"] == at, "value"]
            dots = {"color": colour, "markersize": 9, "markeredgecolor": "black", "zorder": 7}
            ax.plot(np.full(len(chosen), at + shift), chosen, marker, **dots)
            ax.plot(at + shift, means[at], "o", markersize=28, fillstyle="none", color="black", mew=3, zorder=6)
            ax.axvspan(at - 0.4, at + 0.4, color=colour, alpha=0.13, lw=0)
    share = metric in ("accuracy", "macro_f1")
    words = metric.replace("_", " ")
    if difference:
        scale = 100 if share else 1
        ax.set_ylabel(f"{words} less that of base B{', points' * share}", fontsize=18)
        ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: signed(scale * value, "+.3g")))
    else:
        ax.set_ylabel(f"{words} on B", fontsize=18)
        if share:
            ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    ax.margins(y=0.06)
    depths = np.unique([0, *table["n"]])
    ax.set_xticks(depths, [str(n) for n in depths])
    ax.set_xlabel("n, the first layers that are copied (0: base B)", fontsize=18)
    ax.tick_params(labelsize=16)
    ax.grid(axis="x", visible=False)
    _name_ends(ax, ends)
    return ax


def _less_base(table: pd.DataFrame, metric: str) -> pd.Series:
    """Each run's metric less that of base B, of the same split and seed."""
    pair = ["split", "seed"]
    base = table[curve_names(table) == "base B"].groupby(pair)[metric].mean().rename("base")
    values = table[[*pair, metric]].join(base, on=pair)
    if (missing := values[values["base"].isna()]).size:
        split, seed = missing[pair].iloc[0]
        raise ValueError(f"split {split}, seed {seed} has no base B to compare with")
    return values[metric] - values["base"]


def prediction(
    guess: Mapping[int, float],
    measured: pd.DataFrame | None = None,
    *,
    base: float,
    name: str = "AnB",
    ax: Axes | None = None,
) -> Axes:
    """A curve as somebody expected it, from base B over some depths; and, where it is given, as it was measured.

    Args:
        guess: by depth n, a share from 0 to 1.
        measured: a row a split, a column a depth: each split a dot, their means a line.
        base: the mean of base B.
        name: of the curve, one of :data:`CURVES`.

    Raises:
        ValueError: nothing is expected, or at a depth that was not measured, or there is no such curve.
    """
    if not guess:
        raise ValueError("nothing is expected: give a share for one depth at least")
    if name not in CURVES:
        raise ValueError(f"there is no curve {name!r}; they are {', '.join(CURVES)}")
    if measured is not None and (missing := set(guess) - set(measured.columns)):
        raise ValueError(f"{name} was not measured at n={min(missing)}")
    ax = ax if ax is not None else plt.subplots(figsize=(12, 5.8))[1]
    x, y = [0, *sorted(guess)], [base, *(guess[n] for n in sorted(guess))]
    deepest, low, high = max(x), min(*y, base - 0.25), max(*y, base + 0.03)
    colour, marker, _ = CURVES[name]
    ends = [("base B", deepest + 0.4, base, "black"), ("expected", x[-1], y[-1], GREEN)]
    if measured is not None:
        means = measured.mean()
        for n, expected in guess.items():
            ax.plot([n, n], [expected, means[n]], color=GREY, linewidth=6, alpha=0.5, solid_capstyle="butt", zorder=1)
        for _, split in measured.iterrows():
            ax.plot(split.index, split, marker, color=colour, markersize=7, alpha=0.4)
        ax.plot([0, *means.index], [base, *means], color=colour, marker=marker, markersize=13, linewidth=4)
        ends.append(("measured", means.index[-1], means.iloc[-1], colour))
        deepest, low, high = max(deepest, *means.index), min(low, measured.min().min()), max(high, measured.max().max())
    ax.axhline(base, color="black", linewidth=2, zorder=1.5)
    style = {"marker": "o", "markersize": 15, "markerfacecolor": "white", "markeredgewidth": 3}
    ax.plot(x, y, "--", color=GREEN, linewidth=4, zorder=3, markevery=slice(1, None), **style)
    ax.plot(0, base, "o", color="black", markersize=15, zorder=4)
    ax.set(xlim=(-0.4, deepest + 0.4), ylim=(low - 0.03, high + 0.03))
    ax.set_xticks(range(deepest + 1))
    ax.set_xlabel(f"n of {name} (0: base B)", fontsize=18)
    ax.set_ylabel("score on B", fontsize=18)
    ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    ax.tick_params(labelsize=16)
    ax.grid(axis="x", visible=False)
    _name_ends(ax, ends)
    return ax


def signed(value: float, form: str = "+.1f") -> str:
    """A difference as it is read: +1.5, −0.3, and 0 where nothing is left of it."""
    text = format(value, form)
    return "0" if float(text) == 0 else text.replace("-", "−")


def layer_likeness(
    matrix: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    of: tuple[str, str] = ("base A", "base B"),
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """How like the layers of two networks are: all pairs as a heat map, and layer by layer its diagonal.

    Args:
        matrix: (N, N), of :func:`tlcourse.transferability.likeness`, a row a layer of the first network; 0 to 1.
        names: of the N layers, the first one's first; their numbers unless given.
        of: what the two networks are.
        axes: two, for the map and for the diagonal.

    Raises:
        ValueError: the matrix is not square or not of 0 to 1, or there are not as many names as layers.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or not matrix.size:
        raise ValueError(f"the likeness of N layers with N others is (N, N), not {matrix.shape}")
    n = len(matrix)
    names = [str(i + 1) for i in range(n)] if names is None else list(names)
    if len(names) != n:
        raise ValueError(f"{len(names)} names for {n} layers")
    if not ((matrix >= 0) & (matrix <= 1 + 1e-6)).all():
        raise ValueError("likeness is from 0 to 1, and no value may be missing")
    if axes is None:
        axes = plt.subplots(1, 2, figsize=(15, 6.8), width_ratios=[1.15, 1])[1]
    left, right = axes
    left.imshow(matrix, cmap="Blues", vmin=0, vmax=1, origin="lower", interpolation="nearest")
    size = float(np.clip(135 / n, 7, 19))
    for (row, column), value in np.ndenumerate(matrix):
        text = f"{value:.2f}".replace("0.", ".", 1)
        left.text(column, row, text, fontsize=size, color="white" if value > 0.55 else "black", **_MIDDLE)
    for i in range(n):
        left.add_patch(patches.Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=4))
    ticks = {"fontsize": 16, "parse_math": False}
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
    left.set_xticks(range(n), map(drawable, names), **ticks, **turned)
    left.set_yticks(range(n), map(drawable, names), **ticks)
    left.set_xlabel(f"layers of {drawable(of[1])}", fontsize=18, parse_math=False)
    left.set_ylabel(f"layers of {drawable(of[0])}", fontsize=18, parse_math=False)
    left.tick_params(length=0)
    left.grid(visible=False)
    left.spines[:].set_visible(False)
    diagonal = np.diag(matrix)
    right.plot(range(n), diagonal, color=ORANGE, marker="o", markersize=14, linewidth=4)
    for i, value in enumerate(diagonal):
        above = {"xytext": (0, 14), "textcoords": "offset points", "ha": "center", "fontsize": 17}
        right.annotate(f"{value:.2f}", (i, value), path_effects=_HALO, **above)
    right.set(xlim=(-0.5, n - 0.5), ylim=(0, 1.15))
    right.set_yticks(np.linspace(0, 1, 6))
    right.set_xticks(range(n), map(drawable, names), **ticks, **turned)
    right.set_xlabel("the same layer of both", fontsize=18)
    right.set_ylabel("likeness (CKA)", fontsize=18)
    right.tick_params(axis="y", labelsize=16)
    right.grid(axis="x", visible=False)
    return [left, right]


def observations(verdicts: pd.DataFrame, *, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """What the paper observed, contrast by contrast: a dot the mean, a bar its interval; a column a network.

    A contrast is said to be above 0: it holds where all of its interval is, fails where all is below.

    Args:
        verdicts: of :func:`tlcourse.transferability.verdicts`, of a score from 0 to 1; where an interval is endless,
            that of one split, it is a dotted line.
        axes: as many as networks.

    Raises:
        ValueError: a column is missing, there is no row, a verdict is none, or there are not as many axes.
    """
    for column in ("network", "observation", "contrast", "mean", "low", "high", "verdict"):
        need(verdicts, column)
    if verdicts.empty:
        raise ValueError("there is no verdict to draw")
    if unknown := set(verdicts["verdict"]) - set(_VERDICTS):
        raise ValueError(f"there is no verdict {min(map(str, unknown))!r}; they are {', '.join(_VERDICTS)}")
    networks = verdicts["network"].unique()
    contrasts = verdicts[["observation", "contrast"]].drop_duplicates()
    rows: list[tuple[str, str]] = []  # an observation without a contrast is a heading
    for name, some in contrasts.groupby("observation", sort=False)["contrast"]:
        rows += [(name, ""), *((name, contrast) for contrast in some)]
    if axes is None:
        size = (8 + 4.2 * len(networks), 1.8 + 0.5 * len(rows))
        axes = np.atleast_1d(plt.subplots(1, len(networks), figsize=size, sharey=True)[1])
    if len(axes) != len(networks):
        raise ValueError(f"{len(axes)} axes for {len(networks)} networks")
    seen = 100 * verdicts[["mean", "low", "high"]].to_numpy(float)
    seen = [0, *seen[np.isfinite(seen)]]
    low, high = min(seen), max(seen)
    room = max(high - low, 0.1)
    for ax, network in zip(axes, networks, strict=True):
        for found in verdicts[verdicts["network"] == network].itertuples():
            y = rows.index((found.observation, found.contrast))
            colour, marker = _VERDICTS[found.verdict]
            if np.isfinite([found.low, found.high]).all():
                ends = 100 * np.array([found.low, found.high])
                ax.plot(ends, [y, y], "|-", color=colour, linewidth=5, markersize=16, mew=2.5, solid_capstyle="butt")
            else:
                ax.axhline(y, color=colour, linewidth=2, linestyle=":")
            ax.plot(100 * found.mean, y, marker, color=colour, markersize=15, markeredgecolor="white", zorder=3)
            beside = {"xycoords": ("axes fraction", "data"), "xytext": (8, 0), "textcoords": "offset points"}
            ax.annotate(signed(100 * found.mean), (1, y), va="center", fontsize=18, color=colour, **beside)
        ax.axvline(0, color="black", linewidth=2, zorder=1)
        ax.set(xlim=(low - 0.06 * room, high + 0.06 * room), ylim=(len(rows) - 0.5, -0.5))
        ax.set_title(drawable(str(network)), fontsize=20, parse_math=False)
        ax.set_xlabel("points", fontsize=18)
        ax.tick_params(axis="x", labelsize=16)
        ax.tick_params(axis="y", length=0, labelleft=ax is axes[0])
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [drawable(contrast or name) for name, contrast in rows], parse_math=False)
    for label, (_, contrast) in zip(axes[0].get_yticklabels(), rows, strict=True):
        label.set(fontsize=17 if contrast else 20, color="black" if contrast else BLUE)
    drawn = {name: style for name, style in _VERDICTS.items() if (verdicts["verdict"] == name).any()}
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker=marker, markersize=14, linewidth=5, label=name)
        for name, (colour, marker) in drawn.items()
    ]
    style = {"loc": "lower right", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2}
    axes[0].legend(handles=handles, frameon=False, fontsize=17, columnspacing=1.2, **style)
    return list(axes)
