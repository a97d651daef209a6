"""The demos of the pretraining lesson: what a language model believes, says and knows, and how Thai is cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from tlcourse import plots
from tlcourse.text import BOS, Vocab, normalise, thai_words
from tlcourse.ulmfit import LanguageModel, finish
from tlcourse.widgets.demo import Demo, live, notice, with_examples

Tokenise = Callable[[str], list[str]]

BEGINNINGS = ("ประเทศไทยเป็น", "กรุงเทพมหานคร", "ในปี พ.ศ.", "ภาษาไทยเป็นภาษาที่", "นายกรัฐมนตรี")

AMBIGUOUS = {
    "ตากลม": "ตา|กลม round eyes, or ตาก|ลม to sit in the breeze",
    "มากว่า": "มา|กว่า has come for more than, or มาก|ว่า much, that",
    "โคลงเรือ": "โคลง|เรือ to rock the boat, or โค|ลง|เรือ the ox boards the boat",
    "มีดอกไม้": "มี|ดอกไม้ there are flowers, or มีด|อก|ไม้ knife, chest, wood",
    "ขนมอบกรอบ": "ขนม|อบ|กรอบ crisp baked snacks, or ขน|มอบ|กรอบ hair, to present, frame",
    "ตากผ้า": "ตาก|ผ้า to hang out the washing, and nothing else",
    "นายกรับทราบ": "นายก|รับทราบ the prime minister takes note, or นาย|กรับ|ทราบ Mr Krap knows",
}


# ------------------------------------------------------------------------------------ what the pictures show
@torch.no_grad()
def next_words(model: LanguageModel, vocab: Vocab, tokens: Sequence[str], *, temperature: float = 1.0) -> pd.Series:
    """The probability of every word of the vocabulary to come next, the likeliest first: (V,) by word.

    Args:
        tokens: what was read so far; nothing asks for the first word of a text.
        temperature: divides the logits before the softmax.

    Raises:
        ValueError: ``temperature`` is not positive, or the vocabulary is not the model's.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is positive, not {temperature}")
    _same_size(vocab, model.config.vocab_size)
    was_training = model.training
    model.eval().reset()
    ids = torch.tensor([[BOS, *vocab.encode(tokens)]], device=next(model.parameters()).device)
    logits = model(ids)[0, -1].float().cpu()  # (V,)
    model.reset()
    model.train(was_training)
    probabilities = pd.Series((logits / temperature).softmax(-1).numpy(), index=vocab.words)
    return probabilities.sort_values(ascending=False, kind="stable")


def nearest_words(
    vectors: LanguageModel | Tensor | np.ndarray,
    vocab: Vocab,
    word: str,
    *,
    k: int = 8,
    most_frequent: int | None = None,
) -> pd.DataFrame:
    """The words whose vectors have the largest cosine with a word's, nearest first.

    Args:
        vectors: (V, D), or a language model, whose embedding (its decoder's matrix, too) is taken.
        word: as the tokeniser writes it.
        k: how many; fewer come where the vocabulary has fewer.
        most_frequent: look among that many of the most frequent words only. A rare word was hardly moved from
            where it started, and what it is near to means little.

    Returns:
        A frame with the columns ``word`` and ``cosine``, without the word itself and the special tokens.

    Raises:
        ValueError: the vocabulary does not know the word or is not that of the vectors, or ``k`` or
            ``most_frequent`` is below 1.
    """
    if isinstance(vectors, LanguageModel):
        vectors = vectors.encoder.embedding.weight.detach()
    vectors = torch.as_tensor(vectors).float().cpu()
    _same_size(vocab, len(vectors))
    if word not in vocab:
        raise ValueError(f"{word!r} is not among the {len(vocab):,} words of the vocabulary")
    for name, value in (("k", k), ("most_frequent", most_frequent)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is at least 1, not {value}")
    first = len(Vocab.SPECIALS)  # the words after it stand by frequency
    candidates = vectors[first : None if most_frequent is None else first + most_frequent]  # (N, D)
    cosines = F.cosine_similarity(candidates, vectors[vocab[word]][None])  # (N,)
    order = [i for i in cosines.argsort(descending=True, stable=True).tolist()[: k + 1] if i + first != vocab[word]]
    found = [(vocab.words[i + first], float(cosines[i])) for i in order[:k]]
    return pd.DataFrame(found, columns=["word", "cosine"])


def connection_masks(
    p: float, *, units: int = 5, steps: int = 6, sequence: int = 1
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What three kinds of dropout keep of a hidden-to-hidden layer over the time steps of one sequence.

    Args:
        p: the probability to drop a unit, or a weight.
        sequence: another number draws other masks.

    Returns:
        By kind, the units (T, D) and the weights (T, D_to, D_from), true for kept: ``dropout`` draws units anew
        at each step; ``variational dropout`` (Gal and Ghahramani 2016) once for all steps; ``DropConnect`` (Merity
        et al. 2017, section 2) draws weights once for all steps and keeps every unit. What is dropped at one
        ``p`` stays dropped at a larger.
    """
    draw = np.random.default_rng(sequence).random
    each, once, weights = draw((steps, units)), draw((1, units)), draw((1, units, units))
    all_units, all_weights = np.ones((steps, units), bool), np.ones((steps, units, units), bool)
    return {
        "dropout": (each >= p, all_weights),
        "variational dropout": ((once >= p) & all_units, all_weights),
        "DropConnect": (all_units, (weights >= p) & all_weights),
    }


# --------------------------------------------------------------------------------------------------- the demos
def next_word(
    model: LanguageModel,
    vocab: Vocab,
    tokenise: Tokenise = thai_words,
    *,
    examples: Sequence[str] = BEGINNINGS,
    top: int = 10,
    name: str = "The model",
    models: Mapping[str, tuple[LanguageModel, Vocab]] | None = None,
) -> Demo:
    """Type how a text begins, and see the words that a language model believes come next.

    Controls: ``beginning``, ``temperature``, ``example``. State: ``tokens`` as they were read, and by the name of
    the model ``beliefs`` (the ``top`` probabilities by word), ``choices`` (the perplexity of the whole
    distribution) and ``unknown`` (tokens that its vocabulary lacks).

    Args:
        examples: beginnings to choose from; the first is shown at the start.
        top: how many words are shown.
        name: of the model, where there are others.
        models: others to draw beside it, by name: the same model after fine-tuning, or the backbone of a task's.
    """
    models = {name: (model, vocab), **(models or {})}
    special = "<unk>: a word it does not know, <bos>: the text ends here"

    def draw(beginning: str, temperature: float):
        tokens = tokenise(beginning)
        figure, axes = plt.subplots(1, len(models), figsize=(9 if len(models) == 1 else 6.5 * len(models), 5.2))
        beliefs, choices, unknown, lines = {}, {}, {}, []
        for ax, (title, (each, words)) in zip(np.atleast_1d(axes), models.items(), strict=True):
            belief = next_words(each, words, tokens, temperature=temperature)
            beliefs[title], unknown[title] = belief.head(top), [token for token in tokens if token not in words]
            choices[title] = float(np.exp(-(belief * np.log(belief.clip(lower=1e-30))).sum()))
            plots.word_bars(belief.head(top), xlabel="probability of coming next", grey=Vocab.SPECIALS, ax=ax)
            lines.append(f"{escape(title)} is as unsure as between <b>{choices[title]:,.1f}</b> equally likely words.")
            if unknown[title]:
                lines[-1] += f" <b style='color:{plots.RED}'>Unknown to it: {_barred(unknown[title])}</b>"
            if len(models) > 1:
                ax.set_title(title)
        widest = max(belief.max() for belief in beliefs.values())
        for ax in np.atleast_1d(axes):
            ax.set_xlim(0, widest * 1.2)  # bars of two models can be compared
        lines.insert(0, f"It read {_barred(['<bos>', *tokens])}, temperature {temperature:.1f}.")
        if any(word in Vocab.SPECIALS for belief in beliefs.values() for word in belief.index):
            lines.append(f"<span style='color:{plots.GREY};font-size:80%'>{escape(special)}</span>")
        state = {"tokens": tokens, "beliefs": beliefs, "choices": choices, "unknown": unknown}
        return figure, "<br>".join(lines), state

    box = widgets.Text(value=examples[0], description="beginning", continuous_update=False)
    return with_examples(live({"beginning": box, "temperature": _temperature(1.0)}, draw), [box], examples)


def generator(
    model: LanguageModel,
    vocab: Vocab,
    tokenise: Tokenise = thai_words,
    *,
    examples: Sequence[str] = BEGINNINGS,
) -> Demo:
    """Type how a text begins, and let a language model go on, each word drawn by its probability.

    Controls: ``beginning``, ``temperature``, ``length`` in words, ``seed``, ``another`` (a button: the next seed),
    ``example``. State: ``tokens`` of the beginning, ``unknown`` among them, and ``generated``, the text that was
    drawn, its words parted by thin bars.
    """
    box = widgets.Text(value=examples[0], description="beginning", continuous_update=False)
    seed = widgets.BoundedIntText(value=1, min=0, max=10**6, description="seed")
    controls = {
        "beginning": box,
        "temperature": _temperature(0.7),
        "length": widgets.IntSlider(value=30, min=5, max=100, step=5, description="words"),
        "seed": seed,
    }
    controls["length"].continuous_update = False  # a long text takes its time

    def draw(beginning: str, temperature: float, length: int, seed: int):
        tokens = tokenise(beginning)
        whole = finish(model, vocab, tokens, length=length, temperature=temperature, seed=seed)
        read = "|".join(vocab.decode(vocab.encode(tokens)))
        generated = whole[len(read) :].removeprefix("|") if read else whole
        unknown = [token for token in tokens if token not in vocab]
        text = (
            f"<div style='color:{plots.GREY};font-size:80%'>temperature {temperature:.1f}, {length} words, seed {seed}"
            f"</div><div style='font-size:120%;max-width:45em'><b style='color:{plots.BLUE}'>{_barred(tokens)}</b>"
            f"{_BAR if tokens else ''}{escape(generated).replace('|', _BAR)}</div>"
        )
        if unknown:
            text += f"<b style='color:{plots.RED}'>Unknown to the model: {_barred(unknown)}</b>"
        return None, text, {"tokens": tokens, "unknown": unknown, "generated": generated}

    demo = with_examples(live(controls, draw), [box], examples)
    another = widgets.Button(description="another", icon="refresh")
    another.on_click(lambda _: setattr(seed, "value", seed.value + 1))
    demo.controls["another"] = another
    demo.ui.children = (*demo.ui.children[:-1], another, demo.ui.children[-1])
    return demo


def segmentation(engines: Mapping[str, Tokenise], examples: Mapping[str, str] = AMBIGUOUS) -> Demo:
    """Type Thai, and see where each engine cuts it: a coloured box a token.

    Controls: ``sentence``, ``example``. State: by engine ``cuts``, the tokens, and ``counts``, how many.

    Args:
        engines: tokenisers by name.
        examples: sentences to choose from, each with what it can mean; the first is shown at the start.
    """

    def draw(sentence: str):
        cuts = {name: list(engine(sentence)) for name, engine in engines.items()}
        rows = "".join(
            f"<div style='display:flex;align-items:center;margin:.3em 0'><div style='min-width:9em'>{escape(name)}"
            f"</div><div style='font-size:150%'>{''.join(map(token_box, tokens, _shades(len(tokens))))}</div>"
            f"<div style='margin-left:.8em;white-space:nowrap'><b>{len(tokens)}</b> "
            f"{'token' if len(tokens) == 1 else 'tokens'}</div></div>"
            for name, tokens in cuts.items()
        )
        meaning = f"<div style='color:{plots.GREY}'>{escape(examples.get(sentence, ''))}</div>"
        state = {"cuts": cuts, "counts": {name: len(tokens) for name, tokens in cuts.items()}}
        return None, rows + meaning if sentence.strip() else "Type some Thai and press Enter.", state

    box = widgets.Text(value=next(iter(examples)), description="sentence", continuous_update=False)
    return with_examples(live({"sentence": box}, draw), [box], list(examples))


def connection_dropout(*, units: int = 5, steps: int = 6) -> Demo:
    """Dropout, variational dropout and DropConnect on a small hidden-to-hidden layer, step by step.

    Controls: ``p``, ``step``, ``sequence``. State: by kind ``removed_units`` and ``removed_connections`` (those of
    removed units too) at this step, and ``masks`` as :func:`connection_masks` draws them.
    """
    controls = {
        "p": widgets.FloatSlider(value=0.3, min=0, max=0.9, step=0.1, description="probability"),
        "step": widgets.IntSlider(value=1, min=1, max=steps, description="time step"),
        "sequence": widgets.IntSlider(value=1, min=1, max=10, description="sequence"),
    }

    def draw(p: float, step: int, sequence: int):
        masks = connection_masks(p, units=units, steps=steps, sequence=sequence)
        axes = plots.connection_dropout(masks, steps=[step - 1])
        at = {kind: (kept[step - 1], weights[step - 1]) for kind, (kept, weights) in masks.items()}
        removed_units = {kind: int((~kept).sum()) for kind, (kept, _) in at.items()}
        removed = {kind: int((~(weights & kept)).sum()) for kind, (kept, weights) in at.items()}
        text = f"Sequence {sequence}, step {step} of {steps}. Of {units**2} connections are silent: " + ", ".join(
            f"{kind} <b>{count}</b>" for kind, count in removed.items()
        )
        state = {"removed_units": removed_units, "removed_connections": removed, "masks": masks}
        return axes[0, 0].figure, text + ".", state

    return live(controls, draw)


def nearest(
    vectors: LanguageModel | Tensor | np.ndarray,
    vocab: Vocab,
    *,
    examples: Sequence[str] = ("กรุงเทพ", "แม่น้ำ", "มกราคม", "นักร้อง", "แดง", "รัฐบาล"),
    k: int = 10,
) -> Demo:
    """Type a word, and see the words nearest to it in the embedding; a slider leaves out the rare ones.

    Controls: ``word``, ``most_frequent``, ``example``. State: ``word`` as it was looked up, and ``neighbours``,
    the frame of :func:`nearest_words`, or None for a word out of the vocabulary.

    Args:
        vectors: (V, D), or a language model.
        examples: words to choose from; those that the vocabulary lacks are left out.
        k: how many neighbours are shown.
    """
    words = vocab.words[len(Vocab.SPECIALS) :]
    examples = [word for word in examples if word in vocab] or words[:5]
    sizes = sorted({len(words) >> halvings for halvings in range(6)} - {0})

    def draw(word: str, most_frequent: int):
        word = normalise(word).lower()
        among = f"among the {most_frequent:,} most frequent words"
        if not word:
            return notice("type a word"), f"Looking {among}.", {"word": word, "neighbours": None}
        if word not in vocab:
            text = f"«{escape(word)}» is not among the {len(vocab):,} words of the vocabulary. Looking {among}."
            if alike := [other for other in words if word in other][:5]:
                text += f" Known are {_barred(alike)}."
            return notice("no such word in the vocabulary"), text, {"word": word, "neighbours": None}
        neighbours = nearest_words(vectors, vocab, word, k=k, most_frequent=most_frequent)
        figure, ax = plt.subplots(figsize=(9, 5.2))
        plots.word_bars(neighbours.set_index("word")["cosine"], xlabel="cosine", fmt="{:.2f}", ax=ax)
        rank = vocab[word] - len(Vocab.SPECIALS) + 1
        text = f"Nearest to <b>{escape(word)}</b>, number {rank:,} by frequency, {among}."
        return figure, text, {"word": word, "neighbours": neighbours}

    box = widgets.Text(value=examples[0], description="word", continuous_update=False)
    cut = widgets.SelectionSlider(
        options=[(f"{size:,}", size) for size in sizes], value=sizes[len(sizes) // 2], description="most frequent"
    )
    return with_examples(live({"word": box, "most_frequent": cut}, draw), [box], examples)


# ------------------------------------------------------------------------------------------------ their parts
_BAR = f"<span style='color:{plots.SKY}'>|</span>"


def _barred(words: Sequence[str]) -> str:
    """Words as HTML, thin bars between them."""
    return _BAR.join(escape(word) for word in words)


def token_box(token: str, colour: str) -> str:
    """A token as a coloured box; a mark that stands on no letter gets a dotted circle, a blank a sign."""
    if unicodedata.category(token[0]) == "Mn":
        token = "◌" + token
    return (
        f"<span style='background:{colour};color:black;padding:.1em .25em;margin:.05em;border-radius:.2em;"
        f"display:inline-block'>{escape(token.replace(' ', '␣'))}</span>"
    )


def _shades(n: int) -> list[str]:
    """Two light colours in turn, so that neighbours can be told apart."""
    return ["#f7d48a" if i % 2 == 0 else "#a9d8f4" for i in range(n)]


def _temperature(value: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=value, min=0.1, max=2, step=0.1, description="temperature", continuous_update=False
    )


def _same_size(vocab: Vocab, rows: int) -> None:
    if len(vocab) != rows:
        raise ValueError(f"the vocabulary has {len(vocab)} words, the vectors {rows}")
