"""What a question accepts, and what an assignment must have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.homework.questions import (
    HARD_CODED,
    PACKAGE,
    Assignment,
    Question,
    Written,
    close,
    equal,
    likely,
    same,
    swap,
)

WRONG = dict.fromkeys([*"abcdef", HARD_CODED, PACKAGE], "")
QUESTION = Question(id="q", title="Q", points=3, probes=lambda rng: [], right={"one": "", "two": ""}, wrong=WRONG)


class TestEqual:
    @pytest.mark.parametrize(
        ("one", "other"),
        [([1, (2, 3)], (1, [2, 3])), (np.array([1, 2]), [1, 2]), ({"a": [1]}, {"a": (1,)}), (None, None), (1, 1.0)],
    )
    def test_plain_data(self, one, other):
        assert same(one, other) and same(other, one) and equal(one)(other) is None

    @pytest.mark.parametrize(
        ("one", "other"),
        [(1, True), ([1], [1, 1]), (np.ones(2), np.ones((2, 1))), ({"a": 1}, {"b": 1}), ("1", 1), ([0], [False])],
    )
    def test_unlike(self, one, other):
        assert not same(one, other) and equal(one)(other)


class TestClose:
    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(-0.9e-4, 0.9e-4))
    def test_near_enough(self, numbers, off):
        assert close(numbers)([number * (1 + off) for number in numbers]) is None

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ([1.0, 2.1], "other values"),
            ([1.0, float("nan")], "other values"),
            ([1.0], "shape"),
            ([[1.0, 2.0]], "shape"),
            ("12", "not str"),
            (None, "not NoneType"),
            (True, "not bool"),
        ],
    )
    def test_not_near(self, answer, said):
        assert said in close([1.0, 2.0])(answer)


def test_a_question_has_right_and_wrong_solutions():
    with pytest.raises(ValueError, match="two right and six wrong"):
        replace(QUESTION, right={"one": ""})
    with pytest.raises(ValueError, match="two right and six wrong"):
        replace(QUESTION, wrong={name: "" for name in WRONG if name != "f"})
    with pytest.raises(ValueError, match="lacks a wrong solution: calls the package"):
        replace(QUESTION, wrong={name: "" for name in [*WRONG, "g"] if name != PACKAGE})


def test_points():
    written = Written(id="w", title="W", rubric={"says this": 2, "says that": 1.5})
    assert Assignment(name="a", title="A", questions=(QUESTION, QUESTION), written=(written,)).points == 9.5


def test_a_mistake_is_put_into_a_solution():
    assert swap("a + b", "+", "-", "b", "c") == "a - c"
    with pytest.raises(ValueError, match=r"no '\*'"):
        swap("a + b", "*", "-")


@given(st.integers(1, 500), st.integers(0, 100))
def test_counts_that_are_no_wonder(n, percent):
    p = percent / 100
    assert likely(round(n * p), n, p)
    assert not likely(0, 500, 0.15) and not likely(150, 500, 0.15) and not likely(1, 100, 0.0)
