"""Widgets of every lesson: hints that open one at a time, exercises that check themselves, a quiz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from types import SimpleNamespace

import ipywidgets as widgets

from tlcourse.widgets.demo import Demo

GOOD, BAD = "#006b4f", "#a63a00"


def hints(*texts: str) -> Demo:
    """A button that opens one hint more at each click; the last may be the solution.

    Control: ``more``, the button. State: ``shown``, how many are open.
    """
    if not texts:
        raise ValueError("hints need at least one text")
    button = widgets.Button(description=f"hint 1 of {len(texts)}", icon="lightbulb-o")
    opened = widgets.VBox([])
    state = SimpleNamespace(shown=0)

    def more(_button) -> None:
        opened.children = (
            *opened.children,
            widgets.HTML(f"<pre style='white-space:pre-wrap'>{escape(texts[state.shown])}</pre>"),
        )
        state.shown += 1
        button.disabled = state.shown == len(texts)
        button.description = "that was all" if button.disabled else f"hint {state.shown + 1} of {len(texts)}"

    button.on_click(more)
    return Demo(widgets.VBox([button, opened]), {"more": button}, state)


def exercise(check: Callable[[], None]) -> bool:
    """Run an instant check and print what it found.

    Args:
        check: raises ``AssertionError`` with a sentence that says what is wrong, or ``NotImplementedError`` while
            the answer is still to be written.

    Returns:
        Whether the answer passed.
    """
    try:
        check()
    except NotImplementedError:
        print("○ Not written yet: replace `raise NotImplementedError`, then run the cell again.")
        return False
    except AssertionError as error:
        print(f"✗ Not yet: {error}" if str(error) else f"✗ Not yet: `{check.__name__}` does not agree.")
        return False
    print("✓ Right.")
    return True


@dataclass(frozen=True)
class Question:
    """A question of a quiz: its choices, the index of the right one, and why."""

    text: str
    choices: Sequence[str]
    answer: int
    why: str

    def __post_init__(self):
        if not 0 <= self.answer < len(self.choices):
            raise ValueError(f"{self.text!r}: answer {self.answer} is none of its {len(self.choices)} choices")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"{self.text!r}: two of its choices are the same")


def quiz(*questions: Question) -> Demo:
    """Questions with radio buttons; a choice is judged at once, with the reason.

    Controls: ``q1``, ``q2``, ... State: ``right``, for each question True, False or None.
    """
    state = SimpleNamespace(right=[None] * len(questions))
    controls, blocks = {}, []
    for number, question in enumerate(questions):
        radio = widgets.RadioButtons(options=list(question.choices), value=None, layout=widgets.Layout(width="auto"))
        verdict = widgets.HTML()

        def judge(change, number=number, question=question, verdict=verdict) -> None:
            right = change["new"] == question.choices[question.answer]
            state.right[number] = right
            colour, word = (GOOD, "Right.") if right else (BAD, "No.")
            verdict.value = f"<b style='color:{colour}'>{word}</b> {escape(question.why) if right else 'Try again.'}"

        radio.observe(judge, "value")
        controls[f"q{number + 1}"] = radio
        blocks.append(widgets.VBox([widgets.HTML(f"<b>{number + 1}. {escape(question.text)}</b>"), radio, verdict]))
    return Demo(widgets.VBox(blocks), controls, state)
