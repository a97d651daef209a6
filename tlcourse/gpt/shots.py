r"""In-context learning, in small: documents full of examples of a task, each of another one.

A language model learns from examples in its prompt, Brown et al. (2020, figure 1.1) suppose, since it has read
documents that repeat one task many times. Here are such documents. Each writes numbers in one of five forms, and
nothing but its lines says in which::

    seven ๗
    XII ๑๒
    19 ๑๙
    ห้า

All that a model needs to know it can learn by heart from other documents; which task is set it must infer, here and
now. That is what examples in a prompt mostly do (Min et al. 2022), and what Xie et al. (2022) call implicit Bayesian
inference.

>>> documents = task_documents(form_tasks(), 12_000, seed=0)  # to pretrain a GPT on, as on any text
>>> accuracy_by_shots(gpt, form_tasks())
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pythainlp.util import arabic_digit_to_thai_digit, num_to_thaiword

from tlcourse.encoders import Checkpoint
from tlcourse.gpt.bpe import END_OF_TEXT
from tlcourse.gpt.prompting import score_choices

_ENGLISH = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
_ROMAN = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX"
FORMS = {
    "digits": [str(n) for n in range(1, 21)],
    "Thai digits": [arabic_digit_to_thai_digit(str(n)) for n in range(1, 21)],
    "English": _ENGLISH.split(),
    "Thai": [num_to_thaiword(n) for n in range(1, 21)],
    "Roman": _ROMAN.split(),
}
"""One to twenty, in each form."""


class Task(NamedTuple):
    """Write a number in a form, as it is or so many further on; after twenty comes one."""

    form: str
    further: int = 0

    def answer(self, number: int) -> str:
        """The answer for a number, which is counted from 0 for one."""
        return FORMS[self.form][(number + self.further) % 20]


def form_tasks(further: Sequence[int] = (0,)) -> list[Task]:
    """Each form, with each of some steps further."""
    return [Task(form, step) for step in further for form in FORMS]


def task_documents(
    tasks: Sequence[Task], n: int, *, examples: int = 10, mixed: bool = False, seed: int = 0
) -> list[str]:
    r"""Documents of one task each, a line an example: ``"\nseven ๗"``. Everything is drawn, all alike in probability.

    Args:
        n: how many documents.
        examples: lines of each.
        mixed: draw a task for each line instead. The facts are the same, and examples cannot help: the control.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(tasks), size=(n, examples if mixed else 1)) + np.zeros((n, examples), int)
    given = generator.integers(20, size=(n, examples))
    forms = np.array(list(FORMS))[generator.integers(len(FORMS), size=(n, examples))]
    return [
        "".join(map(_line, forms[i], given[i], [tasks[task].answer(number) for task, number in zip(*row, strict=True)]))
        for i, row in enumerate(zip(drawn, given, strict=True))
    ]


def accuracy_by_shots(
    checkpoint: Checkpoint,
    tasks: Sequence[Task],
    *,
    shots: Sequence[int] = (0, 1, 2, 4, 9),
    rounds: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a model does the task of its prompt, of those that could be set.

    Each round draws a task, a number to ask for, and examples with other numbers. The model chooses among the answers
    of all tasks to that number, by :func:`tlcourse.gpt.prompting.score_choices`; guessing gets one in as many.

    Args:
        shots: numbers of examples; those of a smaller number are the first of a larger.
        rounds: how many tasks.

    Returns:
        A row a number of shots and a round: ``shots``, ``round``, and whether ``task`` and ``form`` were right.

    Raises:
        ValueError: the prompt is longer than the model's context.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(rounds):
        task = tasks[generator.integers(len(tasks))]
        asked, *others = generator.permutation(20)
        forms = generator.choice(list(FORMS), size=max(shots) + 1)
        lines = [_line(form, other, task.answer(other)) for form, other in zip(forms[1:], others, strict=False)]
        choices = [f" {one.answer(asked)}" for one in tasks]
        for count in shots:
            prompt = "".join([END_OF_TEXT, *lines[:count], _line(forms[0], asked)])
            found = tasks[score_choices(checkpoint, prompt, choices, normalise="none").argmax()]
            rows.append((count, number, found == task, found.form == task.form))
    return pd.DataFrame(rows, columns=["shots", "round", "task", "form"])


def _line(form: str, number: int, answer: str | None = None) -> str:
    return f"\n{FORMS[form][number]}" + ("" if answer is None else f" {answer}")
