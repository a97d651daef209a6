"""The proof that hidden tests accept right solutions and reject wrong ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from tlcourse.homework import judge
from tlcourse.homework.assignments import Homework
from tlcourse.homework.box import NoBox

NOTEBOOK = "the notebook's"
"""The name of the author's solution in the table."""


@dataclass(frozen=True)
class Proof:
    """What the hidden tests said of a solution, for each seed.

    Attributes:
        right: what they should say.
        verdicts: one a seed.
        failed: by seed, the tests that rejected it, with their reasons.
    """

    assignment: str
    question: str
    solution: str
    right: bool
    verdicts: tuple[str, ...]
    failed: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def holds(self) -> bool:
        """Whether they said so every time; that a wrong one runs out of time or crashes proves nothing."""
        wanted = {judge.ACCEPTED} if self.right else {judge.REJECTED, judge.IMPORTS_TLCOURSE}
        return {*self.verdicts} <= wanted

    @property
    def told(self) -> str:
        """In words: accepted, or rejected by which tests."""
        tests = dict.fromkeys(test for failed in self.failed for test, _ in failed)
        return "accepted" if {*self.verdicts} == {judge.ACCEPTED} else f"{self.verdicts[0]}: {', '.join(tests)}"


def prove(homework: Homework, *, seeds: Sequence[int] = (0, 1)) -> Iterator[Proof]:
    """Run every solution of an assignment: the key's right and wrong ones, and the notebook's own.

    They run without a box, each in one process with the tests of all seeds.

    Args:
        seeds: as of terms.
    """
    assignment, own = homework.assignment, homework.solutions
    cases = []
    for question in assignment.questions:
        solutions = [(NOTEBOOK, own[question.id], True)]
        solutions += [(name, source, True) for name, source in question.right.items()]
        solutions += [(name, source, False) for name, source in question.wrong.items()]
        before = [*homework.setup, *(own[name] for name in question.needs)]
        tests = [judge.draw(question, seed) for seed in seeds]
        cases += [(question, tests, name, [*before, source], right) for name, source, right in solutions]
    found = judge.ask(
        NoBox(),
        [
            judge.question_item(str(number), cells, [*chain(*tests)], seconds=question.seconds * len(seeds))
            for number, (question, tests, _, cells, _) in enumerate(cases)
        ],
    )
    for number, (question, tests, name, _, right) in enumerate(cases):
        results = []
        left = found[str(number)].answers
        for probes in tests:
            mine, left = left[: len(probes)], left[len(probes) :]
            results.append(judge.decide(question, probes, replace(found[str(number)], answers=mine)))
        yield Proof(
            assignment.name, question.id, name, right,
            tuple(one.verdict for one in results), tuple(one.failed for one in results),
        )  # fmt: skip
