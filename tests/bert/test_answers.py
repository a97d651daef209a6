import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.bert.answers import answer_scores, exact_match, f1, normalise_answer, word_f1

# Made of what the script treats by itself, so that pairs of texts share words.
PARTS = [
    "the",
    "The",
    "a",
    "an",
    "An.",
    "theatre",
    "Bank",
    "bank",
    "bank's",
    "-",
    "?",
    "“",
    " ",
    "  ",
    "\t",
    "\n",
    "ตา",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=12)


def script(predicted: str, answer: str) -> tuple[float, float]:
    """Exact match and F1 step by step as the functions of evaluate-v1.1.py take them."""

    def normalise(text):
        text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    ours, theirs = normalise(predicted).split(), normalise(answer).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    if same == 0:
        return float(ours == theirs), 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return float(ours == theirs), 2 * precision * recall / (precision + recall)


@given(TEXTS, TEXTS)
def test_scores_are_those_of_the_script(predicted, answer):
    assert (exact_match(predicted, answer), f1(predicted, answer)) == pytest.approx(script(predicted, answer))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Chao Phraya,\nRiver!", "chao phraya river"),
        ("well-made", "wellmade"),
        ("a.", ""),
        ("theatre and another", "theatre and another"),
        ("“quoted”", "“quoted”"),  # only ASCII's punctuation is known
        ("กรุงเทพฯ", "กรุงเทพฯ"),
    ],
)
def test_answers_are_normalised(text, normal):
    assert normalise_answer(text) == normal


def test_thai_words_count_one_by_one_beside_the_script():
    predicted, answer = "แม่น้ำเจ้าพระยา", "เจ้าพระยา"
    assert f1(predicted, answer) == 0  # without blanks each is one word, and not the same
    assert 0 < word_f1(predicted, answer) < 1
    assert word_f1(answer, answer) == 1


def test_the_best_of_several_right_answers_counts():
    scores = answer_scores(["the Chao Phraya", ""], [["Mekong", "Chao Phraya River"], ["1"]])
    assert scores == {"exact_match": 0, "f1": pytest.approx(0.4), "word_f1": pytest.approx(0.4)}


@pytest.mark.parametrize(
    ("predicted", "answers", "message"),
    [([], [], "0 answers"), (["a"], [["a"], ["b"]], "1 answers for 2"), (["a"], [[]], "question 0")],
)
def test_answers_that_cannot_be_scored_are_named(predicted, answers, message):
    with pytest.raises(ValueError, match=message):
        answer_scores(predicted, answers)


def test_an_answer_in_place_of_a_list_is_an_error():
    with pytest.raises(ValueError, match="question 0 needs a list"):
        answer_scores(["a"], ["a"])
