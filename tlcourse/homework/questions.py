"""What a question of the homework is: the calls that are made of an answer, and which results are accepted.

A key (``tlcourse/homework/keys``) is an :class:`Assignment`. A hidden test is a :class:`Probe`: its code and arguments
go into the box where a student's functions are; the result comes out as plain data and is accepted or not here,
outside. So no expected value is ever within a student's reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binom

HARD_CODED, PACKAGE = "hard-coded", "calls the package"
"""Two wrong solutions that every question has: the answers of the public tests by heart, and tlcourse's own code."""

Accept = Callable[[Any], str | None]
"""From a result, as plain data and arrays, to what is wrong with it, or None. It may raise on what it cannot read."""


@dataclass(frozen=True, eq=False)
class Probe:
    """One hidden test.

    Attributes:
        test: its name, which the feedback tells: what is tested, and nothing of the expected result.
        code: statements that use the student's functions and the arguments by name, and end by setting ``answer``.
        arguments: numbers, texts, lists, tuples, dicts with text as keys, NumPy arrays, torch tensors.
        accept: of the result; tensors come as NumPy arrays.
    """

    test: str
    code: str
    arguments: Mapping[str, Any] = field(repr=False)
    accept: Accept = field(repr=False)


@dataclass(frozen=True, eq=False)
class Question:
    """A function to write, graded by hidden tests: all the points if every test accepts, else none.

    Attributes:
        id: of the answer's cell.
        title: of the feedback.
        points: for it.
        probes: the hidden tests of a term, drawn by a generator that the term seeds.
        right: two different solutions at least, by name: what a cell would hold.
        wrong: six solutions at least that a student might hand in, and `HARD_CODED` and `PACKAGE`.
        needs: questions whose answers are run before.
        seconds: in which an answer's cell and all its tests are done.

    Raises:
        ValueError: too few solutions.
    """

    id: str
    title: str
    points: float
    probes: Callable[[np.random.Generator], list[Probe]] = field(repr=False)
    right: Mapping[str, str] = field(repr=False)
    wrong: Mapping[str, str] = field(repr=False)
    needs: tuple[str, ...] = ()
    seconds: float = 20

    def __post_init__(self) -> None:
        if len(self.right) < 2 or len({*self.wrong} - {HARD_CODED, PACKAGE}) < 6:
            raise ValueError(f"{self.id}: two right and six wrong solutions at least, please")
        if missing := {HARD_CODED, PACKAGE} - {*self.wrong}:
            raise ValueError(f"{self.id} lacks a wrong solution: {', '.join(sorted(missing))}")


@dataclass(frozen=True)
class Written:
    """A question that is answered in words and graded by hand.

    Attributes:
        id: of the answer's cell.
        title: of the feedback.
        rubric: points by what an answer must say.
    """

    id: str
    title: str
    rubric: Mapping[str, float]

    @property
    def points(self) -> float:
        return sum(self.rubric.values())


@dataclass(frozen=True, eq=False)
class Assignment:
    """The key of one notebook of ``notebooks/homework``.

    Attributes:
        name: of the notebook's file.
        title: in words.
        questions, written: in the order of the notebook.
    """

    name: str
    title: str
    questions: tuple[Question, ...]
    written: tuple[Written, ...]

    @property
    def points(self) -> float:
        return sum(question.points for question in (*self.questions, *self.written))


# ------------------------------------------------------------------------------------------------------- acceptance
def equal(expected: Any) -> Accept:
    """Accepts exactly this; a list for a tuple, and arrays by shape and value."""

    def accept(answer: Any) -> str | None:
        return None if same(answer, expected) else "another result than expected"

    return accept


def close(expected: Any, *, rtol: float = 1e-4, atol: float = 1e-6) -> Accept:
    """Accepts numbers and arrays that are near enough, of the same shape, without NaN."""
    expected = np.asarray(expected, dtype=np.float64)

    def accept(answer: Any) -> str | None:
        if isinstance(answer, bool | str | None | dict):
            return f"a number or an array was expected, not {type(answer).__name__}"
        found = np.asarray(answer, dtype=np.float64)
        if found.shape != expected.shape:
            return f"shape {found.shape} instead of {expected.shape}"
        return None if np.allclose(found, expected, rtol=rtol, atol=atol) else "other values than expected"

    return accept


def same(one: Any, other: Any) -> bool:
    """Whether two pieces of plain data are equal, arrays and lists of numbers alike."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        return one.shape == other.shape and bool((one == other).all())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and one == other


# ------------------------------------------------------------------------------------------------------ for the keys
def swap(source: str, *changes: str) -> str:
    """A solution with a mistake: pieces of the source, each followed by what stands there instead.

    Raises:
        ValueError: the source has no such piece.
    """
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        if old not in source:
            raise ValueError(f"the solution has no {old!r}")
        source = source.replace(old, new)
    return source


def exact(array: np.ndarray) -> np.ndarray:
    """Numbers that are the same in 32 and in 64 bits, as arguments come in 32."""
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def likely(count: int, n: int, p: float, *, tail: float = 1e-10) -> bool:
    """Whether so many of n are no wonder if each has the chance p: neither tail of the binomial is that small."""
    return bool(binom.cdf(count, n, p) > tail and binom.sf(count - 1, n, p) > tail)
