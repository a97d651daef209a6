"""The demos of the lesson on word vectors: how they are trained, what is near what, and words of two senses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Protocol

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, Image, display
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from tlcourse import plots
from tlcourse.text import normalise
from tlcourse.widgets.demo import Demo, live, notice, png, with_examples
from tlcourse.word2vec.subword import ngrams
from tlcourse.word2vec.vectors import UnknownWord, WordVectors, unit_vectors

ANALOGIES = (
    ("man", "king", "woman"),
    ("paris", "france", "tokyo"),
    ("good", "better", "bad"),
    ("walk", "walked", "go"),
    ("he", "doctor", "she"),
    ("ผู้ชาย", "ราชา", "ผู้หญิง"),
    ("ญี่ปุ่น", "โตเกียว", "ไทย"),
    ("พ่อ", "แม่", "ปู่"),
    ("ซื้อ", "ขาย", "เปิด"),
)

NEIGHBOURS = ("king", "better", "hot", "bank", "stick", "crane", "ราชา", "ตา", "ขัน", "เกาะ", "โรงเรียน", "ร้อน")


# ------------------------------------------------------------------------------------------- vectors in the plane
def project(vectors_by_epoch: np.ndarray, *, fit: str = "last", turn: bool = False) -> np.ndarray:
    """The way of words through the epochs, in one plane: (E, N, D) to (E, N, 2).

    One PCA serves all epochs, so that a point moves because its vector does and not because the plane does.

    Args:
        vectors_by_epoch: of the same N words.
        fit: ``"last"`` takes the plane in which the words end up farthest apart; ``"all"`` that of all epochs
            together, which also shows how the whole cloud drifts.
        turn: also turn or mirror each epoch onto the one after it (Procrustes). For vectors that were trained
            anew each time, and so share no axes; of one training it would hide what turned.

    Raises:
        ValueError: the shape is not (E, N, D), or there is no such ``fit``.
    """
    vectors = np.asarray(vectors_by_epoch, dtype=np.float64)
    if vectors.ndim != 3:
        raise ValueError(f"expected vectors of the shape (epochs, words, dimensions), not {vectors.shape}")
    if fit not in ("last", "all"):
        raise ValueError(f"the plane is fitted to 'last' or 'all', not {fit!r}")
    plane = _plane(vectors[-1] if fit == "last" else vectors.reshape(-1, vectors.shape[-1]))
    points = np.stack([plane(epoch) for epoch in vectors])
    if turn:
        for i in reversed(range(len(points) - 1)):
            points[i] = align(points[i], points[i + 1])
    return points


def align(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Points (N, 2) turned or mirrored about their middle so that they lie as near as they can to others (N, 2)."""
    middle = points.mean(axis=0)
    return (points - middle) @ _turn(points, onto) + middle


def _turn(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The rotation or reflection (2, 2) that brings points (N, 2) nearest to others, both about their middles."""
    return orthogonal_procrustes(points - points.mean(axis=0), onto - onto.mean(axis=0))[0]


def _plane(vectors: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What takes vectors (N, D) to the plane in which these ones vary most, (N, 2)."""
    with np.errstate(invalid="ignore"):  # one vector has no variance
        pca = PCA(n_components=min(2, *vectors.shape), svd_solver="full").fit(vectors)
    missing = 2 - pca.n_components_  # one vector, or one dimension
    return lambda others: np.pad((others - pca.mean_) @ pca.components_.T, ((0, 0), (0, missing)))


# ----------------------------------------------------------------------------------------------- the training map
def training_map(
    history: Sequence[tuple[str, np.ndarray]],
    words: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    tail: int = 5,
) -> Demo:
    """The map of some words as epochs pass: press Play, or move the slider.

    Controls: ``step``, ``play``. State: ``label`` and ``points`` (N, 2) of the step, and ``moved``, how far each
    word came since the step before, by word.

    Args:
        history: for each recorded step what it is called and where the words are, (N, 2); see :func:`project`.
        words: N words, the most frequent first.
        groups: of the words, for colours.
        tail: how many steps back the faint lines reach.

    Raises:
        ValueError: nothing was recorded, or there are not as many points as words.
    """
    labels, points = [label for label, _ in history], [np.asarray(p) for _, p in history]
    if not points:
        raise ValueError("the history is empty: record the points of one step at least")
    if wrong := [label for label, p in history if np.shape(p) != (len(words), 2)]:
        raise ValueError(f"expected points of the shape ({len(words)}, 2), one a word; look at {wrong[0]!r}")
    points = np.stack(points)  # (E, N, 2)
    limits = plots.map_limits(points)

    def draw(step: int):
        now, before = points[step], points[max(step - 1, 0)]
        figure, ax = plt.subplots(figsize=(10, 7))
        ax.set_title(labels[step])
        plots.word_map(_frame(words, now, groups), tails=points[max(step - tail, 0) : step], limits=limits, ax=ax)
        moved = pd.Series(np.linalg.norm(now - before, axis=1), index=list(words))
        text = f"<b>{escape(labels[step])}</b>, {step + 1} of {len(points)}."
        if step:
            farthest = moved.sort_values(ascending=False, kind="stable").index[:3]
            text += f" Moved most since {escape(labels[step - 1])}: {_list(farthest)}."
        return figure, text, {"label": labels[step], "points": now, "moved": moved}

    slider = widgets.IntSlider(value=0, min=0, max=len(points) - 1, description="step", continuous_update=False)
    demo = live({"step": slider}, draw)
    play = widgets.Play(value=0, min=0, max=len(points) - 1, interval=800)
    widgets.link((play, "value"), (slider, "value"))
    demo.controls["play"] = play
    demo.ui.children = (widgets.HBox([play, slider]), *demo.ui.children[1:])
    return demo


class LiveMap:
    """A map that follows a training while it runs: call :meth:`update` after each epoch, or more often.

    The picture is replaced in place in the output of the cell that shows it first, so a stored notebook holds the
    last one alone. Each picture's plane is that of its own vectors, turned to fit the one before; the end of the
    training is not known yet. With :attr:`history` and :func:`project` the way can be shown anew afterwards.

    At the end :meth:`draw` shows the newest vectors, or ``with LiveMap(words) as live:`` does.

    Args:
        words: N words, the most frequent first.
        groups: of the words, for colours.
        every: seconds between two pictures at least; drawing is not to slow the training down.
        tail: how many updates back the faint lines reach.
        clock: tells the time in seconds.

    Attributes:
        history: for each update its label and the words' vectors (N, D).
        picture: the last one drawn, PNG; empty before the first.
    """

    def __init__(
        self,
        words: Sequence[str],
        groups: Sequence[str] | None = None,
        *,
        every: float = 1.0,
        tail: int = 5,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.words, self.groups, self.every, self.tail = list(words), groups, every, tail
        self.history: list[tuple[str, np.ndarray]] = []
        self.picture = b""
        self._clock, self._drawn_at = clock, float("-inf")
        self._handle: DisplayHandle | None = None
        self._points = np.zeros((0, len(self.words), 2))  # of the last updates, in the plane of the newest

    def update(self, epoch: int | str, vectors: np.ndarray) -> None:
        """Take up the vectors of the words, (N, D), and draw them if the last picture is old enough.

        Raises:
            ValueError: there are not as many vectors as words.
        """
        vectors = np.array(vectors, dtype=np.float32)  # a copy: training goes on in the original
        if vectors.ndim != 2 or len(vectors) != len(self.words):
            raise ValueError(f"expected {len(self.words)} vectors, one a word, not the shape {vectors.shape}")
        self.history.append((epoch if isinstance(epoch, str) else f"epoch {epoch}", vectors))
        recent = np.stack([each for _, each in self.history[-self.tail - 1 :]])
        points = project(recent)
        if len(self.history) > 1:  # at every update, drawn or not: pictures do not depend on the clock
            points = points @ _turn(points[-2], self._points[-1])
        self._points = points
        if self._clock() - self._drawn_at >= self.every:
            self.draw()

    def draw(self) -> None:
        """Draw the newest vectors now; without an update there is nothing to draw."""
        if not self.history:
            return
        figure, ax = plt.subplots(figsize=(10, 7))
        ax.set_title(self.history[-1][0])
        plots.word_map(_frame(self.words, self._points[-1], self.groups), tails=self._points[:-1], ax=ax)
        self.picture = png(figure)
        image = Image(self.picture)
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
        self._drawn_at = self._clock()

    def __enter__(self) -> LiveMap:
        return self

    def __exit__(self, *_) -> None:
        self.draw()


def _frame(words: Sequence[str], points: np.ndarray, groups: Sequence[str] | None = None) -> pd.DataFrame:
    """What :func:`plots.word_map` draws."""
    frame = pd.DataFrame({"word": list(words), "x": points[:, 0], "y": points[:, 1]})
    return frame if groups is None else frame.assign(group=list(groups))


# -------------------------------------------------------------------------------------- neighbours and analogies
def neighbours_explorer(
    models: Mapping[str, WordVectors],
    *,
    examples: Sequence[str] = NEIGHBOURS,
    most_frequent: int | None = 100_000,
) -> Demo:
    """Type a word, and see the words nearest to it in one model beside another.

    Controls: ``word``, ``k``, ``example``. State: ``word``, and by model ``neighbours`` (the frame of
    :meth:`WordVectors.nearest`, or None), ``unknown`` (why there are none) and ``composed`` (the n-grams that the
    vector of an unseen word was made of).

    Args:
        examples: words to choose from; those that no model knows are left out.
        most_frequent: look among so many words of each model; the rare ones' vectors are mostly noise.
    """
    examples = [word for word in examples if any(word in model for model in models.values())]
    examples = examples or list(next(iter(models.values())).words[:5])

    def draw(word: str, k: int):
        word = normalise(word).strip()
        neighbours, unknown, composed, lines = dict.fromkeys(models), {}, {}, []
        state = {"word": word, "neighbours": neighbours, "unknown": unknown, "composed": composed}
        if not word:
            return notice("type a word"), "Type a word and press Enter.", state
        for name, model in models.items():
            try:
                neighbours[name] = model.nearest(word, k=k, most_frequent=most_frequent)
            except UnknownWord as error:
                unknown[name] = str(error)
                lines.append(_red(f"{name}: {error}"))
                continue
            if word not in model:
                composed[name] = ngrams(word, model.min_n, model.max_n)
                lines.append(
                    f"{escape(name)} has never seen <b>{escape(word)}</b>; its vector is composed of the n-grams "
                    f"{_list(composed[name][:12])}{' …' if len(composed[name]) > 12 else ''}"
                )
            else:
                lines.append(f"{escape(name)}: <b>{escape(word)}</b>, number {model.row(word) + 1:,} by frequency.")
        figure, axes = plt.subplots(1, len(models), figsize=(max(9, 5.6 * len(models)), 1.6 + 0.42 * k), squeeze=False)
        for ax, (name, found) in zip(axes[0], neighbours.items(), strict=True):
            ax.set_title(name)
            if found is None:
                notice("unknown", ax=ax)
            else:
                plots.word_bars(found.set_index("word")["cosine"], xlabel="cosine", fmt="{:.2f}", ax=ax)
                ax.set_xlim(min(found["cosine"].min() * 1.2, 0), 1.18)  # bars of two models can be compared
        return figure, "<br>".join(lines), state

    box = widgets.Text(value=examples[0], description="word", continuous_update=False)
    k = widgets.IntSlider(value=8, min=1, max=20, description="neighbours", continuous_update=False)
    return with_examples(live({"word": box, "k": k}, draw), [box], examples)


def analogy_calculator(
    models: Mapping[str, WordVectors],
    *,
    examples: Sequence[tuple[str, str, str]] = ANALOGIES,
    most_frequent: int | None = 100_000,
) -> Demo:
    """a is to b as c is to what? Bars of the best five answers, and a picture of the parallelogram.

    Without «leave the three words out» the answer is often one of the three: b - a + c stays close to where it
    began (Linzen 2016, «Issues in evaluating semantic spaces using word analogies»).

    Controls: ``a``, ``b``, ``c``, ``method`` (``"add"`` or ``"mul"``), ``exclude``, ``model``, ``example``. State:
    ``answers`` (the frame of :meth:`WordVectors.analogy`, or None), ``best``, and ``unknown`` words.

    Args:
        examples: questions (a, b, c) to choose from; those that no model knows are left out.
        most_frequent: answers come from among so many words.
    """
    known = [q for q in examples if any(all(word in model for word in q) for model in models.values())]
    known = known or [tuple(next(iter(models.values())).words[:3])]
    start = next((name for name, model in models.items() if all(w in model for w in known[0])), next(iter(models)))

    def draw(a: str, b: str, c: str, method: str, exclude: bool, model: str):
        vectors, question = models[model], [normalise(word).strip() for word in (a, b, c)]
        nothing = {"answers": None, "best": None, "unknown": []}
        if not all(question):
            return notice("three words, please"), "Fill in all three boxes.", nothing
        if errors := {word: error for word in question if (error := _unknown(vectors, word))}:
            lines = "<br>".join(_red(f"{model}: {error}") for error in errors.values())
            return notice("unknown word"), lines, nothing | {"unknown": list(errors)}
        answers = vectors.analogy(*question, k=5, method=method, most_frequent=most_frequent, exclude=exclude)
        if answers.empty:
            return notice("no word is left to answer"), f"{escape(model)} has no other words.", nothing
        best = answers["word"].iloc[0]
        figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), gridspec_kw={"width_ratios": [1, 1.1]})
        score = "cosine with b − a + c" if method == "add" else "cos(x, b) · cos(x, c) / cos(x, a)"
        bars = answers.set_index("word")["score"]
        plots.word_bars(bars, xlabel=score, fmt="{:.2f}", grey=[] if exclude else question, ax=left)
        units = unit_vectors(np.stack([vectors[word] for word in [*question, best]]).astype(np.float64))  # (4, D)
        target = units[1] - units[0] + units[2]
        points = _plane(units)(np.vstack([units, target]))
        plots.parallelogram(_frame([*question, best], points[:4]), target=points[4], ax=right)
        text = "<b>{}</b> is to <b>{}</b> as <b>{}</b> is to <b style='color:{}'>{}</b>.".format(
            *map(escape, question), plots.RED if best in question else plots.GREEN, escape(best)
        )
        if best in question:
            text += " The answer is one of the three words: leave them out, and the next one wins."
        return figure, text, {"answers": answers, "best": best, "unknown": []}

    boxes = {
        name: widgets.Text(value=word, description=label, continuous_update=False)
        for name, word, label in zip("abc", known[0], ("a", "is to b", "as c is to ?"), strict=True)
    }
    controls = {
        **boxes,
        "method": widgets.ToggleButtons(options={"3CosAdd": "add", "3CosMul": "mul"}, description="method"),
        "exclude": widgets.Checkbox(value=True, description="leave the three words out"),
        "model": widgets.Dropdown(options=list(models), value=start, description="vectors"),
    }
    asked = {f"{a} : {b} = {c} : ?": (a, b, c) for a, b, c in known}
    return with_examples(live(controls, draw), list(boxes.values()), asked)


def _unknown(vectors: WordVectors, word: str) -> str | None:
    """Why a word has no vector, or None if it has one."""
    try:
        vectors[word]
    except UnknownWord as error:
        return str(error)
    return None


# ------------------------------------------------------------------------------------------------- words of two senses
class Occurrences(Protocol):
    """An encoder that gives a word's vector in its sentence, such as ``tlcourse.contextual.Encoder``."""

    def occurrences(self, frame: pd.DataFrame) -> np.ndarray:
        """Vectors (N, layers, D) of the characters ``start`` to ``end`` of each ``text``."""


def sense_explorer(encoder: Occurrences, word: str, sentences: pd.DataFrame | Sequence[str]) -> Demo:
    """One word in sentences of your own: where its vectors lie in each layer of an encoder, and their cosines.

    One sentence a line. Where the word is not found, or stands several times, write stars around it: ``*banks*``.
    A sense can follow behind a ``#``; points take its colour. Each layer's map is a PCA of its own, brought to one
    size and turned onto the layer below, so that sizes and directions of two layers do not compare.

    Controls: ``word``, ``sentences``, ``layer`` (0 is below the first layer that reads the sentence). State:
    ``layer``, ``points`` (N, 2), ``cosines`` (N, N), ``sentences`` and ``senses`` of the N that hold the word, and
    ``missing``, those that do not.

    Args:
        word: to begin with.
        sentences: to begin with; a frame has the column ``text`` and may have ``sense``, and ``start`` and ``end``
            of the word in characters.
    """

    @lru_cache(maxsize=8)  # not anew when only the layer changes
    def encoded(places: tuple[tuple[str, int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
        vectors = np.asarray(encoder.occurrences(pd.DataFrame(places, columns=["text", "start", "end"])), np.float64)
        return vectors, _layer_maps(vectors)

    slider = widgets.IntSlider(value=0, min=0, max=0, description="layer", continuous_update=False)

    def draw(word: str, sentences: str, layer: int):
        found, missing = [], []
        for line in filter(str.strip, sentences.splitlines()):
            place = locate(line, word.strip())
            found.append(place) if place else missing.append(line.strip())
        lines = [_red(f"no «{word.strip()}» in: {line}") for line in missing]
        state = {"layer": layer, "points": None, "cosines": None, "missing": missing}
        state |= {"sentences": [place[0] for place in found], "senses": [place[3] for place in found]}
        if not found:
            return notice("no sentence with the word"), "<br>".join(lines) or "Write a sentence a line.", state
        try:
            vectors, maps = encoded(tuple(place[:3] for place in found))
        except ValueError as error:  # a sentence that is too long for the encoder, a word cut in two
            return notice("the encoder refuses"), "<br>".join([*lines, _red(str(error))]), state
        slider.max = len(maps) - 1
        points, units = maps[layer], unit_vectors(vectors[:, layer])
        cosines = units @ units.T  # (N, N)
        numbers = [str(i + 1) for i in range(len(found))]
        senses = state["senses"] if any(state["senses"]) else numbers
        figure, (left, right) = plt.subplots(1, 2, figsize=(14, 6.2))
        plots.sense_map(points, [sense or "no sense given" for sense in senses], labels=numbers, ax=left)
        plots.cosine_matrix(cosines, numbers, senses if any(state["senses"]) else None, ax=right)
        left.set_xlabel(f"layer {layer} of {len(maps) - 1}")
        right.set_xlabel("cosine of the word's vectors, by sentence")
        lines.insert(0, f"Layer <b>{layer}</b> of {len(maps) - 1}.{_within_and_between(cosines, state['senses'])}")
        lines += [f"{n}. {_marked(*place)}" for n, place in zip(numbers, found, strict=True)]
        return figure, "<br>".join(lines), state | {"points": points, "cosines": cosines}

    area = widgets.Textarea(value=_lines(sentences), description="sentences", rows=9, continuous_update=False)
    controls = {
        "word": widgets.Text(value=word, description="word", continuous_update=False),
        "sentences": area,
        "layer": slider,
    }
    demo = live(controls, draw)
    area.layout.width = "850px"
    return demo


def locate(line: str, word: str) -> tuple[str, int, int, str] | None:
    """Where a word stands in a line that someone typed: the sentence, start, end and sense, or None.

    Stars mark the place, in any form of the word: ``Both *banks* are steep. # river``. Without them it is the first
    place where the word stands, in upper or lower case, not within a longer word of Latin letters. In Thai, which
    puts no blanks between words, it may be part of a longer one: then the stars are needed.
    """
    line, _, sense = (part.strip() for part in line.partition("#"))
    if marked := re.search(r"\*([^*]+)\*", line):
        start = marked.start()
        text = line[:start] + marked[1] + line[marked.end() :]
        return text, start, start + len(marked[1]), sense
    if word and (place := re.search(rf"(?<![A-Za-zÀ-ɏ]){re.escape(word)}(?![A-Za-zÀ-ɏ])", line, re.IGNORECASE)):
        return line, place.start(), place.end(), sense
    return None


def _lines(sentences: pd.DataFrame | Sequence[str]) -> str:
    """Sentences as someone would type them for :func:`locate`."""
    if not isinstance(sentences, pd.DataFrame):
        return "\n".join(sentences)
    lines = []
    for row in sentences.to_dict("records"):
        text = row["text"]
        if "start" in row:
            text = f"{text[: row['start']]}*{text[row['start'] : row['end']]}*{text[row['end'] :]}"
        lines.append(f"{text}  # {row['sense']}" if "sense" in row else text)
    return "\n".join(lines)


def _layer_maps(vectors: np.ndarray) -> np.ndarray:
    """(N, layers, D) to (layers, N, 2): a PCA a layer, of one size, each turned onto the layer below."""
    maps = []
    for layer in vectors.transpose(1, 0, 2):
        points = _plane(layer)(layer)
        points = points / (np.sqrt((points**2).sum(axis=1).mean()) or 1)
        maps.append(align(points, maps[-1]) if maps else points)
    return np.stack(maps)


def _within_and_between(cosines: np.ndarray, senses: Sequence[str]) -> str:
    """The mean cosine of two sentences of one sense and of two senses, in words; nothing without two senses."""
    names = np.array(senses)
    given = (names != "")[:, None] & (names != "")
    same = (names[:, None] == names) & given & ~np.eye(len(names), dtype=bool)
    other = (names[:, None] != names) & given
    if not same.any() or not other.any():
        return ""
    return f" Mean cosine within a sense <b>{cosines[same].mean():.2f}</b>, between <b>{cosines[other].mean():.2f}</b>."


def _marked(text: str, start: int, end: int, _sense: str) -> str:
    """The sentence as HTML, its word in bold."""
    return f"{escape(text[:start])}<b style='color:{plots.BLUE}'>{escape(text[start:end])}</b>{escape(text[end:])}"


# ---------------------------------------------------------------------------------------- what word2vec learns from
def window_explorer(
    tokens: Sequence[str], counts: Mapping[str, int], *, negatives: int = 5, shown: int = 7, seed: int = 0
) -> Demo:
    """From a sentence to (centre, context) pairs, and the noise words that each pair is told apart from.

    word2vec draws the size of each window anew, evenly from 1 to the greatest: a word at distance d is in it with
    the probability (window - d + 1) / window. Noise words are drawn by frequency to a power, 3/4 in the paper
    (Mikolov et al. 2013, «Distributed representations of words and phrases», section 2.2), never the context word.

    Controls: ``centre``, ``window``, ``power``, and ``again``, a button: other noise words. State: ``pairs`` and,
    for each, ``probabilities`` and ``noise_words``; ``noise``, the frame of :func:`plots.noise_distribution`.

    Args:
        tokens: the sentence, two words at least.
        counts: how often words occur in the text to train on; two different ones at least.
        negatives: noise words for each pair.
        shown: how many words the picture of the noise has.
        seed: of the first draw.

    Raises:
        ValueError: the sentence or the counts have fewer than two words.
    """
    tokens = list(tokens)
    frequency = pd.Series(dict(counts), dtype=float).sort_values(ascending=False, kind="stable")
    if len(tokens) < 2 or len(frequency) < 2:
        raise ValueError("pairs need a sentence of two words and counts of two different words, or more")
    frequency /= frequency.sum()
    ranks = np.arange(len(frequency))
    if len(frequency) > shown:
        ranks = np.unique(np.geomspace(1, len(frequency), shown).astype(int)) - 1

    def draw(centre: int, window: int, power: float, presses: int):
        noise = frequency**power / (frequency**power).sum()
        around = [i for i in range(len(tokens)) if 0 < abs(i - centre) <= window]
        distances = np.abs(np.arange(len(tokens)) - centre)
        reach = np.where(distances, np.maximum(window - distances + 1, 0) / window, 0)
        generator = np.random.default_rng([seed, presses])
        others = [noise.drop(tokens[i], errors="ignore") for i in around]
        drawn = [generator.choice(rest.index, negatives, p=rest / rest.sum()).tolist() for rest in others]
        frame = pd.DataFrame({"frequency": frequency, "noise": noise}).iloc[ranks].rename_axis("word").reset_index()
        figure, (above, below) = plt.subplots(2, 1, figsize=(12, 7.2), gridspec_kw={"height_ratios": [1, 1.5]})
        plots.context_window(tokens, centre, reach, ax=above)
        plots.noise_distribution(frame, ax=below)
        pairs = [(tokens[centre], tokens[i]) for i in around]
        rows = "".join(
            f"<tr><td style='padding-right:1.5em'>(<b style='color:{plots.ORANGE}'>{escape(a)}</b>, "
            f"<b style='color:{plots.BLUE}'>{escape(b)}</b>)</td><td style='padding-right:1.5em'>{reach[i]:.0%}</td>"
            f"<td>{_list(words)}</td></tr>"
            for (a, b), i, words in zip(pairs, around, drawn, strict=True)
        )
        head = "<tr style='text-align:left'><th>pair</th><th>made in</th><th>noise words</th></tr>"
        state = {"pairs": pairs, "probabilities": reach[around], "noise_words": drawn, "noise": frame}
        return figure, f"<table>{head}{rows}</table>", state

    presses = widgets.IntText(value=0)  # of the button
    middle = len(tokens) // 2
    controls = {
        "centre": widgets.IntSlider(value=middle, min=0, max=len(tokens) - 1, description="centre"),
        "window": widgets.IntSlider(value=3, min=1, max=10, description="window"),
        "power": widgets.FloatSlider(value=0.75, min=0, max=1, step=0.05, description="noise power"),
        "presses": presses,
    }
    for control in controls.values():
        control.continuous_update = False
    demo = live(controls, draw)
    again = widgets.Button(description="draw again", icon="refresh")
    again.on_click(lambda _: setattr(presses, "value", presses.value + 1))
    demo.controls["again"] = again
    demo.ui.children = tuple(again if child is presses else child for child in demo.ui.children)
    return demo


# ----------------------------------------------------------------------------------------------------- their parts
def _list(words: Sequence[str]) -> str:
    return ", ".join(map(escape, words))


def _red(text: str) -> str:
    return f"<b style='color:{plots.RED}'>{escape(text)}</b>"
