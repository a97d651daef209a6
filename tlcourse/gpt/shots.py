"""In-context learning, in small: documents full of examples of tasks, each of which is new.

A language model learns from examples in its prompt, Brown et al. (2020, figure 1.1) suppose, as it has read documents
that repeat one task many times. Here are such documents. Each has two groups of words, and for each group a label that
is drawn anew::

    cat B
    red F
    dog B
    horse B
    green

That B stands for animals holds in this document only: what comes behind "green" must be read off the lines before.

>>> groups = word_groups("en")
>>> train, test = split_tasks(groups, seed=0)
>>> documents = task_documents(groups, train, 40_000, seed=0)  # to pretrain a GPT on, as on any text
>>> accuracy_by_shots(gpt, groups, test)  # of tasks, and with words, that go together in no document

A model of one layer cannot do it: that a label stood behind a word like this one takes a layer that looks at the word
before, and one that looks for it (Olsson et al. 2022).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tlcourse import data
from tlcourse.encoders import Checkpoint
from tlcourse.gpt.bpe import END_OF_TEXT
from tlcourse.gpt.prompting import Prompt, classify

LABELS = ("A", "B", "C", "D")

Groups = Mapping[str, Sequence[str]]
Task = tuple[str, ...]
"""The names of its groups."""


def word_groups(language: str | None = None) -> dict[str, list[str]]:
    """Words of one kind, four a group, such as cat, dog, horse and elephant; each word is in one group only.

    They are those of the course's odd ones out, without the odd one (`data/word_sets`).

    Args:
        language: ``"en"`` or ``"th"``: 30 groups at most. None: both languages' groups.

    Returns:
        The words of each group, by its first word.

    Raises:
        ValueError: there is no such language.
    """
    table = data.load("word_sets").splits["odd_one_out"]
    if language is not None and language not in set(table["language"]):
        raise ValueError(f"language is one of {', '.join(sorted(set(table['language'])))}, not {language!r}")
    groups, taken = {}, set()
    for of, words, odd in table[["language", "words", "odd"]].itertuples(index=False):
        words = [word for word in words if word != odd]
        if language in (None, of) and taken.isdisjoint(words):
            groups[words[0]] = words
            taken.update(words)
    return groups


def split_tasks(groups: Groups, *, held_out: float = 0.2, seed: int = 0) -> tuple[list[Task], list[Task]]:
    """All pairs of groups, cut in two at random: to train on, and to test on.

    Raises:
        ValueError: a part would be empty.
    """
    pairs = list(itertools.combinations(groups, 2))
    count = round(held_out * len(pairs))
    if not 0 < count < len(pairs):
        raise ValueError(f"held_out={held_out} of {len(pairs)} pairs of groups leaves none to train or to test on")
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [pairs[i] for i in order[count:]], [pairs[i] for i in order[:count]]


def task_documents(
    groups: Groups,
    tasks: Sequence[Task],
    n: int,
    *,
    examples: int = 16,
    labels: Sequence[str] = LABELS,
    shuffled: bool = False,
    seed: int = 0,
) -> list[str]:
    """Documents of one task each: a line an example, ``"\\nword label"``.

    The task, the labels of its groups, the group of each line and its word are drawn, all alike in probability.

    Args:
        tasks: see :func:`split_tasks`.
        n: how many documents.
        examples: lines of each.
        labels: what to draw the labels of a document from, without one twice.
        shuffled: in each document, deal its labels out to its lines anew. Then none says anything of its word, and
            examples cannot help: the control.

    Raises:
        ValueError: a task has more groups than there are labels.
    """
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(n):
        task = tasks[generator.integers(len(tasks))]
        names = _draw_labels(labels, task, generator)
        lines = [(word, names[group]) for word, group in _draw_examples(groups, task, examples, generator)]
        if shuffled:
            dealt = generator.permutation([label for _, label in lines])
            lines = [(word, label) for (word, _), label in zip(lines, dealt, strict=True)]
        documents.append("".join(f"\n{word} {label}" for word, label in lines))
    return documents


def task_prompt(names: Mapping[str, str]) -> Prompt:
    """A task as a prompt that reads as the documents do, from where the one before ends.

    Args:
        names: the label of each group.
    """
    return Prompt("{word} {label}", names, instruction=END_OF_TEXT, separator="\n")


def accuracy_by_shots(
    checkpoint: Checkpoint,
    groups: Groups,
    tasks: Sequence[Task],
    *,
    shots: Sequence[int] = (0, 1, 2, 4, 8, 15),
    rounds: int = 100,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a model finds the label of a word, by the number of examples before it.

    Each round draws a task, its labels, and of each of its groups one word to ask for, which stands in no example:
    to go on with what stood behind the same word does not help. Examples are drawn from the other words, as in
    documents; with few, there may be none of one group.

    Args:
        shots: numbers of examples; those of a smaller number are the first of a larger.
        rounds: how many tasks.

    Returns:
        A row a number of shots and a round: ``shots``, ``round``, ``accuracy`` (the share of its words that got their
        label, of the labels of the task) and ``chance``, what guessing gives.

    Raises:
        ValueError: a group has one word only; the prompt is longer than the model's context.
    """
    if short := [name for name, words in groups.items() if len(words) < 2]:
        raise ValueError(f"a group needs a word to ask for and another one as an example: {', '.join(short)}")
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(rounds):
        task = tasks[generator.integers(len(tasks))]
        prompt = task_prompt(_draw_labels(labels, task, generator))
        asked = {group: str(generator.choice(groups[group])) for group in task}
        others = {group: [word for word in groups[group] if word != asked[group]] for group in task}
        examples = _draw_examples(others, task, max(shots), generator)
        for count in shots:
            found = classify(checkpoint, prompt, examples[:count], list(asked.values()), normalise="none")
            rows.append((count, number, np.mean(found["label"] == list(asked)), 1 / len(task)))
    return pd.DataFrame(rows, columns=["shots", "round", "accuracy", "chance"])


def _draw_labels(labels: Sequence[str], task: Task, generator: np.random.Generator) -> dict[str, str]:
    if len(task) > len(labels):
        raise ValueError(f"{len(labels)} labels are too few for a task of {len(task)} groups")
    return dict(zip(task, map(str, generator.choice(labels, len(task), replace=False)), strict=True))


def _draw_examples(groups: Groups, task: Task, count: int, generator: np.random.Generator) -> list[tuple[str, str]]:
    """Words, and the group of each."""
    names = [task[i] for i in generator.integers(len(task), size=count)]
    return [(groups[name][generator.integers(len(groups[name]))], name) for name in names]
