"""Hidden tests accept right solutions and reject wrong ones: those of a small assignment, and those of the course."""

import ast
import importlib

import pytest

from tlcourse import cli
from tlcourse.homework import assignments, judge
from tlcourse.homework.prove import NOTEBOOK, Proof, prove
from tlcourse.homework.questions import HARD_CODED, PACKAGE
from tlcourse.homework.release import leaks, student_version

COURSE = assignments.find()


@pytest.mark.parametrize("name", COURSE)
def test_hidden_tests_reject_every_wrong_solution_and_accept_the_right_ones(name):
    proofs = [*prove(COURSE[name])]
    doubts = [f"{one.question}, {one.solution}: {one.told}; {one.failed}" for one in proofs if not one.holds]
    assert not doubts, "\n".join(doubts)
    for question in COURSE[name].assignment.questions:
        own = [one.solution for one in proofs if one.question == question.id]
        assert {NOTEBOOK, HARD_CODED, PACKAGE} <= {*own}
        assert len(own) >= 3 + 8


@pytest.mark.parametrize("name", COURSE)
def test_what_is_given_out_gives_nothing_away(name):
    homework = COURSE[name]
    assert [*leaks(student_version(homework, "2027-1"), homework)] == []


@pytest.mark.parametrize("name", COURSE)
def test_notebook_and_key_agree(name):
    homework = COURSE[name]
    cells = {cell.id: cell for cell in homework.cells}
    for question in homework.assignment.questions:
        assert "answer" in cells[question.id].tags
        assert {*question.needs} <= {one.id for one in homework.assignment.questions}
        names = [probe.test for probe in judge.draw(question, 0)]
        assert len({*names}) == len(names) >= 5
    for written in homework.assignment.written:
        assert "written" in cells[written.id].tags


@pytest.mark.parametrize("name", COURSE)
def test_the_package_has_what_a_wrong_solution_takes_from_it(name):
    for question in COURSE[name].assignment.questions:
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
