"""The demos of the lesson on BERT: what it reads, what is hidden from it, what it guesses, what its heads look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from tlcourse import plots
from tlcourse.bert.look import BLANK, Attention
from tlcourse.bert.masking import Masked, Masking, Pieces, mask_tokens
from tlcourse.bert.model import SIZES, bert_config, parameters
from tlcourse.widgets.demo import Demo, live, notice, with_examples

if TYPE_CHECKING:
    from tlcourse.bert.pairs import Pairs

Fill = Callable[..., pd.DataFrame]
"""A text with ___ and ``k`` to the k likeliest pieces of each: columns blank, rank, piece, probability."""

SENTENCES = (
    ("my dog is cute", "he likes playing"),
    ("The bank of the river was muddy.", "So we walked back to the road."),
    ("วันนี้ฝนตกหนักมาก", "ฉันเลยไม่ได้ออกไปไหน"),
    ("Congratulations! You have won a free phone.", ""),
    ("ร้านนี้อาหารอร่อย แต่รอนานไปหน่อย", ""),
)

BLANKS = (
    "The capital of France is ___.",
    "She poured hot ___ into the cup and added some sugar.",
    "The doctor said that ___ would call back tomorrow.",
    "He put the ___ in the oven and set the ___ for an hour.",
    "It was the ___ film I have seen this year; I left before the end.",
    "เมืองหลวงของประเทศไทยคือ___",
    "ฉันหิวข้าว อยากกิน___",
    "เขาเดินทางไปทำงานด้วย___ทุกวัน",
    "อาหารร้านนี้___มาก ฉันจะไม่กลับไปอีก",
)


# ------------------------------------------------------------------------------------------------------- masking
def masking_demo(
    tokeniser: PreTrainedTokenizerBase,
    texts: Sequence[str],
    masking: Masking | None = None,
    *,
    draws: int = 200,
    max_length: int = 48,
    seed: int = 0,
) -> Demo:
    """Texts masked anew and anew: press Play, or move the slider; the counts of all texts and draws add up.

    Controls: ``draw`` (from 1) and ``play``, ``text`` (which one is shown, from 1), ``share``, ``mask``, ``random``,
    ``whole_word``. State: of the text shown ``pieces``, ``read`` and ``kinds``; of all draws so far ``positions``
    and ``counts`` by kind; ``expected``, the share of pieces that the rounding in each text makes of ``share``. All
    are None where the shares are none.

    Args:
        texts: natural ones of some 20 to 40 pieces, so that rounding their number matters little.
        masking: where the sliders start.
        draws: how many there are.
        max_length: pieces of a text, special ones among them; the rest is cut off.

    Raises:
        ValueError: there are no texts, or the tokeniser has no [MASK].
    """
    if not texts:
        raise ValueError("no texts to mask: give one at least")
    masking = masking or Masking()
    known = Pieces.of(tokeniser)
    encoded = tokeniser(list(texts), padding=True, truncation=True, max_length=max_length)
    ids, real = np.array(encoded["input_ids"]), np.array(encoded["attention_mask"], dtype=bool)  # (B, T)
    maskable = known.maskable(ids) & real
    lines = 1.15 * np.ceil(real.sum(1) / 11)  # (B,) inches for the pieces of a text, about 11 a line

    @lru_cache(maxsize=2000)
    def drawn(setting: Masking, draw: int) -> Masked:
        generator = np.random.default_rng([seed, draw])
        return mask_tokens(ids, maskable, setting, pieces=known, generator=generator)

    def draw(draw: int, text: int, share: float, mask: float, random: float, whole_word: bool):
        nothing = dict.fromkeys(("pieces", "read", "kinds", "positions", "counts", "expected"))
        if mask + random > 1 + 1e-9:
            return notice("mask + random is more than 1"), "What is left over is kept: mask + random ≤ 1.", nothing
        setting = replace(masking, share=share, mask=mask, random=random, whole_word=whole_word)
        all_kinds = np.concatenate([drawn(setting, i).kind for i in range(draw)])
        counts = dict(zip(("mask", "random", "kept"), np.bincount(all_kinds, minlength=3).tolist(), strict=True))
        positions = draw * int(maskable.sum())
        expected = setting.how_many(maskable.sum(1)).sum() / maskable.sum()
        now = drawn(setting, draw - 1)
        kinds = np.where(maskable, "untouched", "special").astype(object)
        kinds.ravel()[now.positions] = np.array(["mask", "random", "kept"], dtype=object)[now.kind]
        row = real[text - 1]
        pieces, read = (tokeniser.convert_ids_to_tokens(batch[text - 1, row].tolist()) for batch in (ids, now.ids))
        kinds = kinds[text - 1, row].tolist()
        figure = plt.figure(figsize=(13, 4.9 + lines[text - 1]), layout="none")
        inch = 1 / figure.get_size_inches()
        above = figure.add_axes([0, 4 * inch[1], 1, lines[text - 1] * inch[1]])
        below = figure.add_axes([3.3 * inch[0], 0.8 * inch[1], 6.2 * inch[0], 2.8 * inch[1]])
        plots.masking_draw(pieces, read, kinds, ax=above)
        plots.masking_counts(positions, counts, share=share, mask=mask, random=random, ax=below)
        text = f"Draw <b>{draw}</b> of {len(texts)} texts. "
        text += f"{share:.0%} of {maskable.sum():,} pieces, rounded in each text, are <b>{expected:.1%}</b>"
        text += ", and fewer where a whole word did not fit in." if whole_word else "."
        state = {"pieces": pieces, "read": read, "kinds": kinds}
        return figure, text, state | {"positions": positions, "counts": counts, "expected": expected}

    style = {"min": 0.0, "max": 1.0, "step": 0.05, "continuous_update": False, "readout_format": ".0%"}
    number = {"value": 1, "min": 1, "continuous_update": False}
    controls = {
        "draw": widgets.IntSlider(description="draw", max=draws, **number),
        "text": widgets.IntSlider(description="text", max=len(texts), **number),
        "share": widgets.FloatSlider(value=masking.share, description="share", **style | {"min": 0.05}),
        "mask": widgets.FloatSlider(value=masking.mask, description="of these: [MASK]", **style),
        "random": widgets.FloatSlider(value=masking.random, description="random", **style),
        "whole_word": widgets.Checkbox(value=masking.whole_word, description="whole words"),
    }
    demo = live(controls, draw)
    play = widgets.Play(value=1, min=1, max=draws, interval=2000)
    widgets.link((play, "value"), (controls["draw"], "value"))
    demo.controls["play"] = play
    demo.ui.children = (widgets.HBox([play, controls["draw"]]), *demo.ui.children[1:])
    return demo


# ----------------------------------------------------------------------------------------------------- the input
def input_demo(
    tokeniser: PreTrainedTokenizerBase, *, examples: Sequence[tuple[str, str]] = SENTENCES, shown: int = 16
) -> Demo:
    """Type one sentence or two: their pieces, segments and positions, and the numbers these are.

    Controls: ``first``, ``second``, ``example``. State: ``pieces``, ``ids``, ``segments``, ``positions``, T each.

    Args:
        examples: pairs of sentences, the second of which may be empty.
        shown: how many pieces the picture has; the table has them all.
    """

    def draw(first: str, second: str):
        encoded = tokeniser(first, second or None, verbose=False)
        ids = list(encoded["input_ids"])
        pieces = tokeniser.convert_ids_to_tokens(ids)
        segments = list(encoded.get("token_type_ids", [0] * len(ids)))
        positions = list(range(len(ids)))
        figure = plots.bert_input(pieces[:shown], segments[:shown], ids=ids[:shown]).figure
        text = f"<b>{len(ids)}</b> pieces" + (f", the first {shown} of them drawn." if len(ids) > shown else ".")
        rows = {"pieces": pieces, "ids": ids, "segments": segments, "positions": positions}
        return figure, text + _table(rows), rows

    boxes = _two_boxes(examples[0])
    return with_examples(live(boxes, draw), list(boxes.values()), _named(examples))


def _two_boxes(values: tuple[str, str]) -> dict[str, widgets.Text]:
    names = {"first": "sentence A", "second": "sentence B"}
    return {
        name: widgets.Text(value=value, description=label, continuous_update=False)
        for (name, label), value in zip(names.items(), values, strict=True)
    }


def _named(examples: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {" / ".join(filter(None, pair)): pair for pair in examples}


def _table(rows: Mapping[str, Sequence]) -> str:
    cell = "border:1px solid #cccccc;padding:.1em .5em;text-align:center"
    lines = []
    for name, values in rows.items():
        cells = "".join(f"<td style='{cell}'>{escape(str(value))}</td>" for value in values)
        lines.append(f"<tr><th style='{cell}'>{name}</th>{cells}</tr>")
    return f"<div style='overflow-x:auto'><table style='border-collapse:collapse'>{''.join(lines)}</table></div>"


# --------------------------------------------------------------------------------------------------------- pairs
UNDECIDED = "?"
FOLLOWS = "B follows A"


def pairs_demo(
    pairs: Pairs,
    tokeniser: PreTrainedTokenizerBase,
    *,
    probability: Callable[[str, str], float] | None = None,
    otherwise: str = "another document",
) -> Demo:
    """Does B follow A, or is it from elsewhere? Guess, then see; a model may guess, too.

    Controls: ``pair`` (from 1) and ``guess``; another pair takes the guess back. State: ``first``, ``second``,
    ``follows`` and, once guessed, ``guess`` and ``probability`` (else None); the score: ``guessed``, ``right`` and
    ``model_right``, in all pairs so far. Only the first guess counts.

    Args:
        probability: a model's, that the second text follows the first.
        otherwise: what B is if it does not follow A, such as "swapped".

    Raises:
        ValueError: there are no pairs, only single texts.
    """
    rows = np.flatnonzero(pairs.lengths > pairs.first_length).tolist()
    if not rows:
        raise ValueError("no pairs to guess: draw them with nsp=True or nsp='order'")
    guesses: dict[int, bool] = {}
    believed: dict[int, float] = {}

    def draw(pair: int, guess: str):
        i = rows[pair - 1]
        first, second = (_text(tokeniser, part) for part in np.split(pairs.row(i), [pairs.first_length[i]]))
        follows = bool(pairs.is_next[i])
        if guess != UNDECIDED:
            guesses.setdefault(i, guess == FOLLOWS)
            if probability is not None and i not in believed:
                believed[i] = float(probability(first, second))
        right = sum(guess == bool(pairs.is_next[j]) for j, guess in guesses.items())
        model_right = sum((p > 0.5) == bool(pairs.is_next[j]) for j, p in believed.items())
        text = _boxed("A", first, plots.BLUE) + _boxed("B", second, plots.ORANGE)
        if i in guesses and guess != UNDECIDED:
            mark = "right" if guesses[i] == follows else "wrong"
            truth = FOLLOWS if follows else f"B is from elsewhere: {escape(otherwise)}"
            text += f"<b>{truth}.</b> Your guess was {mark}: {right} of {len(guesses)} so far."
            if i in believed:
                text += f" The model gives <b>{believed[i]:.0%}</b> to “{FOLLOWS}”: {model_right} of {len(guesses)}."
        else:
            text += "Does B follow A in the same document?"
        state = {"first": first, "second": second, "follows": follows, "guess": None, "probability": None}
        if guess != UNDECIDED:
            state |= {"guess": guesses[i], "probability": believed.get(i)}
        return None, text, state | {"guessed": len(guesses), "right": right, "model_right": model_right}

    slider = widgets.IntSlider(value=1, min=1, max=len(rows), description="pair", continuous_update=False)
    buttons = widgets.ToggleButtons(options=[UNDECIDED, FOLLOWS, otherwise], description="your guess")

    def take_back(_change) -> None:
        buttons.value = UNDECIDED

    slider.observe(take_back, "value")  # before the demo draws, or the next pair would be guessed at once
    return live({"pair": slider, "guess": buttons}, draw)


def _text(tokeniser: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Pieces as a text again; blanks between Thai letters come from the pieces and go."""
    text = tokeniser.decode(np.asarray(ids).tolist(), skip_special_tokens=True)
    return re.sub(r"(?<=[\u0e00-\u0e7f]) (?=[\u0e00-\u0e7f])", "", text)


def _boxed(name: str, text: str, colour: str) -> str:
    style = f"border-left:.5em solid {colour};padding:.2em .8em;margin:.5em 0;max-width:50em"
    return f"<div style='{style}'><b>{name}</b>&ensp;{escape(text)}</div>"


# -------------------------------------------------------------------------------------------------------- blanks
def blank_demo(models: Mapping[str, Fill], *, examples: Sequence[str] = BLANKS, k: int = 5) -> Demo:
    """Write a text with blanks, ___ each, and see what a model would fill in.

    Controls: ``text``, ``model``, ``k``, ``example``. State: ``filled`` (the model's frame, or None) and ``best``,
    the text with the likeliest piece in each blank.

    Args:
        models: by name; such as ``functools.partial(fill_in, checkpoint)``, see :func:`tlcourse.bert.look.fill_in`.
        examples: texts to choose from.
        k: how many pieces, to begin with.

    Raises:
        ValueError: there are no models.
    """
    if not models:
        raise ValueError("no model to fill in blanks: give one at least")

    def draw(text: str, model: str, k: int):
        nothing = {"filled": None, "best": None}
        if not BLANK.search(text):
            return notice("where is the blank?"), "Write ___ where a word is to be guessed.", nothing
        try:
            filled = models[model](text, k=k)
        except ValueError as error:  # such as a text that is too long
            return notice("this cannot be filled in"), escape(str(error)), nothing
        blanks = list(filled.groupby("blank", sort=True))
        figure, axes = plt.subplots(
            1, len(blanks), figsize=(min(1 + 6.5 * len(blanks), 20), 1.6 + 0.5 * k), squeeze=False
        )
        for nth, (ax, (_, rows)) in enumerate(zip(axes[0], blanks, strict=True), 1):
            plots.word_bars(rows.sort_values("rank").set_index("piece")["probability"], xlabel="probability", ax=ax)
            ax.xaxis.set_major_locator(plt.MaxNLocator(4))
            if len(blanks) > 1:
                ax.set_title(f"blank {nth}")
        likeliest = iter(rows.sort_values("rank")["piece"].iloc[0] for _, rows in blanks)
        parts = BLANK.split(text)
        best, shown = parts[0], escape(parts[0])
        for part in parts[1:]:
            piece = str(next(likeliest))
            best, shown = best + piece + part, f"{shown}<b>{escape(piece)}</b>{escape(part)}"
        return figure, shown, {"filled": filled, "best": best}

    controls = {
        "text": widgets.Text(value=examples[0], description="text", continuous_update=False),
        "model": widgets.Dropdown(options=list(models), description="model"),
        "k": widgets.IntSlider(value=k, min=1, max=20, description="pieces", continuous_update=False),
    }
    return with_examples(live(controls, draw), [controls["text"]], examples)


# ----------------------------------------------------------------------------------------------------- attention
VIEWS = ("map", "lines", "all heads")


def attention_demo(
    attend: Callable[[str, str | None], Attention],
    *,
    examples: Sequence[tuple[str, str]] = SENTENCES,
    longest: int = 40,
) -> Demo:
    """What the heads of an encoder look at, as a map, as lines, or all at a glance.

    Controls: ``first``, ``second``, ``layer`` and ``head`` (from 1), ``view``, ``piece`` (whose lines are drawn, from
    1; 0 draws all), ``example``. State: ``tokens``, ``weights`` (T, T) of the head, and where these go, on average
    over the pieces that look: ``to`` ("special tokens", "itself", "the piece before", "the piece after").

    Args:
        attend: such as ``functools.partial(attention, checkpoint)``, see :func:`tlcourse.bert.look.attention`.
        examples: pairs of sentences, the second of which may be empty.
        longest: how many pieces can be seen at once.
    """
    cached = lru_cache(maxsize=8)(lambda first, second: attend(first, second or None))

    def draw(first: str, second: str, layer: int, head: int, view: str, piece: int):
        nothing = {"tokens": None, "weights": None, "to": None}
        if not first.strip():
            return notice("type a sentence"), "Type a sentence and press Enter.", nothing
        try:
            seen = cached(first, second)
        except ValueError as error:  # such as a text that is too long
            return notice("this cannot be read"), escape(str(error)), nothing
        tokens, weights = list(seen.tokens), np.asarray(seen.weights)[layer - 1, head - 1]
        if len(tokens) > longest:
            return notice("too long to be seen"), f"{len(tokens)} pieces; at most {longest} can be drawn.", nothing
        looks = piece - 1 if 0 < piece <= len(tokens) else None
        if view == "map":
            ax = plots.attention_heatmap(weights, tokens)
        elif view == "lines":
            ax = plots.attention_lines(weights, tokens, looks=looks)
        else:
            ax = plots.attention_grid(seen.weights, highlight=(layer - 1, head - 1))
        to = _where(weights, tokens)
        text = f"Layer <b>{layer}</b>, head <b>{head}</b>. On average, a piece gives "
        text += ", ".join(f"<b>{share:.0%}</b> to {name}" for name, share in to.items()) + "."
        if looks is not None:
            most = np.argsort(-weights[looks])[:3]
            text += f" <b>{escape(tokens[looks])}</b> looks most at "
            text += ", ".join(f"{escape(tokens[i])} ({weights[looks, i]:.0%})" for i in most) + "."
        return ax.figure, text, {"tokens": tokens, "weights": weights, "to": to}

    layers, heads = np.shape(cached(*examples[0]).weights)[:2]
    number = {"value": 1, "min": 1, "continuous_update": False}
    controls = _two_boxes(examples[0])
    controls |= {
        "layer": widgets.IntSlider(description="layer", max=layers, **number),
        "head": widgets.IntSlider(description="head", max=heads, **number),
        "view": widgets.ToggleButtons(options=VIEWS, description="view"),
        "piece": widgets.IntSlider(
            value=0, min=0, max=longest, description="lines of piece (0: all)", continuous_update=False
        ),
    }
    return with_examples(live(controls, draw), [controls["first"], controls["second"]], _named(examples))


def _where(weights: np.ndarray, tokens: Sequence[str]) -> dict[str, float]:
    """Mean shares of the weights (T, T) by what they go to; a special token counts as nothing else."""
    special = np.array([token in plots.SPECIAL for token in tokens])
    others = np.where(special, 0, weights)
    shares = {"special tokens": weights[:, special].sum()}
    shares |= {name: np.trace(others, step) for name, step in NEIGHBOURS.items()}
    return {name: float(share) / len(tokens) for name, share in shares.items()}


NEIGHBOURS = {"itself": 0, "the piece before": -1, "the piece after": 1}


# ---------------------------------------------------------------------------------------------------- parameters
VOCABULARIES = {
    "1,000": 1_000,
    "8,000": 8_000,
    "25,005 WangchanBERTa": 25_005,
    "30,522 BERT": 30_522,
    "50,265 RoBERTa": 50_265,
    "119,547 multilingual BERT": 119_547,
    "250,002 XLM-R": 250_002,
}
BERT_PIECES = 30_522


def parameters_demo() -> Demo:
    """How many parameters an encoder has and where they are, by its layers, width and vocabulary.

    Controls: ``layers``, ``width``, ``vocabulary``, ``example``. State: ``parts`` (a row a part of the encoder),
    ``total``, and in bytes ``weights`` (4 a parameter, float32) and ``training`` (16: weights, gradients, and the two
    moments of Adam).
    """
    references = {"base": _encoder("base", BERT_PIECES), "large": _encoder("large", BERT_PIECES)}

    def draw(layers: int, width: int, vocabulary: int):
        parts = _encoder((layers, width), vocabulary)
        total = int(parts["count"].sum())
        frames = {"yours": parts} | references
        frame = pd.concat([part.assign(model=name) for name, part in frames.items()])
        figure = plots.parameter_blocks(frame, highlight="yours").figure
        weights, training = 4 * total, 16 * total
        share = parts.loc[parts["part"].str.contains("embeddings"), "count"].sum() / total
        heads = f"{width // 64} heads" if width > 64 else "1 head"
        text = (
            f"{layers} layers of {width} units, {heads}: <b>{total:,}</b> parameters, {share:.0%} of them in the "
            f"embeddings. <b>{weights / 1e9:.2f} GB</b> of weights; to train them with Adam, "
            f"<b>{training / 1e9:.2f} GB</b>, and the activations come on top."
        )
        return figure, text, {"parts": parts, "total": total, "weights": weights, "training": training}

    controls = {
        "layers": widgets.IntSlider(value=12, min=1, max=24, description="layers", continuous_update=False),
        "width": widgets.IntSlider(value=768, min=64, max=1536, step=64, description="width", continuous_update=False),
        "vocabulary": widgets.SelectionSlider(
            value=BERT_PIECES, options=list(VOCABULARIES.items()), description="vocabulary", continuous_update=False
        ),
    }
    sizes = ["base", *(size for size in SIZES if size != "base")]
    examples = {f"BERT {size}": [*SIZES[size], BERT_PIECES] for size in sizes}
    examples |= {"multilingual BERT": [12, 768, 119_547], "XLM-R base": [12, 768, 250_002]}
    return with_examples(live(controls, draw), list(controls.values()), examples)


def _encoder(size: str | tuple[int, int], vocab_size: int) -> pd.DataFrame:
    frame = parameters(bert_config(size, vocab_size=vocab_size))
    return frame[frame["of"] == "encoder"]
