"""What all demos share: a box of controls, a picture, a line of text, and a state to read."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure


class Demo:
    """An interactive demo.

    Attributes:
        ui: the widget to show; a cell that ends in the demo shows it.
        controls: the widgets that a person moves, by name.
        state: what the demo shows at the moment, for tests and for the curious.
    """

    def __init__(self, ui: ipywidgets.Widget, controls: Mapping[str, ipywidgets.Widget], state: SimpleNamespace):
        self.ui, self.controls, self.state = ui, dict(controls), state

    def _ipython_display_(self) -> None:
        display(self.ui)


def live(controls: Mapping[str, ipywidgets.Widget], draw: Callable[..., tuple[Figure | None, str, dict]]) -> Demo:
    """A demo that draws anew whenever a control changes.

    Args:
        controls: widgets with a ``value``, by the name of ``draw``'s argument.
        draw: takes the controls' values and returns a figure (or None), a line of HTML that says in words what
            is seen, and what goes into the state. What it raises reaches the notebook: a broken demo is seen.
    """
    picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
    words = ipywidgets.HTML()
    state = SimpleNamespace()

    def update(_change=None) -> None:
        figure, text, values = draw(**{name: control.value for name, control in controls.items()})
        if figure is not None:
            picture.value = png(figure)
        words.value = f"<div style='font-size:120%;line-height:1.7'>{text}</div>"
        vars(state).update(values, text=text)

    for control in controls.values():
        control.style.description_width = "130px"
        control.layout.width = "420px"
        control.observe(update, "value")
    update()
    shown = [words] if not picture.value else [picture, words]
    return Demo(ipywidgets.VBox([*controls.values(), *shown]), controls, state)


def png(figure: Figure) -> bytes:
    """The figure as PNG; it is closed, or every move of a slider would keep one more in memory."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def notice(text: str, *, ax: plt.Axes | None = None) -> Figure:
    """A figure, or one axes of it, that says why there is no picture, in place of the one before."""
    if ax is None:
        _, ax = plt.subplots(figsize=(9, 1.5))
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=17)
    ax.axis("off")
    return ax.figure


def with_examples(
    demo: Demo, boxes: Sequence[ipywidgets.Widget], examples: Sequence[str] | Mapping[str, Sequence]
) -> Demo:
    """The demo with a list of examples above it, the control ``example``; to choose one is to type it into the boxes.

    Args:
        boxes: the controls to fill.
        examples: texts for the one box; or by name a value for each box.
    """
    if not isinstance(examples, Mapping):
        examples = {text: [text] for text in examples}
    choose = ipywidgets.Dropdown(options=list(examples), description="or choose")

    def fill(change) -> None:
        for box, value in zip(boxes, examples[change["new"]], strict=True):
            box.value = value

    choose.observe(fill, "value")
    choose.style.description_width, choose.layout.width = "130px", "420px"
    demo.controls["example"] = choose
    demo.ui.children = (choose, *demo.ui.children)
    return demo
