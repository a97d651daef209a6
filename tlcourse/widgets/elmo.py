"""The demos of the lesson on ELMo: mixing its layers, and vectors for words that no one has seen."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax

from tlcourse import plots
from tlcourse.elmo.characters import BOS, EOS, LONGEST, word_ids
from tlcourse.text import normalise
from tlcourse.widgets.demo import Demo, live, notice, with_examples
from tlcourse.word2vec.vectors import WordVectors

Sweep = Callable[[np.ndarray, float], float]
"""The accuracy of a task by its shares of the layers, (L,), and gamma; its head was trained for gamma = 1."""

INVENTED = (
    "language",
    "langauge",
    "unputdownable",
    "tweetstorming",
    "coooool",
    "good🙂",
    "โรงเรียน",
    "โรงเรีนย",
    "นักรีวิว",
    "อร่อยมากกก",
    "กรูเทพ",
)


# ------------------------------------------------------------------------------------------------ mixing the layers
def layer_mixer(
    sweeps: Mapping[str, Sweep], names: Sequence[str], vectors: np.ndarray, word: str, *, shown: int = 24
) -> Demo:
    """The three steps from a model's layers to one vector, and what a task makes of it, by weights to be chosen.

    The vectors of both directions are put side by side, multiplied by shares that sum to 1 (the softmax of the
    sliders' scores s), and summed; gamma scales the sum (Peters et al. 2018, equation 1).

    Controls: ``s0``, ``s1``, … and ``gamma``; ``example``, which sets all of them. State: ``weights`` (L,),
    ``gamma``, ``vector`` (2P,) and its ``norm``; by task ``accuracy``, ``at_one`` (the same at gamma 1) and
    ``best``, the highest of these seen so far with its weights.

    Args:
        sweeps: by the task's name, the accuracy for shares (L,) and gamma; see :class:`tlcourse.elmo.RidgeSweep`.
        names: of the L layers, the characters first.
        vectors: of one word, (L, 2P): forward, then backward.
        word: which it is.
        shown: how many numbers of each direction the picture has.

    Raises:
        ValueError: there are not as many vectors as names.
    """
    vectors, n = np.asarray(vectors, dtype=float), len(names)
    if vectors.ndim != 2 or len(vectors) != n:
        raise ValueError(f"{n} names for vectors of the shape {vectors.shape}: expected ({n}, 2P), a row a layer")
    uniform = np.full(n, 1 / n)
    known = [*zip(names, np.eye(n), strict=True), ("all alike", uniform)]
    references = {task: {name: sweep(share, 1.0) for name, share in known} for task, sweep in sweeps.items()}
    best: dict[str, tuple[float, np.ndarray]] = {}

    def draw(gamma: float, **scores: float):
        weights = softmax(list(scores.values()))
        accuracy = {task: sweep(weights, gamma) for task, sweep in sweeps.items()}
        at_one = accuracy if np.isclose(gamma, 1) else {task: sweep(weights, 1.0) for task, sweep in sweeps.items()}
        for task, value in at_one.items():
            if task not in best or value > best[task][0]:
                best[task] = value, weights
        vector = gamma * weights @ vectors
        norm = float(np.linalg.norm(vector))
        figure = _three_steps(vectors, weights, gamma, names, word, shown, extra=len(sweeps))
        for ax, task in zip(figure.axes[-len(sweeps) :], sweeps, strict=True):
            rows = references[task] | {"now": accuracy[task], "best so far": best[task][0]}
            _lollipops(rows, ax)
            ax.set_title(task)
        lines = [
            f"shares = softmax(s) = <b>{_numbers(weights)}</b>. γ = <b>{gamma:.3g}</b> scales the vector and keeps "
            f"its direction: its length is {gamma:.3g} · {norm / gamma:.3g} = <b>{norm:.3g}</b>."
        ]
        for task, (value, where) in best.items():
            line = f"{escape(task)}: <b>{accuracy[task]:.3f}</b>"
            if at_one is not accuracy:
                line += f", at γ = 1, for which its head was trained, {at_one[task]:.3f}"
            lines.append(f"{line}; the best so far, at γ = 1, {value:.3f} with the shares {_numbers(where)}.")
        state = {"weights": weights, "gamma": gamma, "vector": vector, "norm": norm}
        return figure, "<br>".join(lines), state | {"accuracy": accuracy, "at_one": at_one, "best": dict(best)}

    slider = {"min": -5, "max": 5, "step": 0.1, "value": 0.0, "continuous_update": False}
    controls = {f"s{i}": widgets.FloatSlider(description=f"s: {name}", **slider) for i, name in enumerate(names)}
    controls["gamma"] = widgets.FloatLogSlider(
        value=1.0, min=-1.5, max=1.5, step=0.1, description="γ", continuous_update=False, readout_format=".3g"
    )
    examples = {"all alike": [0.0] * n + [1.0]}
    examples |= {f"{name} alone": [5.0 if i == j else -5.0 for j in range(n)] + [1.0] for i, name in enumerate(names)}
    return with_examples(live(controls, draw), list(controls.values()), examples)


def _three_steps(
    vectors: np.ndarray, weights: np.ndarray, gamma: float, names: Sequence[str], word: str, shown: int, *, extra: int
) -> Figure:
    """Strips of numbers: the layers, the layers times their shares, and the sum; axes for more tasks on the right."""
    n, width = len(names), vectors.shape[1] // 2
    keep = np.r_[:width][:shown]
    keep = np.concatenate([keep, width + keep])  # of the forward and of the backward half
    figure = plt.figure(figsize=(15, 7.6))
    grid = figure.add_gridspec(max(extra, 1), 2, width_ratios=[2.1, 1])
    steps = grid[:, 0].subgridspec(3, 1, height_ratios=[n, n, 1.15])
    limit = np.quantile(np.abs(vectors[:, keep]), 0.95) + 1e-9  # a few large numbers would make all others pale
    rows = [
        (vectors, names, f"1  concatenate: {plots.drawable(word)}, forward | backward"),
        (weights[:, None] * vectors, [f"{share:.2f} ×" for share in weights], "2  weigh"),
        (gamma * weights @ vectors[None], [f"γ = {gamma:.3g}"], "3  sum, times γ"),
    ]
    for step, (values, labels, title) in zip(steps, rows, strict=True):
        ax = figure.add_subplot(step)
        values = values.reshape(-1, vectors.shape[1])[::-1][:, keep]  # the highest layer on top
        ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        ax.axvline(len(keep) / 2 - 0.5, color="black", linewidth=4)
        ax.hlines(np.arange(1, len(values)) - 0.5, -0.5, len(keep) - 0.5, color="white", linewidth=5)
        ax.set_yticks(range(len(labels)), map(plots.drawable, labels[::-1]), fontsize=16, parse_math=False)
        ax.set_title(title, loc="left", fontsize=17, parse_math=False)
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    for row in range(extra):
        figure.add_subplot(grid[row, 1])
    return figure


def _lollipops(values: Mapping[str, float], ax: plt.Axes) -> None:
    """A row an accuracy with its value, the last two, what is now and the best, in colour."""
    names, numbers = list(values), np.array(list(values.values()))
    colours = [plots.BLUE] * (len(names) - 2) + [plots.ORANGE, plots.GREEN]
    low, high = numbers.min(), numbers.max()
    room = max(high - low, 0.01)
    ax.hlines(range(len(names)), low - 0.15 * room, numbers, color=colours, linewidth=4)
    ax.scatter(numbers, range(len(names)), s=150, color=colours, zorder=3)
    for row, number in enumerate(numbers):
        beside = {"xytext": (11, 0), "textcoords": "offset points", "va": "center", "fontsize": 15}
        ax.annotate(f"{number:.3f}", (number, row), **beside)
    ax.set(xlim=(low - 0.15 * room, high + 0.45 * room), ylim=(len(names) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), map(plots.drawable, names), fontsize=15, parse_math=False)
    ax.xaxis.set_major_locator(plt.MaxNLocator(3))
    ax.set_xlabel("accuracy")
    ax.grid(axis="y", visible=False)


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


# --------------------------------------------------------------------------------------------- words no one has seen
def word_inventor(
    encode: Callable[[list[str]], np.ndarray],
    vocabulary_vectors: np.ndarray,
    words: Sequence[str],
    *,
    examples: Sequence[str] = INVENTED,
    k: int = 10,
) -> Demo:
    """Type any word, misspelt or invented: its nearest neighbours by its characters, and the numbers it is read as.

    Controls: ``word``, ``example``. State: ``word``, ``neighbours`` (columns ``word``, ``cosine``, or None),
    ``known`` (whether it is in the vocabulary), ``ids`` (50, what the encoder reads) and ``lost``, the
    letters at the end for which there was no room.

    Args:
        encode: N words to their vectors (N, D), such as ELMo's character encoder.
        vocabulary_vectors: (V, D), by the same.
        words: the V words of the vocabulary.
        examples: words to choose from.
        k: how many neighbours.
    """
    vocabulary = WordVectors(words, np.asarray(vocabulary_vectors, dtype=np.float32))

    def draw(word: str):
        word = normalise(word)
        nothing = {"word": word, "neighbours": None, "known": False, "ids": [], "lost": ""}
        if not word:
            return notice("type a word"), "Type any word and press Enter.", nothing
        neighbours = vocabulary.nearest(np.asarray(encode([word]))[0], k=k, exclude=[word])
        figure, ax = plt.subplots(figsize=(10, 1.3 + 0.45 * k))
        plots.word_bars(neighbours.set_index("word")["cosine"], xlabel="cosine", fmt="{:.2f}", ax=ax)
        ax.set_xlim(min(neighbours["cosine"].min() * 1.2, 0), 1.18)  # bars of two words can be compared
        ids = word_ids(word)
        read, lost = _letters(word)
        known = word in vocabulary
        text = f"<b>{escape(word)}</b> is {'' if known else 'not '}in the vocabulary of {len(words):,} words"
        text += ". Read were its bytes:" if known else ", and has a vector all the same. Read were its bytes:"
        if lost:
            text += f" only {LONGEST - 2}; <s style='color:{plots.RED}'>{escape(lost)}</s> was cut off."
        state = {"word": word, "neighbours": neighbours, "known": known, "ids": ids, "lost": lost}
        return figure, text + _table(read, ids), state

    box = widgets.Text(value=examples[0], description="word", continuous_update=False)
    return with_examples(live({"word": box}, draw), [box], examples)


def _letters(word: str) -> tuple[list[tuple[str, bytes]], str]:
    """The letters that are read with those of their bytes that are, and the letters that are cut off."""
    if word in (BOS, EOS):
        return [(word, b"")], ""  # a mark of its own
    room, read = LONGEST - 2, []
    for i, letter in enumerate(word):
        if not room:
            return read, word[i:]
        read.append((letter, letter.encode()[:room]))
        room -= len(read[-1][1])
    return read, ""


def _table(letters: Sequence[tuple[str, bytes]], ids: Sequence[int]) -> str:
    """Letters above their bytes above the ids of these, between the marks of the word's ends."""
    rest = iter(ids)
    columns = [("word begins", "", next(rest))]
    for letter, read in letters:
        shown = f"◌{letter}" if unicodedata.category(letter[0]) == "Mn" else letter
        own = " ".join(str(next(rest)) for _ in read or [letter])
        columns.append((escape(shown.replace(" ", "␣")), read.hex(" ").upper(), own))
    columns.append(("word ends", "", next(rest)))
    if padding := list(rest):
        columns.append(("nothing", "", f"{len(padding)} × {padding[0]}"))
    cell = "border:1px solid #cccccc;padding:.1em .5em;text-align:center"
    rows = []
    for head, row in zip(("letter", "bytes (UTF-8)", "ids"), zip(*columns, strict=True), strict=True):
        cells = "".join(f"<td style='{cell}'>{text}</td>" for text in row)
        rows.append(f"<tr><th style='{cell}'>{head}</th>{cells}</tr>")
    return f"<div style='overflow-x:auto'><table style='border-collapse:collapse'>{''.join(rows)}</table></div>"
