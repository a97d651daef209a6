"""The pictures of the course: each function takes data, draws on an ``Axes`` and returns it.

:func:`use_course_style` is called once a notebook; it makes figures readable from the back row and gives
matplotlib a font that draws Thai.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    wide = frame["perplexity"].max() > 4 * frame["perplexity"].min()  # else powers of ten would be too far apart
    ax.set(yscale="log", ylabel="validation perplexity")
    ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)) if wide else mpl.ticker.MaxNLocator(6))
    ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=" "))
    ax.set(xlabel={"tokens": "tokens read"}.get(against, f"{'minutes' if minutes else 'seconds'} of training"))
    ax.set_xlim(0, None)
    ax.legend(frameon=False)
    return ax


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
