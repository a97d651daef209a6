"""How right an answer is: exact match and F1 as the official SQuAD v1.1 script has them.

>>> answer_scores(["the Chao Phraya"], [["Chao Phraya River"]])
{'exact_match': 0.0, 'f1': 0.8, 'word_f1': 0.8}

The script is ``evaluate-v1.1.py`` of Rajpurkar et al. 2016. It compares words, and words are what blanks separate.
Thai puts blanks between phrases, so a Thai answer is often one "word": then the official F1 is 0 or 1 and says what
exact match says. ``word_f1`` is the same F1 over words as :func:`tlcourse.text.thai_words` cuts them. Nor does the
script know any punctuation but ASCII's: ฯ, ๆ and curly quotes stay, and count.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tlcourse.text import thai_words

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, without the articles a, an and the, with single blanks.

    In this order, which matters: punctuation is deleted, not replaced, so ``well-made`` becomes ``wellmade`` and
    ``a.`` an article.
    """
    text = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PUNCTUATION))
    return " ".join(text.split())


def exact_match(predicted: str, answer: str) -> float:
    """1 if two answers are the same once normalised, else 0."""
    return float(normalise_answer(predicted) == normalise_answer(answer))


def f1(predicted: str, answer: str) -> float:
    """F1 of two answers as bags of words between blanks; 0 where they share none, as with two empty ones."""
    return _overlap(predicted, answer, str.split)


def word_f1(predicted: str, answer: str) -> float:
    """F1 of two answers as bags of words, Thai ones cut by a dictionary: what :func:`f1` is in English."""
    return _overlap(predicted, answer, thai_words)


def _overlap(predicted: str, answer: str, words: Callable[[str], list[str]]) -> float:
    ours, theirs = (Counter(words(normalise_answer(text))) for text in (predicted, answer))
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


MEASURES = (exact_match, f1, word_f1)


def answer_scores(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """The means over all questions, from 0 to 1 where the script prints percent.

    Args:
        predicted: an answer a question; an empty one where there is none.
        answers: of each question all that are right; the one that fits best counts.

    Returns:
        ``exact_match``, ``f1`` and ``word_f1``.

    Raises:
        ValueError: there are no questions, not as many answers as questions, or a question has no right answer.
    """
    if len(predicted) != len(answers) or not len(answers):
        raise ValueError(f"{len(predicted)} answers for {len(answers)} questions: wanted one each, and at least one")
    for i, right in enumerate(answers):
        if isinstance(right, str) or not len(right):
            raise ValueError(f"question {i} needs a list of right answers, not {right!r}")
    return {
        measure.__name__: float(
            np.mean(
                [max(measure(one, answer) for answer in right) for one, right in zip(predicted, answers, strict=True)]
            )
        )
        for measure in MEASURES
    }
