"""The demos of the ULMFiT lesson."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np

from tlcourse import plots
from tlcourse.training import gradual_unfreezing, schedules
from tlcourse.widgets.demo import Demo, live, with_examples


def schedule_explorer() -> Demo:
    """Sliders for the slanted triangular rate: T, cut_frac, ratio and the peak rate (Howard and Ruder 2018, eq. 3).

    State: ``rates`` (T,), ``cut``, ``lowest`` and ``peak``.
    """
    controls = {
        "T": widgets.IntSlider(value=400, min=20, max=2000, step=20, description="T, steps"),
        "cut_frac": widgets.FloatSlider(value=0.1, min=0.02, max=0.9, step=0.02, description="cut_frac"),
        "ratio": widgets.IntSlider(value=32, min=1, max=100, description="ratio"),
        "lr": widgets.FloatLogSlider(value=0.01, base=10, min=-4, max=-1, step=0.1, description="peak rate"),
    }

    def draw(T: int, cut_frac: float, ratio: int, lr: float):
        schedule = schedules.slanted_triangular(cut_frac=cut_frac, ratio=ratio)
        rates = np.array([lr * schedule(t, T) for t in range(T)])
        cut = int(T * cut_frac)
        figure, ax = plt.subplots(figsize=(9, 3.8))
        plots.schedule({"slanted triangular": rates}, ax=ax)
        ax.axvline(cut, color=plots.GREY, linestyle=":")
        ax.annotate(f"cut = {cut}", (cut, 0), xytext=(6, 8), textcoords="offset points")
        text = (
            f"The rate rises for <b>{cut}</b> steps to <b>{rates.max():.3g}</b>, then falls for {T - cut} steps to "
            f"<b>{rates[-1]:.3g}</b>."
        )
        return figure, text, {"rates": rates, "cut": cut, "lowest": rates.min(), "peak": rates.max()}

    return live(controls, draw)


def unfreezing_timeline(layers: Sequence[str]) -> Demo:
    """Sliders for the number of epochs and for «now»: which layers learn in which epoch of gradual unfreezing.

    Args:
        layers: names, the layer nearest the input first.

    State: ``trainable``, the number of layers that learn in each epoch, and ``learning``, their names now.
    """
    controls = {
        "epochs": widgets.IntSlider(value=len(layers) + 3, min=1, max=12, description="epochs"),
        "now": widgets.IntSlider(value=1, min=1, max=12, description="now, epoch"),
    }

    def draw(epochs: int, now: int):
        now = min(now, epochs)
        trainable = [s.trainable for s in gradual_unfreezing(len(layers), epochs) for _ in range(s.epochs)]
        figure, ax = plt.subplots(figsize=(9, 0.55 * len(layers) + 1.3))
        plots.unfreezing(trainable, layers, now=now - 1, ax=ax)
        learning = list(layers[len(layers) - trainable[now - 1] :])
        frozen = len(layers) - len(learning)
        text = f"Epoch {now} of {epochs}. Learning: <b>{', '.join(learning)}</b>. Frozen: {frozen} of {len(layers)}."
        return figure, text, {"trainable": trainable, "learning": learning}

    return live(controls, draw)


def sentence_box(
    classify: Callable[[str], tuple[Sequence[str], np.ndarray, np.ndarray]],
    classes: Sequence[str],
    *,
    examples: Sequence[str],
) -> Demo:
    """Type a sentence, see its class and the words that mattered.

    Args:
        classify: takes the text; returns its tokens, the importance of each for the predicted class (differences
            of probability, see ``tlcourse.ulmfit.word_importance``) and the class probabilities.
        classes: names of the classes.
        examples: sentences to choose from; the first is shown at the start.

    State: ``label``, ``probability``, ``tokens``, ``importance``; without a sentence None, 0, and nothing.
    """
    box = widgets.Text(value=examples[0], description="sentence", continuous_update=False)

    def draw(sentence: str):
        if not sentence.strip():
            nothing = {"label": None, "probability": 0.0, "tokens": [], "importance": np.zeros(0)}
            return None, "Type a sentence and press Enter.", nothing
        tokens, importance, probabilities = classify(sentence)
        best = int(np.argmax(probabilities))
        strongest = max(np.abs(importance).max(), 1e-9)
        marked = "".join(_marked(t, w / strongest, w) for t, w in zip(tokens, importance, strict=True))
        likeliest = sorted(zip(classes, probabilities, strict=True), key=lambda pair: -pair[1])[:3]
        bars = "".join(_bar(str(name), p) for name, p in likeliest)
        text = (
            f"<div>{marked}</div>{bars}<div style='color:{plots.GREY};font-size:80%'>orange speaks for "
            f"«{escape(str(classes[best]))}», blue against it: how far its probability falls without the word</div>"
        )
        state = {"label": classes[best], "probability": float(probabilities[best]), "tokens": list(tokens)}
        return None, text, state | {"importance": np.asarray(importance)}

    return with_examples(live({"sentence": box}, draw), [box], examples)


def _bar(name: str, probability: float) -> str:
    """A class's name and a bar as long as its probability."""
    length = f"width:{max(probability, 0.004) * 20:.2f}em"
    return (
        f"<div style='display:flex'><div style='width:15em'>{escape(name)}</div>"
        f"<div style='background:{plots.BLUE};{length};margin-right:.5em'></div>{probability:.0%}</div>"
    )


def _marked(token: str, strength: float, importance: float) -> str:
    """A token on a background as strong as its importance, which also stands in the tooltip."""
    rgb = "230,159,0" if strength > 0 else "86,180,233"
    return (
        f"<span title='{importance:+.3f}' style='background:rgba({rgb},{abs(strength):.2f});"
        f"padding:.1em .15em;margin:0 .05em;border-radius:.2em'>{escape(token)}</span>"
    )
