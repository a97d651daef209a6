"""Hidden tests accept right solutions and reject wrong ones: those of a small assignment, and those of the course."""

import ast
import importlib
from pathlib import Path

import pytest

from tlcourse import cli
from tlcourse.homework import assignments, judge
from tlcourse.homework.prove import NOTEBOOK, Proof, prove
from tlcourse.homework.questions import HARD_CODED, PACKAGE
from tlcourse.homework.release import leaks, student_version

KEYS = sorted(path.stem for path in Path(assignments.__file__).parent.glob("keys/[!_]*.py"))


@pytest.fixture(scope="module", params=KEYS)
def course(request):
    """Each assignment of the course."""
    return assignments.find(names=[request.param])[request.param]


def test_hidden_tests_reject_every_wrong_solution_and_accept_the_right_ones(course):
    proofs = [*prove(course)]
    doubts = [f"{one.question}, {one.solution}: {one.told}; {one.failed}" for one in proofs if not one.holds]
    assert not doubts, "\n".join(doubts)
    for question in course.assignment.questions:
        own = [one.solution for one in proofs if one.question == question.id]
        assert {NOTEBOOK, HARD_CODED, PACKAGE} <= {*own}
        assert len(own) >= 3 + 8


def test_what_is_given_out_gives_nothing_away(course):
    assert [*leaks(student_version(course, "2027-1"), course)] == []


def test_notebook_and_key_agree(course):
    cells = {cell.id: cell for cell in course.cells}
    for question in course.assignment.questions:
        assert "answer" in cells[question.id].tags
        assert {*question.needs} <= {one.id for one in course.assignment.questions}
        names = [probe.test for probe in judge.draw(question, 0)]
        assert len({*names}) == len(names) >= 5
    for written in course.assignment.written:
        assert "written" in cells[written.id].tags


def test_the_package_has_what_a_wrong_solution_takes_from_it(course):
    for question in course.assignment.questions:
        for node in ast.walk(ast.parse(question.wrong[PACKAGE])):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), question.id
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


def test_the_table_tells_what_rejects(source, capsys):
    assert cli.main(["homework", "prove", "--homework", str(source)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * (3 + 8)
    (line,) = [line for line in lines if "small-total" in line and "but the last" in line]
    assert line.split("✓")[1].strip() == "rejected: hidden case of five numbers"


@pytest.mark.parametrize(
    ("right", "verdicts", "holds"),
    [
        (True, (judge.ACCEPTED, judge.ACCEPTED), True),
        (True, (judge.ACCEPTED, judge.REJECTED), False),
        (False, (judge.REJECTED, judge.IMPORTS_TLCOURSE), True),
        (False, (judge.REJECTED, judge.ACCEPTED), False),
        (False, (judge.REJECTED, judge.OUT_OF_TIME), False),
    ],
)
def test_a_proof_holds_for_every_seed_or_not_at_all(right, verdicts, holds):
    assert Proof("small", "small-total", "x", right, verdicts, ((), ())).holds is holds
